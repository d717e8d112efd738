# One EC2 instance in the default VPC with a fixed address and a firewall. The keys come from the environment or from
# ~/.aws, so that they are in no file.
terraform {
  required_version = ">= 1.10"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

provider "aws" {
  region = var.region
  default_tags {
    tags = { project = var.name }
  }
}

module "user_data" {
  source          = "../user-data"
  repository      = var.repository
  release         = var.release
  image           = var.image
  public_host     = var.public_host
  ssh_public_keys = var.ssh_public_keys
  swap_mb         = var.swap_mb
}

# Debian's own account: https://wiki.debian.org/Cloud/AmazonEC2Image
data "aws_ami" "debian" {
  most_recent = true
  owners      = ["136693071363"]
  filter {
    name   = "name"
    values = ["debian-13-amd64-*"]
  }
}

data "aws_vpc" "default" {
  default = true
}

locals {
  # What the server asks: packages and APIs (80, 443), names (53), time (123), mail (465, 587), OKX's WebSocket (8443).
  outbound = {
    "http"  = { port = 80, protocol = "tcp" }
    "https" = { port = 443, protocol = "tcp" }
    "dns"   = { port = 53, protocol = "udp" }
    "ntp"   = { port = 123, protocol = "udp" }
    "smtps" = { port = 465, protocol = "tcp" }
    "smtp"  = { port = 587, protocol = "tcp" }
    "okx"   = { port = 8443, protocol = "tcp" }
  }
  inbound = var.public_host == "" ? {} : { "http" = 80, "https" = 443 }
}

resource "aws_security_group" "this" {
  name        = var.name
  description = "tickmart: SSH from the operators, HTTP and HTTPS from anywhere"
  vpc_id      = data.aws_vpc.default.id
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  for_each          = toset(var.ssh_from)
  security_group_id = aws_security_group.this.id
  description       = "SSH from the operators' networks"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
}

resource "aws_vpc_security_group_ingress_rule" "public" {
  for_each          = local.inbound
  security_group_id = aws_security_group.this.id
  description       = "${each.key} for the dashboard"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = each.value
  to_port           = each.value
}

resource "aws_vpc_security_group_egress_rule" "this" {
  for_each          = local.outbound
  security_group_id = aws_security_group.this.id
  description       = "${each.key} to the internet"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = each.value.protocol
  from_port         = each.value.port
  to_port           = each.value.port
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

# The server reaches S3 with this role: no access key has to be stored on it.
resource "aws_iam_role" "this" {
  name_prefix        = "${var.name}-"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy_attachment" "lake" {
  count      = var.lake_policy_arn == "" ? 0 : 1
  role       = aws_iam_role.this.name
  policy_arn = var.lake_policy_arn
}

resource "aws_iam_instance_profile" "this" {
  name_prefix = "${var.name}-"
  role        = aws_iam_role.this.name
}

resource "aws_instance" "this" {
  ami                    = data.aws_ami.debian.id
  instance_type          = var.instance_type
  vpc_security_group_ids = [aws_security_group.this.id]
  iam_instance_profile   = aws_iam_instance_profile.this.name
  user_data              = module.user_data.cloud_init
  ebs_optimized          = true
  monitoring             = true
  tags                   = { Name = var.name }
  # Version 2 of the metadata service, for the host only: a container has one hop more.
  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  root_block_device {
    volume_size = var.disk_gb
    volume_type = "gp3"
    encrypted   = true
  }
  # They are used at the first start only. A new release is deployed with infra/deploy.sh; replacing the instance for it
  # would delete its data.
  lifecycle {
    ignore_changes = [ami, user_data]
  }
}

# An address of its own survives a replaced instance, and with it the DNS record.
resource "aws_eip" "this" {
  domain   = "vpc"
  instance = aws_instance.this.id
  tags     = { Name = var.name }
}

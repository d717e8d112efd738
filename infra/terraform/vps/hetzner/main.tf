# One server at Hetzner Cloud with a fixed address and a firewall. The token comes from the variable HCLOUD_TOKEN of the
# environment, so that it is in no file.
terraform {
  required_version = ">= 1.10"
  required_providers {
    hcloud = {
      source  = "hetznercloud/hcloud"
      version = "~> 1.68"
    }
  }
}

provider "hcloud" {}

module "user_data" {
  source          = "../user-data"
  repository      = var.repository
  release         = var.release
  image           = var.image
  public_host     = var.public_host
  ssh_public_keys = var.ssh_public_keys
  swap_mb         = var.swap_mb
}

locals {
  labels   = { project = var.name }
  anywhere = ["0.0.0.0/0", "::/0"]
}

# Without a key, Hetzner sends a root password by e-mail.
resource "hcloud_ssh_key" "this" {
  count      = length(var.ssh_public_keys)
  name       = "${var.name}-${count.index}"
  public_key = var.ssh_public_keys[count.index]
  labels     = local.labels
}

resource "hcloud_firewall" "this" {
  name   = var.name
  labels = local.labels
  rule {
    description = "SSH from the operators' networks"
    direction   = "in"
    protocol    = "tcp"
    port        = "22"
    source_ips  = var.ssh_from
  }
  dynamic "rule" {
    for_each = var.public_host == "" ? {} : { "80" = "HTTP: certificate and redirect to HTTPS", "443" = "HTTPS" }
    content {
      description = rule.value
      direction   = "in"
      protocol    = "tcp"
      port        = rule.key
      source_ips  = local.anywhere
    }
  }
}

# An address of its own survives a replaced server, and with it the DNS record.
resource "hcloud_primary_ip" "this" {
  name        = var.name
  type        = "ipv4"
  location    = var.location
  auto_delete = false
  labels      = local.labels
}

resource "hcloud_server" "this" {
  name         = var.name
  server_type  = var.server_type
  image        = "debian-13"
  location     = var.location
  ssh_keys     = hcloud_ssh_key.this[*].id
  firewall_ids = [hcloud_firewall.this.id]
  user_data    = module.user_data.cloud_init
  backups      = var.provider_backups
  keep_disk    = var.keep_disk
  labels       = local.labels
  public_net {
    ipv4_enabled = true
    ipv4         = hcloud_primary_ip.this.id
    ipv6_enabled = true
  }
  # They are used at the first start only. A new release is deployed with infra/deploy.sh; replacing the server for it would
  # delete its data.
  lifecycle {
    ignore_changes = [user_data, ssh_keys, image]
  }
}

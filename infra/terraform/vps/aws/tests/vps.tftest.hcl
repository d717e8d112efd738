# Plans against a simulated AWS: `terraform test`. The provider's schema is real, no account is asked.
mock_provider "aws" {
  override_data {
    target = data.aws_ami.debian
    values = { id = "ami-0123456789abcdef0" }
  }
  override_data {
    target = data.aws_vpc.default
    values = { id = "vpc-0123456789abcdef0" }
  }
  override_data {
    target = data.aws_iam_policy_document.assume
    values = { json = "{}" }
  }
}

variables {
  repository      = "https://github.com/you/tickmart"
  release         = "v0.2.0"
  public_host     = "markets.example.org"
  ssh_public_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOfThisTest me@laptop"]
  ssh_from        = ["203.0.113.7/32"]
}

run "only_ssh_from_the_operators_and_the_two_web_ports_are_open" {
  command = plan
  assert {
    condition     = { for key, rule in aws_vpc_security_group_ingress_rule.ssh : key => rule.from_port } == { "203.0.113.7/32" = 22 }
    error_message = "SSH"
  }
  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.public : rule.from_port]) == toset([80, 443])
    error_message = "web ports"
  }
}

run "without_a_public_host_no_port_is_open_to_all" {
  command = plan
  variables {
    public_host = ""
  }
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.public) == 0
    error_message = "an open port"
  }
}

run "the_disk_is_encrypted_and_the_metadata_service_needs_a_token" {
  command = plan
  assert {
    condition     = aws_instance.this.root_block_device[0].encrypted && aws_instance.this.metadata_options[0].http_tokens == "required"
    error_message = "disk or metadata"
  }
}

run "ssh_from_everywhere_is_rejected" {
  command = plan
  variables {
    ssh_from = ["0.0.0.0/0"]
  }
  expect_failures = [var.ssh_from]
}

run "an_arm_type_is_rejected" {
  command = plan
  variables {
    instance_type = "t4g.large"
  }
  expect_failures = [var.instance_type]
}

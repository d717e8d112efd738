# Plans against a simulated Hetzner Cloud: `terraform test`. The provider's schema is real, no account is asked.
mock_provider "hcloud" {}

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
    condition     = toset([for rule in hcloud_firewall.this.rule : rule.port]) == toset(["22", "80", "443"])
    error_message = "ports"
  }
  assert {
    condition     = alltrue([for rule in hcloud_firewall.this.rule : rule.port != "22" || toset(rule.source_ips) == toset(["203.0.113.7/32"])])
    error_message = "SSH is open to others"
  }
}

run "without_a_public_host_no_port_is_open_to_all" {
  command = plan
  variables {
    public_host = ""
  }
  assert {
    condition     = [for rule in hcloud_firewall.this.rule : rule.port] == ["22"]
    error_message = "an open port"
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
    server_type = "cax21"
  }
  expect_failures = [var.server_type]
}

output "ipv4_address" {
  description = "Address for the A record of public_host."
  value       = hcloud_primary_ip.this.ip_address
}

output "ipv6_address" {
  description = "Address for the AAAA record of public_host."
  value       = hcloud_server.this.ipv6_address
}

output "next_steps" {
  description = "What to do after `terraform apply`."
  value       = <<-EOT
    1. DNS: ${var.public_host == "" ? "none, no public_host is set" : "A record of ${var.public_host} to ${hcloud_primary_ip.this.ip_address}"}
    2. Follow the first start: ssh tickmart@${hcloud_primary_ip.this.ip_address} tail -f /var/log/cloud-init-output.log
    3. Then: ${var.public_host == "" ? "ssh -L 8501:127.0.0.1:8501 tickmart@${hcloud_primary_ip.this.ip_address}, and http://127.0.0.1:8501" : "https://${var.public_host}"}
    4. Backups: docs/deployment.md, section Backups
  EOT
}

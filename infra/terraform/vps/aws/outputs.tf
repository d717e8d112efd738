output "ipv4_address" {
  description = "Address for the A record of public_host."
  value       = aws_eip.this.public_ip
}

output "next_steps" {
  description = "What to do after `terraform apply`."
  value       = <<-EOT
    1. DNS: ${var.public_host == "" ? "none, no public_host is set" : "A record of ${var.public_host} to ${aws_eip.this.public_ip}"}
    2. Follow the first start: ssh tickmart@${aws_eip.this.public_ip} tail -f /var/log/cloud-init-output.log
    3. Then: ${var.public_host == "" ? "ssh -L 8501:127.0.0.1:8501 tickmart@${aws_eip.this.public_ip}, and http://127.0.0.1:8501" : "https://${var.public_host}"}
    4. Backups: docs/deployment.md, section Backups
  EOT
}

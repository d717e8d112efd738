# The first start of a server, rendered from infra/cloud-init.yaml. It contains no secret: the server makes its passwords
# itself, so that none is in the state or in the provider's metadata.
terraform {
  required_version = ">= 1.10"
}

locals {
  rendered = templatefile("${path.module}/../../../cloud-init.yaml", {
    repository  = var.repository
    release     = var.release
    image       = var.image
    public_host = var.public_host
    swap_mb     = var.swap_mb
    ssh_keys    = jsonencode(var.ssh_public_keys)
  })
}

output "cloud_init" {
  description = "User data for the server."
  value       = local.rendered
  precondition {
    condition     = length(local.rendered) < 16384
    error_message = "The user data has ${length(local.rendered)} characters, EC2 takes 16384: remove SSH keys."
  }
}

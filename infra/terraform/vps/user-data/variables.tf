variable "repository" {
  description = "Git repository of tickmart that the server clones, over https."
  type        = string
  validation {
    condition     = can(regex("^https://[A-Za-z0-9.-]+/[A-Za-z0-9._/-]+$", var.repository))
    error_message = "repository is an https address without login, for example https://github.com/you/tickmart."
  }
}

variable "release" {
  description = "Tag to install, for example v0.2.0."
  type        = string
  validation {
    condition     = can(regex("^v[0-9]+\\.[0-9]+\\.[0-9]+([.-][0-9A-Za-z.-]+)?$", var.release))
    error_message = "release is a version tag such as v0.2.0; a branch would change under a running server."
  }
}

variable "image" {
  description = "Published image of that release; empty: the server builds it (five minutes, 6 GB of disk)."
  type        = string
  default     = ""
  validation {
    condition     = var.image == "" || can(regex("^[a-z0-9.-]+(:[0-9]+)?/[a-z0-9._/-]+(:[A-Za-z0-9._-]+)?(@sha256:[0-9a-f]{64})?$", var.image))
    error_message = "image is a name with registry, for example ghcr.io/you/tickmart:0.2.0, or empty."
  }
}

variable "public_host" {
  description = "Host name of the dashboard; its A record must point to the server. Empty: an SSH tunnel only."
  type        = string
  default     = ""
  validation {
    condition     = var.public_host == "" || can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,}$", var.public_host))
    error_message = "public_host is a full host name in lower case, for example markets.example.org; no address, no port, no path."
  }
}

variable "ssh_public_keys" {
  description = "Public SSH keys that may log in as the user tickmart."
  type        = list(string)
  validation {
    condition = length(var.ssh_public_keys) > 0 && alltrue([
      for key in var.ssh_public_keys : can(regex("^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp[0-9]+|sk-ssh-ed25519@openssh.com) [A-Za-z0-9+/=]+( [^\n]*)?$", key))
    ])
    error_message = "ssh_public_keys has at least one line of an .pub file each; a private key never belongs here."
  }
}

variable "swap_mb" {
  description = "Swap in MiB; 0: none."
  type        = number
  default     = 2048
  validation {
    condition     = var.swap_mb >= 0 && var.swap_mb <= 16384 && floor(var.swap_mb) == var.swap_mb
    error_message = "swap_mb is a whole number from 0 to 16384."
  }
}

variable "name" {
  description = "Name of the server and prefix of what belongs to it."
  type        = string
  default     = "tickmart"
  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,40}[a-z0-9])?$", var.name))
    error_message = "name has lower-case letters, digits and hyphens, at most 42, and starts with a letter."
  }
}

variable "server_type" {
  description = "Server type; docs/deployment.md compares sizes and prices. x86 only: the images are built for amd64."
  type        = string
  default     = "cpx32"
  validation {
    condition     = can(regex("^(cx|cpx|ccx)[0-9]{2}$", var.server_type))
    error_message = "server_type is an x86 type of Hetzner Cloud such as cx33, cpx32 or ccx23; cax types are Arm."
  }
}

variable "location" {
  description = "Location: fsn1, nbg1 or hel1 (EU), ash or hil (USA), sin (Singapore)."
  type        = string
  default     = "fsn1"
  validation {
    condition     = contains(["fsn1", "nbg1", "hel1", "ash", "hil", "sin"], var.location)
    error_message = "location is one of fsn1, nbg1, hel1, ash, hil, sin. Binance rejects requests from the USA."
  }
}

variable "ssh_from" {
  description = "Networks that may use SSH, in CIDR notation; your own address with /32."
  type        = list(string)
  validation {
    condition     = length(var.ssh_from) > 0 && alltrue([for net in var.ssh_from : can(cidrhost(net, 0)) && !can(regex("/[0-7]$", net))])
    error_message = "ssh_from has at least one network such as 203.0.113.7/32, none of them wider than /8."
  }
}

variable "provider_backups" {
  description = "Whether Hetzner keeps daily images of the server (20% of its price), beside tickmart's own backups."
  type        = bool
  default     = false
}

variable "keep_disk" {
  description = "Whether a larger type keeps the size of the disk, so that a smaller type stays possible."
  type        = bool
  default     = true
}

# Validated by ../user-data.
variable "repository" {
  description = "Git repository of tickmart that the server clones, over https."
  type        = string
}

variable "release" {
  description = "Tag to install, for example v0.2.0."
  type        = string
}

variable "image" {
  description = "Published image of that release; empty: the server builds it."
  type        = string
  default     = ""
}

variable "public_host" {
  description = "Host name of the dashboard; empty: an SSH tunnel only."
  type        = string
  default     = ""
}

variable "ssh_public_keys" {
  description = "Public SSH keys that may log in as the user tickmart."
  type        = list(string)
}

variable "swap_mb" {
  description = "Swap in MiB; 0: none."
  type        = number
  default     = 2048
}

variable "name" {
  description = "Name of the server and prefix of what belongs to it."
  type        = string
  default     = "tickmart"
  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,40}[a-z0-9])?$", var.name))
    error_message = "name has lower-case letters, digits and hyphens, at most 42, and starts with a letter."
  }
}

variable "region" {
  description = "AWS region. Binance rejects requests from the USA."
  type        = string
  default     = "eu-central-1"
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region is the name of an AWS region such as eu-central-1."
  }
}

variable "instance_type" {
  description = "Instance type; docs/deployment.md compares sizes and prices. x86 only: the images are built for amd64."
  type        = string
  default     = "t3a.large"
  validation {
    condition     = can(regex("^[a-z][0-9][a-z0-9-]*\\.(medium|large|[0-9]*xlarge)$", var.instance_type)) && !can(regex("^[a-z][0-9]+[a-z]*g[a-z]*\\.", var.instance_type))
    error_message = "instance_type is an x86 type with at least 4 GiB of memory, such as t3a.large; types with a g after the number are Arm."
  }
}

variable "disk_gb" {
  description = "Size of the disk in GiB."
  type        = number
  default     = 60
  validation {
    condition     = var.disk_gb >= 30 && var.disk_gb <= 1000
    error_message = "disk_gb is from 30 to 1000."
  }
}

variable "ssh_from" {
  description = "IPv4 networks that may use SSH, in CIDR notation; your own address with /32."
  type        = list(string)
  validation {
    condition     = length(var.ssh_from) > 0 && alltrue([for net in var.ssh_from : can(cidrnetmask(net)) && !can(regex("/[0-7]$", net))])
    error_message = "ssh_from has at least one network such as 203.0.113.7/32, none of them wider than /8."
  }
}

variable "lake_policy_arn" {
  description = "Policy that the server's role gets, for example output pipeline_policy_arn of aws-lake; empty: none."
  type        = string
  default     = ""
  validation {
    condition     = var.lake_policy_arn == "" || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:policy/.+$", var.lake_policy_arn))
    error_message = "lake_policy_arn is the ARN of an IAM policy, or empty."
  }
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

variable "bucket" {
  description = "Name of the bucket, unique in the world."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket)) && !startswith(var.bucket, "xn--")
    error_message = "bucket has 3 to 63 lower-case letters, digits and hyphens; a dot would break TLS."
  }
}

variable "region" {
  description = "AWS region."
  type        = string
  default     = "eu-central-1"
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region is the name of an AWS region such as eu-central-1."
  }
}

variable "noncurrent_days" {
  description = "Days for which a replaced or deleted object can be brought back."
  type        = number
  default     = 30
  validation {
    condition     = var.noncurrent_days >= 7 && var.noncurrent_days <= 365
    error_message = "noncurrent_days is from 7 to 365."
  }
}

variable "infrequent_access_days" {
  description = "Age in days at which bronze objects move to the cheaper storage class; 0: never."
  type        = number
  default     = 90
  validation {
    condition     = var.infrequent_access_days == 0 || var.infrequent_access_days >= 30
    error_message = "infrequent_access_days is 0 or at least 30, which is S3's minimum."
  }
}

variable "backup_days" {
  description = "Days for which objects below backups/ are kept."
  type        = number
  default     = 35
  validation {
    condition     = var.backup_days >= 7
    error_message = "backup_days is at least 7: with less, no weekly backup is left."
  }
}

variable "access_log_bucket" {
  description = "Existing bucket for S3 access logs; empty: none."
  type        = string
  default     = ""
}

variable "pipeline_principals" {
  description = "ARNs that may take the role of the pipeline; empty: no role. vps/aws takes the policy instead."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for arn in var.pipeline_principals : can(regex("^arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:(root|(user|role|assumed-role)/.+)$", arn))])
    error_message = "pipeline_principals are ARNs of IAM users, roles or accounts; * would open the bucket to all of AWS."
  }
}

variable "reader_principals" {
  description = "ARNs that may take the read-only role; empty: no role."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for arn in var.reader_principals : can(regex("^arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:(root|(user|role|assumed-role)/.+)$", arn))])
    error_message = "reader_principals are ARNs of IAM users, roles or accounts; * would open the bucket to all of AWS."
  }
}

output "bucket" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.lake.bucket
}

output "pipeline_policy_arn" {
  description = "Policy for whoever writes: lake_policy_arn of vps/aws."
  value       = aws_iam_policy.pipeline.arn
}

output "reader_policy_arn" {
  description = "Policy for whoever reads."
  value       = aws_iam_policy.reader.arn
}

output "settings" {
  description = "Variables for the command tickmart that use this bucket as bronze; keys are not among them."
  value = {
    MINIO_ENDPOINT = "s3.${var.region}.amazonaws.com"
    MINIO_BUCKET   = aws_s3_bucket.lake.bucket
    MINIO_SECURE   = "true"
  }
}

output "next_steps" {
  description = "What to do after `terraform apply`."
  value       = <<-EOT
    On EC2: give pipeline_policy_arn to vps/aws as lake_policy_arn.
    Elsewhere: make a user and its key by hand, so that the key is in no state:
      aws iam create-user --user-name ${var.bucket}-pipeline
      aws iam attach-user-policy --user-name ${var.bucket}-pipeline --policy-arn ${aws_iam_policy.pipeline.arn}
      aws iam create-access-key --user-name ${var.bucket}-pipeline
    and store the key in /etc/tickmart/backup.env on the server.
  EOT
}

# Plans against a simulated AWS: `terraform test`. The provider's schema is real, no account is asked.
mock_provider "aws" {
  override_data {
    target = data.aws_iam_policy_document.tls_only
    values = { json = "{}" }
  }
  override_data {
    target = data.aws_iam_policy_document.pipeline
    values = { json = "{}" }
  }
  override_data {
    target = data.aws_iam_policy_document.reader
    values = { json = "{}" }
  }
  override_data {
    target = data.aws_iam_policy_document.trust
    values = { json = "{}" }
  }
  override_resource {
    target = aws_iam_policy.pipeline
    values = { arn = "arn:aws:iam::123456789012:policy/pipeline" }
  }
  override_resource {
    target = aws_iam_policy.reader
    values = { arn = "arn:aws:iam::123456789012:policy/reader" }
  }
}

variables {
  bucket = "tickmart-of-this-test"
}

run "the_bucket_is_encrypted_versioned_and_never_public" {
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.lake.rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms"
    error_message = "not encrypted"
  }
  assert {
    condition     = one(aws_s3_bucket_versioning.lake.versioning_configuration).status == "Enabled"
    error_message = "not versioned"
  }
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.lake.block_public_acls, aws_s3_bucket_public_access_block.lake.block_public_policy,
      aws_s3_bucket_public_access_block.lake.ignore_public_acls, aws_s3_bucket_public_access_block.lake.restrict_public_buckets,
    ])
    error_message = "public access is not blocked"
  }
  assert {
    condition     = output.settings.MINIO_ENDPOINT == "s3.eu-central-1.amazonaws.com" && output.settings.MINIO_SECURE == "true"
    error_message = "settings"
  }
}

run "plain_http_is_denied_and_no_right_is_wider_than_the_bucket" {
  command = plan
  assert {
    condition     = alltrue([for s in data.aws_iam_policy_document.tls_only.statement : s.effect == "Deny"])
    error_message = "the bucket policy only denies"
  }
  assert {
    condition     = alltrue(flatten([for s in data.aws_iam_policy_document.pipeline.statement : [for a in s.actions : !strcontains(a, "*") && startswith(a, "s3:")]]))
    error_message = "an action of the pipeline is a wildcard"
  }
  assert {
    condition = toset(flatten([for s in data.aws_iam_policy_document.reader.statement : s.actions if s.effect != "Deny"])) == toset([
      "s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject",
    ])
    error_message = "the reader can do more than read"
  }
}

run "no_role_without_a_principal" {
  command = plan
  assert {
    condition     = length(aws_iam_role.this) == 0
    error_message = "a role that nobody asked for"
  }
}

run "a_role_for_each_list_of_principals" {
  command = plan
  variables {
    reader_principals = ["arn:aws:iam::123456789012:role/analysts"]
  }
  assert {
    condition     = keys(aws_iam_role.this) == ["reader"]
    error_message = "roles"
  }
}

run "everybody_is_no_principal" {
  command = plan
  variables {
    reader_principals = ["*"]
  }
  expect_failures = [var.reader_principals]
}

run "a_name_with_a_dot_is_rejected" {
  command = plan
  variables {
    bucket = "tickmart.lake"
  }
  expect_failures = [var.bucket]
}

run "backups_are_kept_for_a_week_at_least" {
  command = plan
  variables {
    backup_days = 3
  }
  expect_failures = [var.backup_days]
}

# Who may use the bucket: the pipeline reads, writes and deletes objects (compaction and backups delete), a reader reads. Neither
# can change the bucket, its versions or its policy, so that what the pipeline deletes can be brought back.

data "aws_iam_policy_document" "pipeline" {
  statement {
    sid       = "Bucket"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"]
    resources = [aws_s3_bucket.lake.arn]
  }
  statement {
    sid = "Objects"
    actions = [
      "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts",
    ]
    resources = ["${aws_s3_bucket.lake.arn}/*"]
  }
}

data "aws_iam_policy_document" "reader" {
  statement {
    sid       = "Bucket"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
    resources = [aws_s3_bucket.lake.arn]
  }
  statement {
    sid       = "Objects"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.lake.arn}/*"]
  }
  statement {
    sid       = "NoBackups"
    effect    = "Deny"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.lake.arn}/backups/*"]
  }
}

resource "aws_iam_policy" "pipeline" {
  name        = "${var.bucket}-pipeline"
  description = "tickmart's pipeline: objects of ${var.bucket}"
  policy      = data.aws_iam_policy_document.pipeline.json
}

resource "aws_iam_policy" "reader" {
  name        = "${var.bucket}-reader"
  description = "Readers of tickmart's bronze: objects of ${var.bucket}, without its backups"
  policy      = data.aws_iam_policy_document.reader.json
}

# A role for each list of principals that is not empty; the two policies can also be attached elsewhere.
locals {
  roles = {
    for name, role in {
      pipeline = { trusted = var.pipeline_principals, policy = aws_iam_policy.pipeline.arn }
      reader   = { trusted = var.reader_principals, policy = aws_iam_policy.reader.arn }
    } : name => role if length(role.trusted) > 0
  }
}

data "aws_iam_policy_document" "trust" {
  for_each = local.roles
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = each.value.trusted
    }
  }
}

resource "aws_iam_role" "this" {
  for_each           = local.roles
  name               = "${var.bucket}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.trust[each.key].json
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each   = local.roles
  role       = aws_iam_role.this[each.key].name
  policy_arn = each.value.policy
}

"""The bronze lake: Parquet objects in S3, written atomically, and the records that were rejected."""

"""The bronze lake: Parquet objects in S3, written once and whole, and the records that were rejected."""

"""Bitcoin's blocks and transactions by day, in the layout of the AWS Public Blockchain bucket."""

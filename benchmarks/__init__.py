"""Speed of each stage against its limit or a peer; `make bench` runs `bench`. Nothing here is a test."""

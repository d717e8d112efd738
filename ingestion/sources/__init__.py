"""The sources: one package for each API, and the HTTP client and rate limiter that they share."""

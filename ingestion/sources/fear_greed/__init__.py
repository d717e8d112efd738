"""alternative.me: the Crypto Fear & Greed index."""

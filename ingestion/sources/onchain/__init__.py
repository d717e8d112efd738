"""Coin Metrics and blockchain.com: daily on-chain series of Bitcoin."""

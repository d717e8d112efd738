"""CoinGecko: snapshots of the market list."""

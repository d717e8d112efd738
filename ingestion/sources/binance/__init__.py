"""Binance Spot: klines by REST and from the bulk archives."""

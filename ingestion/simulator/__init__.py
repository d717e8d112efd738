"""A deterministic HTTP stand-in for the market-data APIs: offline demo, tests, load and faults.

Here belongs what imitates Binance Spot REST, the Binance bulk archives, CoinGecko v3 and alternative.me over real HTTP:
`coins` (which assets), `market` (prices as pure functions of seed, symbol and time), `faults` (what goes wrong) and
`server` (the shapes on the wire). It imports nothing else of tickmart, and no client imports it: a client meets it only
as a base URL, exactly as it meets the real services.
"""

"""A deterministic HTTP stand-in for the market-data APIs: offline demo, tests, load and faults.

Belongs here: everything that imitates Binance Spot REST, the Binance bulk archives, CoinGecko v3 and alternative.me
over real HTTP. `coins` has the assets, `market` the prices as pure functions of seed, symbol and time, `shapes` the
bodies, `services` paths and limits, `faults` what can go wrong, `server` the HTTP server. It imports nothing else of
tickmart, and no client imports it: a client knows it only as a base URL, like the real services.
"""

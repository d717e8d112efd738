-- Which bars are new, beside 50 million old 1m bars: bars are appended in the order of their loads, so that a block range
-- index of half a megabyte replaces a scan of 10 GB.

create index binance_klines_loaded_at on raw.binance_klines using brin (loaded_at);

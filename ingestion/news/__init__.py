"""What tickmart derives from headlines: sentiment, named assets, keys of repeated ones. No requests, no lake."""

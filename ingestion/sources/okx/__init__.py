"""OKX spot: trades and tickers over WebSocket, and the REST requests that fill gaps of the stream."""

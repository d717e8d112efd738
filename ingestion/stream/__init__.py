"""Live prices: the collector (WebSocket to broker), the sink (broker to bronze and raw), and their processes.

Does not belong here: what OKX sends (``ingestion.sources.okx``), the embedded broker (``orchestration.local``).
"""

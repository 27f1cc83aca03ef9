"""Delivery to the ingestion API: HTTP client, tokens, lanes and heartbeat."""

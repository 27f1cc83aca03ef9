"""Delivery to the ingestion API: client, tokens, lanes and heartbeat."""

"""The ingestion service: readings from HTTP to Kafka without loss, and from Kafka to PostgreSQL."""

API_VERSION = "1.0.0"
"""Version of the HTTP interface, part of every record it publishes."""

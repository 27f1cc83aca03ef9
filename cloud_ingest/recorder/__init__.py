"""Kafka to PostgreSQL: every message recorded once."""

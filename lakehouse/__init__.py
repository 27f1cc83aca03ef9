"""Kafka topics -> Delta tables: raw, bronze, silver and gold."""

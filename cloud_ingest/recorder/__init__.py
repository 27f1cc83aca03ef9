"""Records every Kafka message once in PostgreSQL."""

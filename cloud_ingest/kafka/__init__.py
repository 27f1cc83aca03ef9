"""Kafka: producer, admin client, models of the topic values."""

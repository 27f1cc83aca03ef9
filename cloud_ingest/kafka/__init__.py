"""Kafka: the producer, the admin client and the values of the topics."""

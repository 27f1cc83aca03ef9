"""Durable delivery: to Kafka, else to the spool, with every reading accounted for."""

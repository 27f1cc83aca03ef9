"""The whole system on one machine: Kafka, PostgreSQL, an MQTT broker, and all processes of this project."""

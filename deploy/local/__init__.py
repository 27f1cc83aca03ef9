"""The whole system on one machine: real Kafka, PostgreSQL and MQTT broker beside our own processes."""

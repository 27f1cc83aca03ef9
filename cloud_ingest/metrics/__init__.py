"""Counters of the API and their formats: JSON, Prometheus and the CSV log."""

"""Grafana as code: panels in Python, rendered to the JSON files of a provisioned Grafana."""

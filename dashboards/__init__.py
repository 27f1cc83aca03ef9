"""Grafana as code: panels in Python, rendered to JSON that a provisioned Grafana reads."""

"""Alarms at the gateway: rules, episodes, technical conditions and who is told."""

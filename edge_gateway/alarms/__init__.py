"""Alarms at the gateway: rule evaluation, episodes, technical conditions and notifications."""

"""Alarms raised by the cloud for patients whose gateway cannot raise them."""

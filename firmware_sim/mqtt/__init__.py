"""Bracelets that publish to an MQTT broker."""

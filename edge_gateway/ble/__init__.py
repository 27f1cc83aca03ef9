"""Bracelets and standard devices over Bluetooth Low Energy."""

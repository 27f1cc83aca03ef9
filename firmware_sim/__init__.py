"""Simulated bracelets: children, firmware, radio, and the targets of their readings."""

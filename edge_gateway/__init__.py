"""The gateway: receives readings from bracelets, raises alarms, stores readings on disk and delivers them."""

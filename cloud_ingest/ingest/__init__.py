"""Processing of readings: validation, pseudonyms, alert rules, delivery and replay of dead letters."""

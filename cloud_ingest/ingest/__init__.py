"""What happens to a request's readings: validation, pseudonyms, rules and delivery."""

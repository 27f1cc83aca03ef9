"""Access to the API: gateways, tokens, permissions, rate limits and the audit log."""

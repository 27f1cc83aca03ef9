"""The HTTP API: application, server, middleware and routes."""

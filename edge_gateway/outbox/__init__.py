"""The outbox: readings stored in SQLite until the API has accepted them."""

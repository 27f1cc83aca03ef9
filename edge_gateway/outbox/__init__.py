"""The outbox: readings kept in SQLite until the API has accepted them."""

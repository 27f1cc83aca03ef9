"""PostgreSQL: connections and migrations."""

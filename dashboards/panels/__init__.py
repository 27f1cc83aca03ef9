"""One module per dashboard, and modules with the SQL of its longer queries."""

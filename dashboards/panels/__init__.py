"""One module a dashboard; beside them the SQL that is too long to stand among panels."""

"""Roles of the database server; migrations make those they need."""

from __future__ import annotations

from alembic import op

_CREATE = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        CREATE ROLE {role} NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- another database of this server made it a moment ago
END $$
"""


def create_missing(*roles: str) -> None:
    """Make the roles that are not there; they belong to the whole server, not to one database."""
    for role in roles:
        op.execute(_CREATE.format(role=role))

"""Roles of the database server, created by the migrations that need them."""

from __future__ import annotations

from alembic import op

_CREATE = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        CREATE ROLE {role} NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- a migration of another database on this server has just created it
END $$
"""


def create_missing(*roles: str) -> None:
    """Create the roles that are missing; roles belong to the server, not to one database."""
    for role in roles:
        op.execute(_CREATE.format(role=role))

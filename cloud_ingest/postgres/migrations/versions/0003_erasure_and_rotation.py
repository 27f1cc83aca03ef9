"""Erasure requests, links from replaced pseudonyms to current ones, and the role that maintains both."""

from alembic import op

from cloud_ingest.postgres.migrations.roles import create_missing

revision = "0003"
down_revision = "0002"

TABLES = """
CREATE TABLE erasure_requests (
    request_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    pseudonyms text[] NOT NULL CHECK (cardinality(pseudonyms) > 0),
    requested_at timestamptz NOT NULL DEFAULT now(),
    requested_by text NOT NULL,
    database_state text NOT NULL DEFAULT 'requested'
        CHECK (database_state IN ('requested', 'running', 'done')),
    database_done_at timestamptz,
    rows_erased jsonb NOT NULL DEFAULT '{}',
    lake_state text NOT NULL DEFAULT 'requested' CHECK (lake_state IN ('requested', 'running', 'done')),
    lake_done_at timestamptz,
    lifted_at timestamptz
);
CREATE INDEX erasure_requests_pseudonyms ON erasure_requests USING gin (pseudonyms);

CREATE TABLE pseudonym_links (
    old_pseudonym text PRIMARY KEY,
    new_pseudonym text NOT NULL CHECK (new_pseudonym <> old_pseudonym),
    linked_at timestamptz NOT NULL DEFAULT now(),
    database_done_at timestamptz,
    lake_done_at timestamptz
);
CREATE INDEX pseudonym_links_new ON pseudonym_links (new_pseudonym);

CREATE FUNCTION current_pseudonym(pseudonym text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT new_pseudonym FROM pseudonym_links WHERE old_pseudonym = pseudonym), pseudonym)
$$;
"""

GRANTS = """
REVOKE ALL ON erasure_requests FROM kidjamo_reader;
GRANT SELECT ON erasure_requests, pseudonym_links TO kidjamo_recorder;
GRANT USAGE ON SCHEMA public TO kidjamo_api, kidjamo_keeper;
GRANT SELECT, INSERT ON erasure_requests TO kidjamo_api;
GRANT SELECT ON pseudonym_links TO kidjamo_api;
GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO kidjamo_keeper;
REVOKE UPDATE, DELETE ON alembic_version FROM kidjamo_keeper;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, UPDATE, DELETE ON TABLES TO kidjamo_keeper;
GRANT INSERT ON pseudonym_links TO kidjamo_keeper;
GRANT USAGE ON SCHEMA identity TO kidjamo_keeper;
GRANT SELECT, INSERT, DELETE ON identity.patients TO kidjamo_keeper;
"""


def upgrade() -> None:
    """Create tables, function and roles."""
    op.execute(TABLES)
    create_missing("kidjamo_keeper", "kidjamo_api")
    op.execute(GRANTS)


def downgrade() -> None:
    """Drop tables and function; keep the roles, which belong to the server."""
    op.execute(
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public"
        " REVOKE SELECT, UPDATE, DELETE ON TABLES FROM kidjamo_keeper"
    )
    op.execute("DROP FUNCTION current_pseudonym")
    op.execute("DROP TABLE erasure_requests, pseudonym_links")

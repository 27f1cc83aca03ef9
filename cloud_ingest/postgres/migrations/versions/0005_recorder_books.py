"""The recorder's accounting: what it has read, and what became of it."""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = """
CREATE TABLE recorder_books (
    topic text PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now(),
    consumed bigint NOT NULL,
    recorded bigint NOT NULL,
    duplicates bigint NOT NULL,
    dead_letters bigint NOT NULL,
    heartbeats bigint NOT NULL,
    skipped bigint NOT NULL
);
CREATE TABLE recorder_offsets (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);
GRANT SELECT, INSERT, UPDATE ON recorder_books, recorder_offsets TO kidjamo_recorder;
GRANT SELECT ON recorder_books, recorder_offsets TO kidjamo_reader;
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(TABLES)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE recorder_books, recorder_offsets")

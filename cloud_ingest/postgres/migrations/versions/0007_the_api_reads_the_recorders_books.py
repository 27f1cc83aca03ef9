"""The API reads the recorder's books, for `GET /reconciliation`."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Let it."""
    op.execute("GRANT SELECT ON recorder_books, recorder_offsets TO kidjamo_api")


def downgrade() -> None:
    """Take it back."""
    op.execute("REVOKE SELECT ON recorder_books, recorder_offsets FROM kidjamo_api")

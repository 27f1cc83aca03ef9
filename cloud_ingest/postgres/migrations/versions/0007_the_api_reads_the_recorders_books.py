"""Let the API read the recorder's accounting, for `GET /reconciliation`."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Grant the privilege."""
    op.execute("GRANT SELECT ON recorder_books, recorder_offsets TO kidjamo_api")


def downgrade() -> None:
    """Revoke the privilege."""
    op.execute("REVOKE SELECT ON recorder_books, recorder_offsets FROM kidjamo_api")

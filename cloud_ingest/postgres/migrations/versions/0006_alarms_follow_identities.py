"""Let the alarms process read replaced and erased pseudonyms, and delete states."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Grant the privileges."""
    op.execute("GRANT SELECT ON erasure_requests, pseudonym_links TO kidjamo_alarms")
    op.execute("GRANT DELETE ON alarm_states TO kidjamo_alarms")


def downgrade() -> None:
    """Revoke the privileges."""
    op.execute("REVOKE DELETE ON alarm_states FROM kidjamo_alarms")
    op.execute("REVOKE SELECT ON erasure_requests, pseudonym_links FROM kidjamo_alarms")

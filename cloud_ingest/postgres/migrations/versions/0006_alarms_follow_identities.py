"""Alarms follow a child to its new pseudonym and forget one that was erased."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Let them know, and remove states."""
    op.execute("GRANT SELECT ON erasure_requests, pseudonym_links TO kidjamo_alarms")
    op.execute("GRANT DELETE ON alarm_states TO kidjamo_alarms")


def downgrade() -> None:
    """Take it back."""
    op.execute("REVOKE DELETE ON alarm_states FROM kidjamo_alarms")
    op.execute("REVOKE SELECT ON erasure_requests, pseudonym_links FROM kidjamo_alarms")

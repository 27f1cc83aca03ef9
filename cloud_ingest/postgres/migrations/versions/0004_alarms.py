"""Alarms of the cloud: states, acknowledgements, notifications."""

from alembic import op

from cloud_ingest.postgres.migrations.roles import create_missing

revision = "0004"
down_revision = "0003"

TABLES = """
CREATE TABLE alarm_states (
    kind text NOT NULL,
    id text NOT NULL,
    state jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    patient_id text GENERATED ALWAYS AS (CASE kind WHEN 'child' THEN id END) STORED UNIQUE,
    PRIMARY KEY (kind, id)
);

CREATE TABLE alarm_positions (
    topic text NOT NULL,
    partition int NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);

CREATE TABLE alarm_acknowledgements (
    acknowledgement_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    patient_id text,
    condition text,
    alarm_group text,
    silence_s int,
    retires boolean NOT NULL DEFAULT false,
    by text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    applied_at timestamptz,
    found text[],
    CHECK ((patient_id IS NULL) <> (condition IS NULL))
);
CREATE INDEX alarm_acknowledgements_new ON alarm_acknowledgements (at) WHERE applied_at IS NULL;
CREATE INDEX alarm_acknowledgements_patient ON alarm_acknowledgements (patient_id, at DESC);

CREATE TABLE alarm_notifications (
    notification_id uuid NOT NULL,
    contact text NOT NULL,
    patient_id text,
    about text,
    message jsonb NOT NULL,
    at timestamptz NOT NULL,
    told_at timestamptz,
    PRIMARY KEY (notification_id, contact)
);
CREATE INDEX alarm_notifications_waiting ON alarm_notifications (at) WHERE told_at IS NULL;
CREATE INDEX alarm_notifications_patient ON alarm_notifications (patient_id, at DESC);
"""

GRANTS = """
GRANT USAGE ON SCHEMA public TO kidjamo_alarms, kidjamo_api;
GRANT SELECT, INSERT, UPDATE ON alarm_states, alarm_positions, alarm_notifications TO kidjamo_alarms;
GRANT SELECT, UPDATE ON alarm_acknowledgements TO kidjamo_alarms;
GRANT SELECT ON alarm_states TO kidjamo_api;
GRANT SELECT, INSERT ON alarm_acknowledgements TO kidjamo_api;
"""


def upgrade() -> None:
    """Create tables and roles."""
    op.execute(TABLES)
    create_missing("kidjamo_alarms", "kidjamo_api")
    op.execute(GRANTS)


def downgrade() -> None:
    """Drop the tables; keep the roles, which belong to the server."""
    op.execute("DROP TABLE alarm_states, alarm_positions, alarm_acknowledgements, alarm_notifications")

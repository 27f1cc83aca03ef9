"""Tables of readings, alerts, device states and errors; the identity schema; three roles."""

from alembic import op

from cloud_ingest.postgres.migrations.roles import create_missing

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE measurements (
    message_id uuid PRIMARY KEY,
    patient_id text NOT NULL,
    device_id text NOT NULL,
    gateway_id text,
    timestamp timestamptz NOT NULL,
    ingestion_timestamp timestamptz,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    spo2_pct double precision,
    freq_card double precision,
    freq_resp double precision,
    temp_corp double precision,
    invalid_fields text[] NOT NULL DEFAULT '{}',
    quality_score double precision,
    source text,
    late boolean,
    seq bigint,
    contact boolean,
    motion boolean,
    low_perfusion boolean,
    battery_pct smallint
);
CREATE INDEX measurements_patient_time ON measurements (patient_id, timestamp DESC);
CREATE INDEX measurements_time ON measurements (timestamp);

CREATE TABLE alerts (
    alert_id uuid PRIMARY KEY,
    message_id uuid NOT NULL,
    patient_id text NOT NULL,
    device_id text NOT NULL,
    gateway_id text,
    timestamp timestamptz NOT NULL,
    ingestion_timestamp timestamptz,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    type text NOT NULL,
    severity text NOT NULL,
    value double precision,
    threshold double precision,
    message text NOT NULL,
    message_fr text NOT NULL
);
CREATE INDEX alerts_patient_time ON alerts (patient_id, timestamp DESC);
CREATE INDEX alerts_time ON alerts (timestamp);

CREATE TABLE device_status (
    status_id uuid PRIMARY KEY,
    message_id uuid NOT NULL,
    device_id text NOT NULL,
    patient_id text,
    gateway_id text,
    timestamp timestamptz NOT NULL,
    ingestion_timestamp timestamptz,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    contact boolean,
    motion boolean,
    low_perfusion boolean,
    battery_pct smallint,
    site text
);
CREATE INDEX device_status_device_time ON device_status (device_id, timestamp DESC);

CREATE TABLE ingestion_errors (
    error_id uuid PRIMARY KEY,
    timestamp timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    source text NOT NULL,
    reason text NOT NULL,
    field text NOT NULL DEFAULT '',
    original bytea,
    device_id text,
    gateway_id text
);
CREATE INDEX ingestion_errors_time ON ingestion_errors (timestamp DESC);

CREATE SCHEMA identity;
CREATE TABLE identity.patients (
    pseudonym text PRIMARY KEY,
    display_name text NOT NULL
);
"""

GRANTS = """
REVOKE ALL ON SCHEMA identity FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO kidjamo_recorder, kidjamo_reader;
GRANT SELECT, INSERT ON measurements, alerts, device_status, ingestion_errors TO kidjamo_recorder;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO kidjamo_recorder, kidjamo_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO kidjamo_reader;
GRANT USAGE ON SCHEMA identity TO kidjamo_clinician;
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.patients TO kidjamo_clinician;
"""


def upgrade() -> None:
    """Create tables and roles."""
    op.execute(TABLES)
    create_missing("kidjamo_recorder", "kidjamo_reader", "kidjamo_clinician")
    op.execute(GRANTS)


def downgrade() -> None:
    """Drop the tables; keep the roles, which belong to the server."""
    op.execute("DROP TABLE measurements, alerts, device_status, ingestion_errors")
    op.execute("DROP SCHEMA identity CASCADE")

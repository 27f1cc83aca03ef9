"""Monthly partitions of readings, alerts, device states and errors; existing rows are moved."""

from alembic import op

revision = "0002"
down_revision = "0001"

IDS = {
    "measurements": "message_id",
    "alerts": "alert_id",
    "device_status": "status_id",
    "ingestion_errors": "error_id",
}
"""The tables and their id columns."""

FUNCTIONS = """
CREATE FUNCTION ensure_month(parent text, month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    child text := parent || to_char(month, '_YYYY_MM');
    lower timestamptz := month::timestamp AT TIME ZONE 'UTC';
    upper timestamptz := (month + interval '1 month') AT TIME ZONE 'UTC';
BEGIN
    IF parent NOT IN ('measurements', 'alerts', 'device_status', 'ingestion_errors')
       OR month <> date_trunc('month', month)::date THEN
        RAISE EXCEPTION 'not a partitioned table or not the first day of a month: % %', parent, month;
    END IF;
    IF to_regclass(child) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- Another recorder may be creating the same month; after an advisory lock its table would not be visible.
    EXECUTE format('LOCK TABLE %I IN SHARE UPDATE EXCLUSIVE MODE', parent);
    IF to_regclass(child) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
    EXECUTE format('WITH strays AS (DELETE FROM %I WHERE timestamp >= %L AND timestamp < %L RETURNING *)'
                   ' INSERT INTO %I SELECT * FROM strays', parent || '_default', lower, upper, child);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   parent, child, lower, upper);
    RETURN true;
END $$;

CREATE FUNCTION drop_months_before(parent text, cutoff date) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    child text;
BEGIN
    IF parent NOT IN ('measurements', 'alerts', 'device_status', 'ingestion_errors')
       OR cutoff > date_trunc('month', now() AT TIME ZONE 'UTC') - interval '1 month' THEN
        RAISE EXCEPTION 'the present and the last month cannot be dropped: % %', parent, cutoff;
    END IF;
    FOR child IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = parent::regclass AND c.relname ~ '_[0-9]{4}_[0-9]{2}$'
          AND to_date(right(c.relname, 7), 'YYYY_MM') < cutoff
        ORDER BY 1
    LOOP
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, child);
        EXECUTE format('DROP TABLE %I', child);
        RETURN NEXT child;
    END LOOP;
    EXECUTE format('DELETE FROM %I WHERE timestamp < %L',
                   parent || '_default', cutoff::timestamp AT TIME ZONE 'UTC');
END $$;

REVOKE ALL ON FUNCTION ensure_month, drop_months_before FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_month, drop_months_before TO kidjamo_recorder;
"""

PARTITION = """
LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;
ALTER TABLE {table} RENAME TO {table}_whole;
CREATE TABLE {table} (LIKE {table}_whole INCLUDING DEFAULTS) PARTITION BY RANGE (timestamp);
CREATE TABLE {table}_default PARTITION OF {table} DEFAULT;
SELECT ensure_month('{table}', month::date) FROM (
    SELECT DISTINCT date_trunc('month', timestamp AT TIME ZONE 'UTC') AS month FROM {table}_whole
    UNION SELECT date_trunc('month', now() AT TIME ZONE 'UTC')
) months WHERE month BETWEEN now() - interval '37 months' AND now() + interval '1 month';
INSERT INTO {table} SELECT * FROM {table}_whole;
DROP TABLE {table}_whole;
ALTER TABLE {table} ADD PRIMARY KEY ({id}, timestamp);
CREATE INDEX {table}_recorded ON {table} USING brin (recorded_at);
GRANT SELECT, INSERT ON {table} TO kidjamo_recorder;
GRANT SELECT ON {table} TO kidjamo_reader;
"""

INDEXES = """
CREATE INDEX measurements_patient_time ON measurements (patient_id, timestamp DESC);
CREATE INDEX measurements_time ON measurements (timestamp);
CREATE INDEX alerts_patient_time ON alerts (patient_id, timestamp DESC);
CREATE INDEX alerts_time ON alerts (timestamp);
CREATE INDEX device_status_device_time ON device_status (device_id, timestamp DESC);
CREATE INDEX ingestion_errors_time ON ingestion_errors (timestamp DESC);
"""

WHOLE = """
ALTER TABLE {table} RENAME TO {table}_months;
CREATE TABLE {table} (LIKE {table}_months INCLUDING DEFAULTS);
INSERT INTO {table} SELECT * FROM {table}_months;
DROP TABLE {table}_months;
ALTER TABLE {table} ADD PRIMARY KEY ({id});
GRANT SELECT, INSERT ON {table} TO kidjamo_recorder;
GRANT SELECT ON {table} TO kidjamo_reader;
"""


def upgrade() -> None:
    """Move the rows of each table into monthly partitions; build the indexes afterwards."""
    op.execute(FUNCTIONS)
    for table, identity in IDS.items():
        op.execute(PARTITION.format(table=table, id=identity))
    op.execute(INDEXES)
    op.execute(f"ANALYZE {', '.join(IDS)}")


def downgrade() -> None:
    """Move the rows back into unpartitioned tables."""
    for table, identity in IDS.items():
        op.execute(WHOLE.format(table=table, id=identity))
    op.execute(INDEXES)
    op.execute("DROP FUNCTION ensure_month, drop_months_before")

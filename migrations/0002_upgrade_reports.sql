-- Finished upgrades, as the history on each machine tells them.

-- The words of openwatch(1), section EXIT STATUS.
CREATE TYPE upgrade_outcome AS ENUM (
    'ok', 'failed', 'usage', 'config', 'unreachable', 'refused', 'backup_failed',
    'migration_failed', 'unhealthy', 'rolled_back', 'pending', 'mismatch', 'stuck', 'busy'
);

CREATE TABLE upgrade_reports (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host_id      bigint NOT NULL REFERENCES hosts ON DELETE CASCADE,
    -- Name of the file in the history directory: the same run is never told twice.
    run          text NOT NULL,
    outcome      upgrade_outcome NOT NULL,
    from_version text,
    to_version   text,
    started_at   timestamptz,
    finished_at  timestamptz,
    message      text NOT NULL DEFAULT '',
    report       jsonb NOT NULL,
    received_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT upgrade_reports_once UNIQUE (host_id, run)
);

CREATE INDEX upgrade_reports_by_end ON upgrade_reports (host_id, finished_at DESC);
CREATE INDEX upgrade_reports_failed ON upgrade_reports (finished_at DESC) WHERE outcome <> 'ok';

COMMENT ON TABLE upgrade_reports IS 'finished upgrades, one row for each file of the history';

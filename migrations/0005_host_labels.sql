-- Labels that operators give to hosts, and one view over all that is known of a host.

ALTER TABLE hosts
    ADD COLUMN labels jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN updated_at timestamptz;

UPDATE hosts SET updated_at = last_seen;

ALTER TABLE hosts
    ALTER COLUMN updated_at SET DEFAULT now(),
    ALTER COLUMN updated_at SET NOT NULL,
    ADD CONSTRAINT hosts_labels_object CHECK (jsonb_typeof(labels) = 'object') NOT VALID;

ALTER TABLE hosts VALIDATE CONSTRAINT hosts_labels_object;

CREATE INDEX hosts_by_label ON hosts USING gin (labels jsonb_path_ops);

CREATE FUNCTION touch_updated_at() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

-- Being seen again is no change.
CREATE TRIGGER hosts_touch BEFORE UPDATE OF name, labels ON hosts
    FOR EACH ROW
    WHEN (OLD.name IS DISTINCT FROM NEW.name OR OLD.labels IS DISTINCT FROM NEW.labels)
    EXECUTE FUNCTION touch_updated_at();

CREATE VIEW host_overview AS
SELECT h.id, h.name, h.app, h.labels, h.last_seen,
       s.version, s.schema_version, s.ready, s.at AS sampled_at,
       r.outcome AS last_outcome, r.to_version AS last_target, r.finished_at AS last_upgrade_at
FROM hosts h
LEFT JOIN LATERAL (
    SELECT * FROM health_samples WHERE host_id = h.id ORDER BY at DESC LIMIT 1
) s ON true
LEFT JOIN LATERAL (
    SELECT * FROM upgrade_reports WHERE host_id = h.id
    ORDER BY finished_at DESC NULLS LAST, id DESC LIMIT 1
) r ON true;

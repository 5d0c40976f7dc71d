-- How each host is reached, apart from what is known of it. Passwords have no place here.

CREATE TYPE host_transport AS ENUM ('local', 'ssh', 'https');

CREATE TABLE host_connection_profile (
    host_id    bigint PRIMARY KEY REFERENCES hosts ON DELETE CASCADE,
    transport  host_transport NOT NULL DEFAULT 'local',
    address    text,
    port       integer,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT host_connection_profile_port CHECK (port BETWEEN 1 AND 65535),
    CONSTRAINT host_connection_profile_address CHECK (transport = 'local' OR address IS NOT NULL)
);

CREATE TRIGGER host_connection_profile_touch BEFORE UPDATE ON host_connection_profile
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

INSERT INTO host_connection_profile (host_id) SELECT id FROM hosts;

-- Every host has a profile from its first row on.
CREATE FUNCTION add_connection_profile() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO host_connection_profile (host_id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER hosts_connection_profile AFTER INSERT ON hosts
    FOR EACH ROW EXECUTE FUNCTION add_connection_profile();

CREATE OR REPLACE VIEW host_overview AS
SELECT h.id, h.name, h.app, h.labels, h.last_seen,
       s.version, s.schema_version, s.ready, s.at AS sampled_at,
       r.outcome AS last_outcome, r.to_version AS last_target, r.finished_at AS last_upgrade_at,
       p.transport
FROM hosts h
LEFT JOIN host_connection_profile p ON p.host_id = h.id
LEFT JOIN LATERAL (
    SELECT * FROM health_samples WHERE host_id = h.id ORDER BY at DESC LIMIT 1
) s ON true
LEFT JOIN LATERAL (
    SELECT * FROM upgrade_reports WHERE host_id = h.id
    ORDER BY finished_at DESC NULLS LAST, id DESC LIMIT 1
) r ON true;

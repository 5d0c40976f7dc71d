-- Machines that openwatch runs on, one row each.

CREATE TABLE hosts (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- A digest of the machine's identity: systemd asks that the identity itself stays on the machine.
    machine    text NOT NULL,
    name       text NOT NULL,
    app        text NOT NULL,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT hosts_once UNIQUE (machine, app),
    CONSTRAINT hosts_named CHECK (name <> '' AND app <> ''),
    CONSTRAINT hosts_seen_in_order CHECK (last_seen >= first_seen)
);

CREATE INDEX hosts_by_name ON hosts (lower(name));

COMMENT ON TABLE hosts IS 'machines that openwatch runs on';
COMMENT ON COLUMN hosts.machine IS 'SHA-256 of application and machine id';

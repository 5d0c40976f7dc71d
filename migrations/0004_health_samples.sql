-- What the service measured about itself, once a minute.

CREATE TABLE health_samples (
    host_id        bigint NOT NULL REFERENCES hosts ON DELETE CASCADE,
    at             timestamptz NOT NULL DEFAULT now(),
    version        text NOT NULL,
    schema_version text,
    ready          boolean NOT NULL,
    latency_us     bigint NOT NULL CHECK (latency_us >= 0),
    PRIMARY KEY (host_id, at)
);

-- Samples arrive in the order of time: a block range index stays small for years of them.
CREATE INDEX health_samples_by_time ON health_samples USING brin (at) WITH (pages_per_range = 32);

-- Removes samples older than asked for and tells how many.
CREATE FUNCTION prune_health_samples(keep interval) RETURNS bigint
LANGUAGE plpgsql AS $body$
DECLARE
    removed bigint;
BEGIN
    IF keep < interval '1 day' THEN
        RAISE EXCEPTION 'samples of the last day are never removed'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Keep at least one day.';
    END IF;
    DELETE FROM health_samples WHERE at < now() - keep;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$body$;

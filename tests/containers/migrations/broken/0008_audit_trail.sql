-- A migration that cannot work: its second statement names a column that does not exist.
CREATE TABLE audit_trail (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    message text NOT NULL
);
CREATE INDEX audit_trail_by_actor ON audit_trail (actor);

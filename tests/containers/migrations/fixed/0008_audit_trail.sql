-- The same with its mistake corrected. It still fails where someone made such a table by hand.
CREATE TABLE audit_trail (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    actor   text NOT NULL DEFAULT current_user,
    message text NOT NULL
);
CREATE INDEX audit_trail_by_actor ON audit_trail (actor);

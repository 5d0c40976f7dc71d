-- Restore points that upgrades told of. Whether they still exist is known on their machine only.

CREATE TABLE restore_points_seen (
    host_id         bigint NOT NULL REFERENCES hosts ON DELETE CASCADE,
    point           text NOT NULL,
    product_version text,
    size_bytes      bigint,
    seen_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (host_id, point),
    CONSTRAINT restore_points_seen_size CHECK (size_bytes >= 0)
);

ALTER TABLE upgrade_reports ADD COLUMN restore_point text;

-- Reports that came before this column carry the name in their text.
UPDATE upgrade_reports SET restore_point = report ->> 'restore_point';

INSERT INTO restore_points_seen (host_id, point, product_version, seen_at)
SELECT DISTINCT ON (host_id, restore_point) host_id, restore_point, from_version, received_at
FROM upgrade_reports
WHERE restore_point IS NOT NULL
ORDER BY host_id, restore_point, received_at
ON CONFLICT DO NOTHING;

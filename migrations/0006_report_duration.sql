-- How long each upgrade took, so that the next one can be foretold.

ALTER TABLE upgrade_reports ADD COLUMN duration interval;

-- A clock that was set back during an upgrade must not make a negative duration.
UPDATE upgrade_reports
SET duration = greatest(coalesce(finished_at - started_at, interval '0'), interval '0');

ALTER TABLE upgrade_reports
    ALTER COLUMN duration SET NOT NULL,
    ADD CONSTRAINT upgrade_reports_duration CHECK (duration >= interval '0') NOT VALID;

ALTER TABLE upgrade_reports VALIDATE CONSTRAINT upgrade_reports_duration;

-- Writers of version 1 do not give it.
CREATE FUNCTION fill_report_duration() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.duration := coalesce(NEW.duration,
        greatest(coalesce(NEW.finished_at - NEW.started_at, interval '0'), interval '0'));
    RETURN NEW;
END
$$;

CREATE TRIGGER upgrade_reports_duration BEFORE INSERT ON upgrade_reports
    FOR EACH ROW EXECUTE FUNCTION fill_report_duration();

//! What the service remembers: this host, its health once a minute, its finished upgrades.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Service, host};
use crate::database::{Param, Session, SqlError};
use crate::error::{self, Error};
use crate::outcome::Outcome;
use crate::system::fs;

/// Time between two samples.
pub(super) const EVERY: Duration = Duration::from_secs(60);

/// Samples older than this are removed once a day.
const KEEP: &str = "90 days";

const ROUNDS_A_DAY: u64 = 24 * 60;

/// The largest report that is read, in bytes.
const MOST_REPORT: u64 = 16 << 20;

/// Writes what it sees; what goes wrong is told once, and tried again.
pub(super) struct Recorder {
    service: Arc<Service>,
    memory: Mutex<Memory>,
    unfit: Unfit,
}

/// Reports that cannot be recorded, already told.
type Unfit = Arc<Mutex<BTreeSet<String>>>;

#[derive(Default)]
struct Memory {
    rounds: u64,
    /// The last failure, so that it is told once and not every minute.
    failure: Option<String>,
}

impl Recorder {
    pub(super) fn new(service: Arc<Service>) -> Self {
        Self { service, memory: Mutex::default(), unfit: Arc::default() }
    }

    /// Records once.
    pub(super) fn record(&self) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = self.attempt(memory.rounds).err().map(|error| error.message());
        match (&failure, &memory.failure) {
            (Some(now), before) if before.as_ref() != Some(now) => self.service.progress.warn(now),
            (None, Some(_)) => self.service.progress.note("the history is recorded again"),
            (Some(_) | None, _) => {}
        }
        memory.failure = failure;
        memory.rounds += 1;
    }

    fn attempt(&self, round: u64) -> error::Result<()> {
        let service = &self.service;
        let begin = Instant::now();
        let readiness = service.store.look();
        let latency = i64::try_from(begin.elapsed().as_micros()).unwrap_or(i64::MAX);
        if !readiness.ready {
            // On a schema that is not ours nothing is written.
            let reason = readiness.reason.unwrap_or_default();
            return Err(Error::failed(format!("the history is not recorded: {reason}")));
        }
        let (service, unfit) = (Arc::clone(service), Arc::clone(&self.unfit));
        self.service.store.with(move |session| {
            let id = register(session, &service)?;
            session
                .execute(
                    "insert into health_samples (host_id, version, schema_version, ready, latency_us) \
                     values ($1, $2, $3, true, $4) on conflict do nothing",
                    &[&id, &service.version, &readiness.schema, &latency],
                )
                .map_err(unrecorded)?;
            if round.is_multiple_of(ROUNDS_A_DAY) {
                session
                    .rows("select prune_health_samples($1::text::interval)", &[&KEEP])
                    .map_err(unrecorded)?;
            }
            import(session, &service, id, &unfit).map_err(unrecorded)
        })
    }
}

/// Records the reports of the history directory that are not recorded yet.
fn import(
    session: &mut Session,
    service: &Service,
    host: i64,
    unfit: &Unfit,
) -> Result<(), SqlError> {
    let rows = session.rows("select run from upgrade_reports where host_id = $1", &[&host])?;
    let known: BTreeSet<String> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
    let told = || unfit.lock().unwrap_or_else(PoisonError::into_inner);
    for run in runs(&service.layout.history_dir()) {
        if known.contains(&run) || told().contains(&run) {
            continue;
        }
        let reason = match read(&service.layout.history_of(&run)) {
            Ok(report) => match insert(session, host, &run, &report) {
                Ok(_) => continue,
                Err(error) if is_of_the_report(&error) => error.to_string(),
                // Whatever else it is passes, and the report is recorded in a later round.
                Err(error) => return Err(error),
            },
            Err(reason) => reason,
        };
        service.progress.warn(&format!("the report of run {run} is not recorded: {reason}"));
        told().insert(run);
    }
    Ok(())
}

/// Finds or makes the row of this host.
fn register(session: &mut Session, service: &Service) -> error::Result<i64> {
    let host = host::read(&service.layout);
    let app = service.layout.app();
    // Updated first: an insert that conflicts would use up a number every minute.
    let update = "update hosts set name = $3, last_seen = greatest(last_seen, now()) \
                  where machine = $1 and app = $2 returning id";
    let insert = "insert into hosts (machine, app, name) values ($1, $2, $3) \
                  on conflict (machine, app) do update set last_seen = now() returning id";
    let parameters: [&(dyn Param + Sync); 3] = [&host.machine, &app, &host.name];
    let mut rows = session.rows(update, &parameters).map_err(unrecorded)?;
    if rows.is_empty() {
        rows = session.rows(insert, &parameters).map_err(unrecorded)?;
    }
    let id = rows.first().and_then(|row| row.try_get(0).ok());
    id.ok_or_else(|| Error::failed("the history is not recorded: this host has no row"))
}

/// Names the runs of the history directory, oldest first; a directory that is not there, or not
/// ours to read, has none.
fn runs(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .filter(|run| !run.is_empty() && !run.starts_with('.'))
        .collect();
    found.sort();
    found
}

fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_text(path, MOST_REPORT).map_err(|error| error.to_string())?;
    let report: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    if report.is_object() { Ok(report) } else { Err("it is not a JSON object".into()) }
}

/// Writes a report, once; returns whether it was not there before.
pub(super) fn insert(
    session: &mut Session,
    host: i64,
    run: &str,
    report: &Value,
) -> Result<bool, SqlError> {
    let word = |key: &str| report.get(key).and_then(Value::as_str);
    // A run that was killed has no outcome of its own.
    let outcome = word("outcome").and_then(Outcome::from_word).unwrap_or(Outcome::Failed).word();
    let message = word("message").unwrap_or_default();
    let text = report.to_string();
    let written = session.execute(
        "insert into upgrade_reports (host_id, run, outcome, from_version, to_version, \
         started_at, finished_at, message, restore_point, report) \
         values ($1, $2, $3::text::upgrade_outcome, $4, $5, $6::text::timestamptz, \
         $7::text::timestamptz, $8, $9, $10::text::jsonb) on conflict do nothing",
        &[
            &host,
            &run,
            &outcome,
            &word("from"),
            &word("to"),
            &word("started"),
            &word("finished"),
            &message,
            &word("restore_point"),
            &text,
        ],
    )?;
    if let Some(point) = word("restore_point") {
        session.execute(
            "insert into restore_points_seen (host_id, point, product_version) \
             values ($1, $2, $3) on conflict do nothing",
            &[&host, &point, &word("from")],
        )?;
    }
    Ok(written > 0)
}

/// Whether the same report can never be written: its data, a constraint, or its size (SQLSTATE 22, 23, 54).
fn is_of_the_report(error: &SqlError) -> bool {
    let code = error.code.as_deref().unwrap_or_default();
    ["22", "23", "54"].iter().any(|class| code.starts_with(class))
}

fn unrecorded(error: SqlError) -> Error {
    Error::failed("the history is not recorded").source(error)
}

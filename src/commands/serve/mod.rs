//! `openwatch serve`: shows how this machine and its upgrades are, and remembers it.
//!
//! It never runs on a schema that is not its own: not at start, where it ends with a message instead
//! of a loop, and not later, where `/readyz` says no and nothing is written.

mod acting;
mod connections;
mod console;
mod host;
mod listen;
mod metrics;
mod names;
mod patience;
mod places;
mod platform;
mod preparing;
mod recorder;
mod reports;
mod routes;
mod store;
mod token;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::config::Act;
use crate::database::Database;
use crate::error::{Context, Error, Result};
use crate::layout::Layout;
use crate::migrations::{Chain, Comparison, State};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::system::clock::{self, Clock, Deadline};
use crate::system::{fs, signals};
use crate::version::Version;

pub use platform::{Answer, Asked, compare};
pub(super) use token::is_set as token_is_set;

use acting::Seal;
use places::Places;
use recorder::Recorder;
use store::Store;

/// How long writes that have begun may take once we were asked to stop.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What the service needs of the machine.
pub struct Parts {
    /// Fixed paths.
    pub layout: Layout,
    /// The service's own database.
    pub database: Database,
    /// The migrations that its schema must have, no more and no less.
    pub migrations: Chain,
    /// How long a database that is away is waited for at start.
    pub database_wait: Duration,
    /// `OPENWATCH_LISTEN` of `secrets.env`; else the process environment says where to listen,
    /// else it is 127.0.0.1:8480.
    pub listen: Option<String>,
    /// Host names by which the service may be asked for, besides loopback and addresses.
    pub names: Vec<String>,
    /// What root does for whoever asks with the token.
    pub acts: Vec<Act>,
    /// What `openwatch status --json` says.
    pub status: Arc<dyn Fn() -> Value + Send + Sync>,
    /// What units, databases and readiness are, for whoever compares before and after.
    pub platform: Arc<dyn Fn(Asked) -> Answer + Send + Sync>,
    /// Where progress and warnings go.
    pub progress: Arc<dyn Progress>,
    /// Ends the service when it becomes true, as SIGTERM and SIGINT do.
    pub stop: Arc<AtomicBool>,
}

/// The running service.
struct Service {
    layout: Layout,
    version: String,
    started: SystemTime,
    store: Store,
    places: Places,
    names: Vec<String>,
    acts: Vec<Act>,
    seal: Seal,
    status: Arc<dyn Fn() -> Value + Send + Sync>,
    platform: Arc<dyn Fn(Asked) -> Answer + Send + Sync>,
    progress: Arc<dyn Progress>,
    stop: Arc<AtomicBool>,
}

impl Service {
    fn asked_to_stop(&self) -> bool {
        // SIGHUP asks a daemon to read its settings again; ours take effect at the next start.
        self.stop.load(Ordering::SeqCst)
            || matches!(signals::received(), Some("SIGTERM" | "SIGINT"))
    }
}

/// Serves until it is asked to stop; refuses a schema that is not exactly the shipped one.
pub fn run(parts: Parts) -> Result<()> {
    signals::install()?;
    let address = listen::address(parts.listen)?;
    let service = Arc::new(Service {
        version: version(&parts.layout),
        started: Clock::System.now(),
        store: Store::new(parts.database, parts.migrations),
        places: Places::new(),
        layout: parts.layout,
        names: parts.names,
        acts: parts.acts,
        seal: Seal::new(),
        status: parts.status,
        platform: parts.platform,
        progress: parts.progress,
        stop: parts.stop,
    });
    if wait_for_schema(&service, parts.database_wait)? == Wait::Stopped {
        return Ok(());
    }
    // Bound after the schema is proven: a port that accepts but does not answer would look hung.
    let listener = listen::bind(address, &*service.progress)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(places::THREADS)
        .build()
        .context(|| "cannot start the service".into())?;
    let end = runtime.block_on(serve(Arc::clone(&service), listener));
    // A question that the database never answers must not keep the process.
    runtime.shutdown_timeout(LAST_WORDS);
    service.progress.note("stopped");
    end
}

fn version(layout: &Layout) -> String {
    match fs::read_text(&layout.version_file(), 1024) {
        Ok(text) if !text.trim().is_empty() => Version::new(text).upstream().to_owned(),
        Ok(_) | Err(_) => env!("CARGO_PKG_VERSION").to_owned(),
    }
}

#[derive(PartialEq, Eq)]
enum Wait {
    Ready,
    Stopped,
}

/// Waits for the database; what it then says about the schema is final.
fn wait_for_schema(service: &Service, wait: Duration) -> Result<Wait> {
    let deadline = Deadline::after(wait);
    let mut told = false;
    while !service.asked_to_stop() {
        match service.store.compare() {
            Ok(comparison) => return exactly_right(service, &comparison).map(|()| Wait::Ready),
            Err(error) if error.outcome() == Outcome::Unreachable && !deadline.passed() => {
                if !told {
                    service.progress.warn(&format!("{}; waiting for it", error.message()));
                    told = true;
                }
            }
            Err(error) => {
                let away = error.outcome() == Outcome::Unreachable;
                let error = error.state("the service was not started");
                return Err(if away {
                    error.or_hint("Run `systemctl start postgresql`.")
                } else {
                    error
                });
            }
        }
        clock::pause(Duration::from_millis(200).min(deadline.remaining()));
    }
    Ok(Wait::Stopped)
}

fn exactly_right(service: &Service, comparison: &Comparison) -> Result<()> {
    if let Some(refusal) = comparison.refusal(Outcome::Mismatch) {
        return Err(refusal.state("the service was not started"));
    }
    match comparison.state {
        State::Current => Ok(()),
        State::Empty
        | State::Pending
        | State::Ahead
        | State::Divergent
        | State::Missing
        | State::Unknown => {
            let what = store::wrong(comparison);
            let command = match service.layout.app() {
                "openwatch" => "openwatch upgrade".to_owned(),
                app => format!("openwatch --app {app} upgrade"),
            };
            Err(Error::new(Outcome::Mismatch, format!("the schema is not the one needed: {what}"))
                .state("the service was not started")
                .hint(format!("Run `{command}`.")))
        }
    }
}

async fn serve(service: Arc<Service>, listener: TcpListener) -> Result<()> {
    let address = listener.local_addr().context(|| "cannot listen".into())?;
    let listener = tokio::net::TcpListener::from_std(listener)
        .context(|| format!("cannot listen on {address}"))?;
    let recorder = tokio::spawn(keep_recording(Arc::clone(&service)));
    service.progress.note(&format!("version {} listens on http://{address}", service.version));
    tell_systemd(&service, &[sd_notify::NotifyState::Ready]);
    let router = routes::router(Arc::clone(&service));
    connections::serve(listener, router, stopped(Arc::clone(&service))).await;
    recorder.abort();
    Ok(())
}

async fn asked_to_stop(service: &Service) {
    // Signals are only noted by their one door, so they are looked for.
    while !service.asked_to_stop() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn stopped(service: Arc<Service>) {
    asked_to_stop(&service).await;
    tell_systemd(&service, &[sd_notify::NotifyState::Stopping]);
}

async fn keep_recording(service: Arc<Service>) {
    let recorder = Arc::new(Recorder::new(service));
    loop {
        let one = Arc::clone(&recorder);
        // It reports its failures itself; a panic in it must not end the service.
        let _ = tokio::task::spawn_blocking(move || one.record()).await;
        tokio::time::sleep(recorder::EVERY).await;
    }
}

fn tell_systemd(service: &Service, state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        service.progress.warn(&format!("systemd could not be told: {error}"));
    }
}

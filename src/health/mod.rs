//! Proof of health: questions with deadlines, asked until the right answer holds.
//!
//! All probes are asked at the same time, so that the longest deadline is also the limit in total,
//! and a dead service is found while a slow one still warms up. An answer counts only when it comes
//! from the services that were started for this upgrade: the version is compared, and the moment at
//! which the answering process says it began. A unit counts only when it stays up.

mod answer;
mod ask;
mod command;
mod http;
mod sql;
mod tcp;
mod unit;
mod websocket;

pub use answer::{Answer, Report};
pub use http::Seen;
pub use unit::{Life, UnitLook, Units};

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use crate::config::ProbeSpec;
use crate::database::Session;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::system::signals;

/// Opens a session in the database of this name within the application.
pub type Connect = Arc<dyn Fn(&str) -> Result<Session> + Send + Sync>;

/// What the probes need to know and to reach.
#[derive(Clone)]
pub struct Context<'a> {
    /// Version that must answer, as the program itself says it: without epoch and release.
    pub expected_version: Option<String>,
    /// When our services were started; what was running before does not count.
    pub started: Option<SystemTime>,
    /// Who knows the state of units.
    pub units: &'a dyn Units,
    /// How SQL probes reach a database; shared, because a connection may hang beyond our deadline.
    pub connect: Connect,
    /// The credentials file, where probes find their tokens.
    pub secrets: PathBuf,
    /// How often is asked, and for how long a right answer must hold.
    pub pace: Pace,
}

/// How often probes are asked, and for how long a right answer must hold.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Right answers in a row that units, ports and addresses must give.
    pub looks: u32,
    /// Time between two of them.
    pub apart: Duration,
    /// Wait after the first wrong answer; doubled after each further one.
    pub first_pause: Duration,
    /// The longest wait between two attempts.
    pub longest_pause: Duration,
}

impl Default for Pace {
    /// Three seconds of the same main process: a program that dies on its first query is found.
    fn default() -> Self {
        Self {
            looks: 4,
            apart: Duration::from_secs(1),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(2),
        }
    }
}

/// Asks all probes until each has given its right answer or its deadline has passed; a required
/// probe that failed is [`Outcome::Unhealthy`](crate::outcome::Outcome::Unhealthy).
pub fn prove(
    probes: &[ProbeSpec],
    context: &Context<'_>,
    progress: &dyn Progress,
) -> Result<Report> {
    let report = ask(probes, context, progress)?;
    report.verdict()?;
    Ok(report)
}

/// Asks as [`prove`] does, and leaves the judgement to the caller; only a signal is an error.
pub fn ask(probes: &[ProbeSpec], context: &Context<'_>, progress: &dyn Progress) -> Result<Report> {
    let (sender, receiver) = mpsc::channel();
    let mut answers: Vec<Option<Answer>> = vec![None; probes.len()];
    std::thread::scope(|scope| {
        for (place, probe) in probes.iter().enumerate() {
            let sender = sender.clone();
            scope.spawn(move || {
                // The receiver outlives the scope; a failed send cannot happen.
                let _ = sender.send((place, ask::until_right(probe, context)));
            });
        }
        drop(sender);
        let mut done = 0;
        loop {
            match receiver.recv_timeout(Duration::from_millis(500)) {
                Ok((place, answer)) => {
                    done += 1;
                    tell(&answer, progress);
                    answers[place] = Some(answer);
                }
                Err(RecvTimeoutError::Timeout) => {
                    progress.alive("health", done, u64::try_from(probes.len()).ok());
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    if let Some(signal) = signals::received() {
        return Err(Error::failed(format!("{signal} came while health was being proved")));
    }
    let mut report = Report { answers: answers.into_iter().flatten().collect() };
    ask::confirm(probes, &mut report, context, progress);
    Ok(report)
}

/// What one probe showed when it was asked once.
#[derive(Clone, Debug)]
pub struct Looked {
    /// Its answer.
    pub answer: Answer,
    /// What else an HTTP answer said.
    pub seen: Option<Seen>,
}

/// Asks each probe once, all at the same time, with at most this much time for all: to compare with
/// another look. No version is demanded.
pub fn glance(probes: &[ProbeSpec], context: &Context<'_>, limit: Duration) -> Vec<Looked> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = probes
            .iter()
            .map(|probe| scope.spawn(move || ask::look(probe, context, limit.min(probe.deadline))))
            .collect();
        asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

fn tell(answer: &Answer, progress: &dyn Progress) {
    if answer.passed {
        progress.note(&answer.to_string());
    } else {
        progress.warn(&answer.to_string());
    }
}

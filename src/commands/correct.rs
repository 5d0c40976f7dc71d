//! `openwatch migrate --mark-applied`, `--baseline` and `repair`: a history is corrected by hand.
//!
//! What will be written is shown first; nothing is written before somebody says yes. Between the two
//! the locks are held, so that what was shown is what is written.

use std::time::Duration;

use serde_json::{Value, json};

use crate::database::{DatabaseLock, Session};
use crate::error::{Error, Result};
use crate::migrations::{self, Correction, Signature, State, Write};
use crate::outcome::Outcome;
use crate::system::{host, identity, lock::FileLock};
use crate::upgrade::machine::{Machine, Shipped};

use super::Reply;

/// How long another run on the same database is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// What is corrected.
#[derive(Clone, Copy, Debug)]
pub enum What<'w> {
    /// A migration is recorded as applied without being run.
    MarkApplied(&'w str),
    /// Everything up to a migration is recorded as applied, where there is no history.
    Baseline(&'w str),
    /// Checksums become those of the shipped files, marks of what was begun go away; of these
    /// versions, or of all.
    Repair(&'w [String]),
}

/// A correction as it was typed.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// What is corrected.
    pub what: What<'w>,
    /// The database, where the application has several.
    pub database: Option<&'w str>,
    /// Why, for whoever asks later.
    pub reason: Option<&'w str>,
}

/// Whether a correction may follow the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Only to show it: no lock is taken.
    Show,
    /// To write it.
    Write,
}

/// A correction that is known and not written yet; dropping it writes nothing.
pub struct Planned<'m> {
    machine: &'m Machine,
    wanted: Wanted<'m>,
    shipped: &'m Shipped,
    correction: Correction,
    session: Session,
    locks: Option<(FileLock, DatabaseLock)>,
}

/// Finds out what has to be written; none where nothing has to be.
pub fn plan<'m>(
    machine: &'m Machine,
    wanted: Wanted<'m>,
    purpose: Purpose,
) -> Result<Option<Planned<'m>>> {
    let file = match purpose {
        Purpose::Show => None,
        Purpose::Write => Some(machine.lock("migrate")?),
    };
    let Some(shipped) = choose(machine, &wanted)? else { return Ok(None) };
    let chain = &shipped.migrations;
    let mut session = shipped.database.connect()?;
    let locks = match file {
        None => None,
        Some(file) => {
            let mut lock = DatabaseLock::acquire(&shipped.database, "migrate", LOCK_WAIT)?;
            let keys = migrations::tool_locks(&mut session, chain)?;
            lock.also(&keys, chain.format().word(), LOCK_WAIT)?;
            lock.check()?;
            Some((file, lock))
        }
    };
    let correction = correction(machine, &wanted, shipped, &mut session)?;
    let nothing = correction.writes.is_empty();
    let planned = Planned { machine, wanted, shipped, correction, session, locks };
    Ok((!nothing).then_some(planned))
}

/// Says that nothing has to be written.
pub fn nothing() -> Reply {
    Reply::ok("nothing to correct", json!({"written": []}))
}

fn correction(
    machine: &Machine,
    wanted: &Wanted<'_>,
    shipped: &Shipped,
    session: &mut Session,
) -> Result<Correction> {
    let (chain, product) = (&shipped.migrations, machine.version.to_string());
    match wanted.what {
        What::MarkApplied(version) => migrations::marking(session, chain, version, &product),
        What::Baseline(version) => migrations::baseline(session, chain, version, &product),
        What::Repair(only) => migrations::repair(session, chain, only, &product),
    }
}

/// Returns the one database that is meant.
fn choose<'m>(machine: &'m Machine, wanted: &Wanted<'_>) -> Result<Option<&'m Shipped>> {
    let named = |shipped: &&Shipped| wanted.database.is_none_or(|n| n == shipped.database.name());
    let all: Vec<&Shipped> = machine.databases.iter().filter(named).collect();
    if let (Some(name), true) = (wanted.database, all.is_empty()) {
        return Err(usage(machine, format!("the application has no database {name}")));
    }
    if let [only] = all.as_slice() {
        // The plan itself knows best what is wrong with it.
        if !matches!(wanted.what, What::MarkApplied(_)) || wanted.database.is_some() {
            return Ok(Some(only));
        }
    }
    let tool = all.iter().find_map(|shipped| shipped.migrations.command());
    let mut open = Vec::new();
    for shipped in all.iter().copied().filter(|shipped| shipped.migrations.command().is_none()) {
        let mut session = shipped.database.connect()?;
        let state = migrations::look(&mut session, &shipped.migrations)?.state;
        let meant = match wanted.what {
            What::MarkApplied(version) => {
                shipped.migrations.find(version).is_some() && state != State::Current
            }
            What::Baseline(version) => {
                shipped.migrations.find(version).is_some() && state == State::Unknown
            }
            What::Repair(_) => {
                !correction(machine, wanted, shipped, &mut session)?.writes.is_empty()
            }
        };
        if meant {
            open.push(shipped);
        }
    }
    if let (Some(tool), true) = (tool, open.is_empty()) {
        return Err(tool.history_is_its_own());
    }
    match (open.as_slice(), wanted.what) {
        ([one], _) => Ok(Some(one)),
        ([], What::Repair(_)) => Ok(None),
        ([], What::MarkApplied(version) | What::Baseline(version)) => {
            Err(usage(machine, format!("no database is waiting for a migration {version}")))
        }
        ([first, ..], what) => {
            let what = match what {
                What::MarkApplied(version) | What::Baseline(version) => {
                    format!("ship a migration {version} and do not match")
                }
                What::Repair(_) => "have something to repair".to_owned(),
            };
            let error = Error::new(Outcome::Usage, format!("{} databases {what}", open.len()));
            Err(error.state("nothing was changed").hint(format!(
                "Name the one that is meant, such as `--database {}`.",
                first.database.name()
            )))
        }
    }
}

fn usage(machine: &Machine, what: String) -> Error {
    Error::new(Outcome::Usage, what)
        .state("nothing was changed")
        .hint(format!("Run `{}`.", machine.command("migrate --status")))
}

impl Planned<'_> {
    /// Returns what will be written, a line each, for people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines =
            vec![format!("in the migration history of {}:", self.shipped.database.described())];
        lines.extend(self.correction.writes.iter().map(|w| format!("  {}", w.spoken())));
        if self.correction.audited {
            lines.push(
                "  a row in openwatch_audit says who did it, when, and what stood there".into(),
            );
        }
        lines
    }

    /// Answers with what would be written.
    pub fn shown(&self) -> Reply {
        let mut json = self.json("would_write");
        json["dry_run"] = true.into();
        Reply::ok(format!("would write, {}", self.lines().join("\n")), json)
    }

    /// Refuses, because nobody said yes.
    pub fn unconfirmed(&self) -> Error {
        let yes = self.machine.command(&format!("{} --yes", self.typed()));
        let lines = self.lines();
        let error =
            Error::new(Outcome::Refused, "the migration history is written only after a yes");
        lines
            .iter()
            .fold(error, |error, line| error.detail(line.trim()))
            .state("nothing was changed")
            .hint(format!("To do it, run `{yes}`."))
    }

    /// Writes it.
    pub fn carry_out(mut self) -> Result<Reply> {
        if let Some((_, lock)) = &mut self.locks {
            lock.check()?;
        }
        let signed = Signature {
            who: identity::person(),
            host: host::name(),
            why: self.wanted.reason.map(str::to_owned),
            product_version: self.machine.version.to_string(),
        };
        migrations::carry_out(&mut self.session, &self.correction, Some(&signed))?;
        let mut json = self.json("written");
        json["audited"] = self.correction.audited.into();
        let versions = || self.correction.writes.iter().map(|write| write.version.as_str());
        let text = match self.wanted.what {
            What::MarkApplied(_) => {
                json["marked"] = versions().collect::<Vec<_>>().into();
                format!("marked as applied: {}", versions().collect::<Vec<_>>().join(" "))
            }
            What::Baseline(version) => format!("everything up to {version} counts as applied"),
            What::Repair(_) => {
                self.correction.writes.iter().map(Write::spoken).collect::<Vec<_>>().join("\n")
            }
        };
        Ok(Reply::ok(text, json))
    }

    fn json(&self, key: &str) -> Value {
        let mut json = json!({"database": self.shipped.database.name()});
        json[key] = json!(self.correction.writes);
        json
    }

    /// The words that were typed, without `openwatch`.
    fn typed(&self) -> String {
        let mut words = match self.wanted.what {
            What::MarkApplied(version) => format!("migrate --mark-applied {version}"),
            What::Baseline(version) => format!("migrate --baseline {version}"),
            What::Repair(only) => {
                only.iter().fold("migrate repair".to_owned(), |all, one| format!("{all} {one}"))
            }
        };
        if let Some(database) = self.wanted.database {
            words.push_str(&format!(" --database {database}"));
        }
        if let Some(reason) = self.wanted.reason.filter(|reason| !reason.contains('\'')) {
            words.push_str(&format!(" --reason '{reason}'"));
        }
        words
    }
}

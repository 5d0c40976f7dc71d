//! `openwatch backup prune`, `pin`, `unpin`, `remove`: which restore points stay.

use serde_json::{Value, json};

use crate::disk;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::restore_points::{
    Decision, Entry, Mode, Needs, Origin, PinNote, Status, Store, Verdict, is_plain_word, pin_end,
};
use crate::upgrade::machine::Machine;
use crate::upgrade::rollback::kept;
use crate::upgrade::settle::{self, Settled};
use crate::upgrade::{journal, needed, public, rehearsal, telling};

use super::{Reply, replaced};

/// How the answer is told: of ten thousand points, one that nobody reads costs as much as finding
/// out what to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Lines for a person.
    Words,
    /// The object of `--json`.
    Object,
}

/// Removes what retention no longer keeps, or shows what it would remove and why the rest stays.
pub fn prune(machine: &Machine, dry_run: bool, told: Told) -> Result<Reply> {
    if !dry_run {
        // Daily, so that a report reaches a receiver that was away.
        telling::send_kept(machine);
    }
    let Some(looked) = machine.stored()? else {
        if !dry_run {
            public::leave(machine);
        }
        return Ok(Reply::ok("there is no restore point", json!({"decisions": []})));
    };
    // A dry run looks: it makes no lock file, and waits for nobody.
    let (mode, store, _lock) = if dry_run {
        (Mode::DryRun, looked, None)
    } else {
        (Mode::Act, machine.store()?, Some(machine.lock("backup prune")?))
    };
    let mut settled = Settled::default();
    if !dry_run {
        rehearsal::remove_copies(machine);
        // A clone that became a dump counts as one right away.
        settled = settle::run(machine);
    }
    let Settled { problems: mut warnings, listed } = settled;
    let mut listed = listed.map_or_else(|| store.list(), Ok)?;
    let needs = needed::restore_points(machine)?;
    let retention = &machine.config.policy.retention;
    let decisions =
        store.prune_listed(&mut listed, retention, &needs, machine.clock.now(), mode)?;
    // The program ends with the answer: giving back what ten thousand manifests hold, piece by piece,
    // would take a tenth of the time.
    let listed: &[Entry] = listed.leak();
    let word = |verdict: Verdict| match (verdict, mode) {
        (Verdict::Keep, _) => "keep",
        (Verdict::Remove, Mode::DryRun) => "would remove",
        (Verdict::Remove, Mode::Act) => "removed",
    };
    let databases = replaced::prune(machine, mode);
    let left: Vec<_> =
        listed.iter().zip(&decisions).filter(|(_, d)| d.verdict == Verdict::Keep).collect();
    if mode == Mode::Act {
        kept::remember_installed(machine);
        match kept::prune_beside(machine, left.iter().map(|(entry, _)| *entry)) {
            Ok(files) => files.iter().for_each(|file| {
                machine.progress.note(&format!("removed the kept package {file}"));
            }),
            Err(error) => warnings.push(error.message()),
        }
    }
    // What everybody may know waits for the disk, and the answer for nothing.
    let (text, json) = std::thread::scope(|scope| {
        if mode == Mode::Act {
            scope.spawn(|| public::leave_pruned(machine, &left));
        }
        match told {
            Told::Words => {
                (in_words(&decisions, &replaced::pruned(&databases, word), word), json!({}))
            }
            Told::Object => {
                let decisions: Vec<Value> = decisions
                    .iter()
                    .map(|d| json!({"id": d.id, "verdict": word(d.verdict), "reason": d.reason}))
                    .collect();
                let databases = replaced::json(&databases, word);
                let json =
                    json!({"decisions": decisions, "replaced": databases, "warnings": warnings});
                (String::new(), json)
            }
        }
    });
    Ok(Reply::ok(text, json))
}

/// Says a line for each decision, and those about databases below them.
fn in_words(
    decisions: &[Decision],
    databases: &[String],
    word: impl Fn(Verdict) -> &'static str,
) -> String {
    let said = decisions.iter().map(|d| format!("{:<12} {}: {}", word(d.verdict), d.id, d.reason));
    let text = said.chain(databases.iter().cloned()).collect::<Vec<_>>().join("\n");
    if text.is_empty() { "there is no restore point".to_owned() } else { text }
}

/// What is wanted of a pin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pinning<'w> {
    /// Last day of it, as it was typed; none where it holds until it is taken off.
    pub until: Option<&'w str>,
    /// Why.
    pub reason: Option<&'w str>,
    /// Whose word it is, where that is not root's own.
    pub by: Option<&'w str>,
}

/// Keeps a restore point from being removed, until a date or until it is unpinned.
pub fn pin(machine: &Machine, id: &str, wanted: &Pinning<'_>) -> Result<Reply> {
    let Pinning { until, reason, by } = *wanted;
    let now = machine.clock.now();
    let usage = |message: String| {
        Error::new(Outcome::Usage, message)
            .state("nothing was changed")
            .hint("Write a day to come such as 2027-01-31, or leave --until out.")
    };
    let until = match until {
        None => None,
        Some(text) => {
            let end = pin_end(text).ok_or_else(|| usage(format!("{text:?} is not a date")))?;
            if end <= now {
                return Err(usage(format!("{text} is over already")));
            }
            Some(end)
        }
    };
    let _lock = machine.lock("backup pin")?;
    let store = machine.store()?;
    let id = named(&store, id)?;
    let note = PinNote { by: by.map(str::to_owned), ..PinNote::new(now, until, reason) };
    store.pin(&id, &note)?;
    Ok(Reply::ok(format!("restore point {id} is {}", note.told()), json!({"id": id, "pin": note})))
}

/// Takes a pin off; the retention decides about the restore point again.
pub fn unpin(machine: &Machine, id: &str) -> Result<Reply> {
    let _lock = machine.lock("backup unpin")?;
    let store = machine.store()?;
    let id = named(&store, id)?;
    let text = match store.unpin(&id)? {
        Some(_) => format!("restore point {id} is no longer pinned"),
        None => format!("restore point {id} was not pinned"),
    };
    Ok(Reply::ok(text, json!({"id": id, "pin": null})))
}

/// Returns the name of the newest good one for `latest`, any other name as it is.
fn named(store: &Store, id: &str) -> Result<String> {
    match id {
        "latest" => Ok(store.find(id)?.id().to_owned()),
        id => Ok(id.to_owned()),
    }
}

/// What was asked to be removed.
pub struct Removal<'r> {
    /// Name of the restore point, or of a leftover.
    pub id: &'r str,
    /// Whether the operator said yes already.
    pub confirmed: bool,
    /// Whether the operator accepts that a way back is lost with it.
    pub lose_way_back: bool,
}

/// Removes one restore point, once the operator has said yes.
pub fn remove(machine: &Machine, wanted: &Removal<'_>) -> Result<Reply> {
    let _lock = machine.lock("backup remove")?;
    let store = machine.store()?;
    let entry = store.entry(wanted.id)?;
    let id = &entry.id;
    refuse_others(&entry)?;
    if let Some(pin) = entry.pin.as_ref().filter(|pin| pin.holds(machine.clock.now())) {
        return Err(refused(format!("restore point {id} is {}", pin.told()))
            .hint(format!("Run `{}` first.", machine.command(&format!("backup unpin {id}")))));
    }
    let losses = losses(machine, &store, &entry)?;
    if !losses.is_empty() && !wanted.lose_way_back {
        let words = format!("backup remove {id} --yes --lose-way-back");
        return Err(told(refused(format!("with restore point {id} a way back is lost")), &losses)
            .hint(format!("To remove it all the same, run `{}`.", machine.command(&words))));
    }
    if !wanted.confirmed {
        let option = if losses.is_empty() { "" } else { " --lose-way-back" };
        let words = format!("backup remove {id} --yes{option}");
        let size = entry.bytes.map_or(String::new(), |bytes| format!(" ({})", disk::spoken(bytes)));
        return Err(told(
            refused(format!("restore point {id}{size} would be removed for good")),
            &losses,
        )
        .hint(format!("To do it, run `{}`.", machine.command(&words))));
    }
    store.remove(&entry)?;
    let clones: Vec<&str> = entry.manifest.iter().flat_map(|manifest| manifest.clones()).collect();
    if !clones.is_empty() {
        // Named by no restore point any more, they are leftovers; the next prune drops them as well.
        let given_up = journal::give_up(&machine.layout, &clones);
        if let Err(error) = given_up.and_then(|()| settle::sweep(machine)) {
            let message = error.message();
            machine.progress.warn(&format!("its clone is dropped by the next prune: {message}"));
        }
    }
    Ok(Reply::ok(format!("restore point {id} is removed"), json!({"id": id, "lost": losses})))
}

fn refused(message: String) -> Error {
    Error::new(Outcome::Refused, message).state("nothing was changed")
}

fn told(error: Error, details: &[String]) -> Error {
    details.iter().fold(error, |error, line| error.detail(line))
}

/// What is not ours to remove.
fn refuse_others(entry: &Entry) -> Result<()> {
    let id = &entry.id;
    match &entry.status {
        Status::Foreign => {
            return Err(refused(format!("{id} is not a restore point, and none of ours")));
        }
        Status::Busy => {
            let text = format!("restore point {id} is being written");
            return Err(Error::new(Outcome::Busy, text).state("nothing was changed"));
        }
        Status::Good
        | Status::Damaged(_)
        | Status::NotUnderstood(_)
        | Status::Partial
        | Status::Removing => {}
    }
    match &entry.origin {
        Origin::OtherApp(app) => {
            let error = refused(format!("restore point {id} belongs to the application {app}"));
            // It is what the manifest says, and a command is pasted into a shell.
            Err(match is_plain_word(app) {
                true => error.hint(format!("Run `openwatch --app {app} backup remove {id}`.")),
                false => error,
            })
        }
        Origin::OtherHost(_) | Origin::Own => Ok(()),
    }
}

/// Says what could no longer be gone back to without this point.
fn losses(machine: &Machine, store: &Store, entry: &Entry) -> Result<Vec<String>> {
    let Needs { pins, running, doubt } = needed::restore_points(machine)?;
    let needed = pins.into_iter().filter(|pin| pin.id == entry.id);
    let mut losses: Vec<String> =
        needed.map(|pin| format!("it is needed by {}", pin.reason)).collect();
    let leads_to = entry.manifest.as_ref().and_then(|manifest| manifest.to_version.as_ref());
    if losses.is_empty() && leads_to.is_some() && leads_to == running.as_ref() {
        losses.push("it leads back from the running version".into());
    }
    if let Some(doubt) = doubt {
        losses.push(format!("it is not known what is needed: {doubt}"));
    }
    if matches!(entry.status, Status::NotUnderstood(_)) {
        losses
            .push("a later version of this program made it, and may be able to restore it".into());
    }
    let good = entry.status == Status::Good;
    if good && !store.is_safe_without(&entry.id, &*machine.progress)? {
        losses.push("it is the last good one".into());
    }
    Ok(losses)
}

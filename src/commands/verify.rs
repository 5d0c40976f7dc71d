//! `openwatch backup verify`: proves a restore point again, and loads it where that is asked for.

use serde_json::json;

use crate::database::clients::Clients;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::restore_points::{Kind, Limits, RestorePoint, Store, TrialOptions, Tried};
use crate::system::clock;
use crate::upgrade::identity;
use crate::upgrade::machine::Machine;

use super::Reply;

/// How far a verification goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every byte is compared with its sum.
    Files,
    /// It is loaded into a scratch database as well.
    Restore,
}

/// Reads every byte of a restore point back and compares it with its manifest; loads it where asked.
pub fn run(machine: &Machine, id: &str, depth: Depth) -> Result<Reply> {
    let _lock = machine.lock("backup verify")?;
    let store = machine.store()?;
    let mut point = store.find(id)?;
    let id = point.id().to_owned();
    if depth == Depth::Restore {
        point.check_has_archives()?;
    }
    store.verify(&id, &*machine.progress)?;
    let (proven, text) = proven_identity(machine, &point)?;
    let whole = match point.manifest().kind {
        Kind::Dump => format!("restore point {id} is whole{text}"),
        Kind::Clone => on_server(machine, &point)?,
        Kind::External => stated(&point),
    };
    let mut reply = match depth {
        Depth::Files => {
            let proof = point.manifest().proof;
            Reply::ok(whole, json!({"id": id, "proof": proof}))
        }
        Depth::Restore => try_restoring(machine, &store, &mut point, &whole)?,
    };
    reply.json["identity_proven"] = json!(proven);
    Ok(reply)
}

/// Looks for the clones of a point: there are no archives of it yet.
fn on_server(machine: &Machine, point: &RestorePoint) -> Result<String> {
    let databases: Vec<_> = machine.databases.iter().map(|shipped| &shipped.database).collect();
    let there = point.clones_there(&databases)?;
    let there = |name: &str| there.iter().any(|(found, _)| found == name);
    let gone: Vec<String> = point
        .manifest()
        .databases
        .iter()
        .filter(|archive| !there(&archive.name))
        .map(|archive| format!("its clone of {} is gone", archive.name))
        .collect();
    let id = point.id();
    match gone.is_empty() {
        true => Ok(format!("restore point {id} is a clone, and lies on its server")),
        false => {
            let text = format!("restore point {id} is a clone that is not there");
            let error = Error::failed(text).state("nothing was changed");
            Err(gone
                .into_iter()
                .fold(error, Error::detail)
                .hint("List the others with `openwatch backup list`."))
        }
    }
}

/// Nobody here can read what a command of the operator made.
fn stated(point: &RestorePoint) -> String {
    let identifier = point.identifier().unwrap_or_default();
    format!(
        "restore point {} is {identifier}, as its command stated; nothing of it can be read here",
        point.id()
    )
}

/// Proves that an encrypted restore point opens, where an identity is at hand, and notes it.
fn proven_identity(machine: &Machine, point: &RestorePoint) -> Result<(Option<bool>, String)> {
    if !point.is_encrypted() {
        return Ok((None, String::new()));
    }
    if machine.keyring.identity_file().is_none() {
        let command = machine.command(&format!("backup verify {} --identity FILE", point.id()));
        let text = format!(", encrypted; that it can be opened is shown by `{command}`");
        return Ok((Some(false), text));
    }
    let recipient = point.prove_identity(&Clients::default(), &*machine.progress)?;
    let text = format!(", and the identity of {recipient} opens every byte of it");
    identity::note(machine, recipient, point.id())?;
    Ok((Some(true), text))
}

fn try_restoring(
    machine: &Machine,
    store: &Store,
    point: &mut RestorePoint,
    whole: &str,
) -> Result<Reply> {
    let databases: Vec<_> = machine.databases.iter().map(|shipped| &shipped.database).collect();
    let options = TrialOptions {
        // Nothing is down meanwhile: it may take its time.
        limits: Limits { time: None, reserve: machine.config.policy.reserve },
        clock: machine.clock,
        clients: Clients::default(),
    };
    let untouched = "the real databases were not touched, and nothing of the trial is left";
    let tried = store
        .try_restoring(point, &databases, &options, &*machine.progress)
        .map_err(|error| error.state(format!("every byte is as it was written; {untouched}")))?;
    match tried {
        Tried::Restored(took) => {
            let text = format!(
                "{whole}; it was loaded into a scratch database and compared, {}",
                clock::spoken(took)
            );
            let (id, manifest) = (point.id(), point.manifest());
            let json = json!({"id": id, "proof": manifest.proof, "trial": manifest.trial});
            Ok(Reply::ok(text, json))
        }
        Tried::NotTried(why) => {
            let text = format!("{whole}, and could not be loaded into a scratch database");
            let error = Error::new(Outcome::Refused, text).state("nothing was changed");
            let remedy = why.iter().find_map(|obstacle| obstacle.remedy.clone());
            let error = why.into_iter().fold(error, |error, found| error.detail(found.why));
            Err(remedy.into_iter().fold(error, |error, remedy| error.hint(remedy + ".")))
        }
    }
}

//! `openwatch backup`: takes, lists, shows and verifies restore points.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::database::clients::Clients;
use crate::disk;
use crate::error::{Error, Result};
use crate::restore_points::{Entry, Kind, Manifest, PinNote, Reason, Request, Status, Verdict};
use crate::system::clock;
use crate::upgrade::create_restore_point::LOCK_WAIT;
use crate::upgrade::machine::Machine;

use super::{Reply, replaced};
use crate::upgrade::rollback::present::targets;

/// Takes a restore point of every database, with the services running.
pub fn create(machine: &Machine) -> Result<Reply> {
    let _lock = machine.lock("backup")?;
    let databases = targets(machine, |_| true)?;
    if databases.is_empty() {
        return Ok(Reply::ok("there is nothing to back up: every database is empty", json!({})));
    }
    let all: Vec<_> = databases.iter().map(|target| target.database).collect();
    let store = machine.store()?;
    store.estimate(&all)?.check(&store, machine.config.policy.reserve)?;
    let request = Request {
        reason: Reason::Manual,
        from_version: Some(machine.version.clone()),
        to_version: None,
        databases,
        reserve: machine.config.policy.reserve,
        lock_wait: LOCK_WAIT,
        clock: machine.clock,
        clients: Clients::default(),
    };
    let point = store.create(&request, &*machine.progress)?;
    let text = format!(
        "restore point {}: {}, read back and hashed",
        point.id(),
        disk::spoken(point.manifest().bytes)
    );
    Ok(Reply::ok(text, json!({"id": point.id(), "bytes": point.manifest().bytes})))
}

/// Lists restore points, newest first, and what else lies there.
pub fn list(machine: &Machine) -> Result<Reply> {
    let entries = machine.stored()?.map_or_else(|| Ok(Vec::new()), |store| store.list())?;
    warn_of_unreadable(machine, &entries);
    let databases = replaced::list(machine);
    let mut lines: Vec<String> = entries.iter().map(line).collect();
    lines.extend(replaced::listed(&databases));
    let text = if lines.is_empty() { "there is no restore point".into() } else { lines.join("\n") };
    let json: Vec<Value> = entries.iter().map(entry_json).collect();
    let replaced = replaced::json(&databases, |verdict| match verdict {
        Verdict::Keep => "keep",
        Verdict::Remove => "remove",
    });
    Ok(Reply::ok(text, json!({"restore_points": json, "replaced": replaced})))
}

/// Warns of good restore points that no installed client could load any more, once for each client
/// that wrote some.
pub(super) fn warn_of_unreadable(machine: &Machine, entries: &[Entry]) {
    let clients = Clients::default();
    let good = entries.iter().filter(|entry| entry.status == Status::Good);
    let archives = good.filter_map(|entry| entry.manifest.as_ref()).flat_map(|m| &m.databases);
    let written: BTreeSet<(&str, &str)> = archives
        .filter(|archive| !archive.client_version.is_empty())
        .map(|archive| (archive.server_version.as_str(), archive.client_version.as_str()))
        .collect();
    for (server, client) in written {
        if let Some(error) = clients.unreadable(server, client) {
            let hint = error.hint_line().unwrap_or_default();
            machine.progress.warn(&format!("{}. {hint}", error.message()));
        }
    }
}

fn line(entry: &Entry) -> String {
    let size = entry.manifest.as_ref().map_or(String::new(), |m| disk::spoken(m.held_bytes()));
    let reason = entry.manifest.as_ref().map_or("", |m| m.reason.word());
    let proof = entry.manifest.as_ref().map_or("", |m| m.proof.word());
    let trial = entry.manifest.as_ref().and_then(|m| m.trial.as_ref()?.failed.as_ref());
    let why = match (entry.status.why(), trial) {
        (Some(why), _) => format!("  {why}"),
        (None, Some(why)) => format!("  could not be restored: {why}"),
        (None, None) => String::new(),
    };
    let origin = entry.origin.told().map_or(String::new(), |origin| format!("  {origin}"));
    let pin = entry.pin.as_ref().map_or(String::new(), |pin| format!("  {}", pin.told()));
    let made_of = entry.manifest.as_deref().map_or(String::new(), made_of);
    let (state, id) = (entry.status.word(), &entry.id);
    format!("{state:<9} {id:<32} {size:>10}  {proof:<9}  {reason}{made_of}{why}{origin}{pin}")
        .trim_end()
        .to_owned()
}

/// Says what a point is made of, where it is not an archive alone.
fn made_of(manifest: &Manifest) -> String {
    let clones: Vec<&str> = manifest.clones().collect();
    match manifest.kind {
        // What a step left is of some databases only.
        Kind::Dump if manifest.reason == Reason::AfterStep => {
            let names: Vec<&str> = manifest.databases.iter().map(|d| d.name.as_str()).collect();
            format!("  {}", names.join(", "))
        }
        Kind::Dump => String::new(),
        Kind::Clone => format!("  clone {}", clones.join(", ")),
        Kind::External => format!("  external {}", manifest.identifier.as_deref().unwrap_or("")),
    }
}

/// Returns one entry for `--json`; `status` says the same.
pub(super) fn entry_json(entry: &Entry) -> Value {
    let manifest = entry.manifest.as_ref();
    json!({
        "id": entry.id,
        "state": entry.status.word(),
        "why": entry.status.why(),
        "created": entry.created.map(clock::rfc3339),
        "bytes": manifest.map(|m| m.held_bytes()),
        "kind": manifest.map(|m| m.kind.word()),
        "clones": manifest.map(|m| m.clones().collect::<Vec<_>>()),
        "identifier": manifest.and_then(|m| m.identifier.as_ref()),
        "reason": manifest.map(|m| m.reason.word()),
        "databases": manifest.map(|m| m.databases.iter().map(|d| &d.name).collect::<Vec<_>>()),
        "proof": manifest.map(|m| m.proof),
        "trial": manifest.and_then(|m| m.trial.as_ref()),
        "from_version": manifest.and_then(|m| m.from_version.clone()),
        "to_version": manifest.and_then(|m| m.to_version.clone()),
        "origin": entry.origin.told(),
        "pin": entry.pin.as_ref(),
    })
}

/// Shows what one restore point says about itself.
pub fn show(machine: &Machine, id: &str) -> Result<Reply> {
    let Some(store) = machine.stored()? else {
        return Err(Error::failed("there is no restore point").state("nothing was changed"));
    };
    let point = store.find(id)?;
    let manifest = point.manifest();
    let entry = store.entry(point.id())?;
    let mut text = spoken(manifest);
    for line in entry.pin.iter().map(PinNote::told).chain(entry.origin.told()) {
        text.push_str(&format!("\n  {line}"));
    }
    let json = json!({"restore_point": manifest, "pin": entry.pin});
    Ok(Reply::ok(text, json))
}

fn spoken(manifest: &Manifest) -> String {
    let version = |v: &Option<crate::version::Version>| {
        v.as_ref().map_or("unknown".into(), ToString::to_string)
    };
    let mut lines = vec![
        manifest.id.clone(),
        format!(
            "  created:  {} on {}, {}",
            manifest.created,
            manifest.host,
            manifest.reason.word()
        ),
        format!(
            "  versions: from {} to {}",
            version(&manifest.from_version),
            version(&manifest.to_version)
        ),
        format!("  size:     {}", disk::spoken(manifest.held_bytes())),
        format!("  kind:     {}", kind_told(manifest)),
        format!("  proof:    {}", manifest.proof_told()),
    ];
    lines.extend(manifest.encryption.iter().map(|encryption| {
        format!("  encrypted: opened by an identity of {}", encryption.recipients.join(" or "))
    }));
    lines.extend(manifest.databases.iter().map(|archive| {
        let made = match (&archive.clone, manifest.kind) {
            (Some(clone), Kind::Clone) => format!("cloned as {clone}"),
            (_, Kind::External) => "outside".into(),
            (None, Kind::Clone) | (_, Kind::Dump) => {
                format!("client {}, {}", archive.client_version, archive.compression)
            }
        };
        format!(
            "  database: {} ({}), schema {}, server {}, {made}",
            archive.name,
            archive.identity.dbname,
            archive.schema.head.as_deref().unwrap_or("none"),
            archive.server_version
        )
    }));
    lines.join("\n")
}

fn kind_told(manifest: &Manifest) -> String {
    match (manifest.kind, &manifest.identifier) {
        (Kind::External, Some(identifier)) => format!("external, {identifier}"),
        (Kind::Clone, _) => "clone; its dump is not made yet".into(),
        (kind, _) => kind.word().into(),
    }
}

//! `openwatch rehearse`: the upgrade on a copy of the operator's own data; the real one is not touched.

use serde_json::{Value, json};

use crate::disk;
use crate::error::Result;
use crate::migrations::Place;
use crate::outcome::Outcome;
use crate::system::clock;
use crate::upgrade::machine::Machine;
use crate::upgrade::rehearsal::{self, Downtime, Noted, Rehearsed, Report, RowChange, Wanted};

use super::{Reply, about};

/// Rehearses; ends as `refused` where the upgrade would go well and the next dump would not.
pub fn run(machine: &Machine, wanted: &Wanted<'_>) -> Result<Reply> {
    let Some(report) = rehearsal::run(machine, wanted)? else {
        let json = json!({"databases": [], "package_version": machine.version});
        return Ok(about(machine, Reply::ok("nothing is pending, nothing to rehearse", json)));
    };
    let breaks = report.databases.iter().any(|database| !database.next_dump.is_empty());
    let outcome = if breaks { Outcome::Refused } else { Outcome::Ok };
    let json = report_json(machine, &report);
    Ok(about(machine, Reply { outcome, text: spoken(machine, &report), json }))
}

fn spoken(machine: &Machine, report: &Report) -> String {
    let mut lines = vec![format!(
        "rehearsed {} {} {}",
        machine.layout.app(),
        machine.version,
        match &report.point {
            Some(point) if point.fresh => format!(
                "on a restore point taken for it ({}, {}), which is removed again",
                disk::spoken(point.bytes),
                clock::spoken(point.duration)
            ),
            Some(point) => format!("on restore point {}, which is kept", point.id),
            None => "on an empty database".into(),
        }
    )];
    for database in &report.databases {
        lines.extend(database_lines(database));
    }
    lines.extend(downtime_lines(&report.downtime));
    lines.push("the real database was not touched; nothing of the rehearsal is left".into());
    lines.join("\n")
}

fn database_lines(database: &Rehearsed) -> Vec<String> {
    let (before, after) = database.bytes;
    let mut lines = vec![format!(
        "{}: {} applied in {}; {} before, {} after, at most {} more meanwhile",
        database.name,
        count(database.migrations.len(), "migration"),
        clock::spoken(database.duration),
        disk::spoken(before),
        disk::spoken(after),
        disk::spoken(database.extra_bytes())
    )];
    lines.extend(database.migrations.iter().flat_map(migration_lines));
    match database.rows.as_slice() {
        [] => lines.push(format!(
            "  rows     all {} have as many as before",
            count(database.counted, "table")
        )),
        changed => lines.extend(changed.iter().map(row_line)),
    }
    if let Some(why) = &database.own {
        lines.push(format!("  note     owners and grants were left out: {why}"));
    }
    lines.extend(database.left.iter().map(|sql| format!("  note     not set there: {sql}")));
    match database.next_dump.as_slice() {
        [] => lines.push("  dump     the next restore point can be taken".into()),
        faults => lines.extend(
            faults
                .iter()
                .map(|fault| format!("  problem  the next restore point would fail: {fault}")),
        ),
    }
    lines
}

fn migration_lines(noted: &Noted) -> Vec<String> {
    let alone = match noted.place {
        Place::Transaction => "",
        Place::Alone => "  (outside a transaction, locks not seen)",
    };
    let mut lines = vec![format!(
        "  {}  {}  {}{alone}",
        noted.version,
        noted.name,
        clock::spoken(noted.duration)
    )];
    lines.extend(noted.locks.iter().map(|(table, mode)| {
        let out = mode.keeps_out().map_or(String::new(), |who| format!(", keeps {who} out"));
        format!("           {} on {table}{out}", mode.word())
    }));
    lines.extend(noted.rewritten.iter().map(|rewrite| match rewrite.after {
        0 => format!("           {} emptied, {}", rewrite.table, disk::spoken(rewrite.before)),
        _ => format!("           {} rewritten, {}", rewrite.table, disk::spoken(rewrite.before)),
    }));
    lines
}

fn row_line(change: &RowChange) -> String {
    let table = &change.table;
    match (change.before, change.after) {
        (Some(before), Some(after)) => {
            format!("  rows     {table}: {before} before, {after} after")
        }
        (Some(before), None) => format!("  rows     {table}: {before} before, the table is gone"),
        (None, after) => format!("  rows     {table}: new, {}", after.unwrap_or_default()),
    }
}

fn downtime_lines(downtime: &Downtime) -> Vec<String> {
    let least = if downtime.is_complete() { "about" } else { "at least" };
    let mut lines = vec![format!("expected downtime: {least} {}", clock::spoken(downtime.known()))];
    lines.extend(downtime.parts.iter().map(|part| {
        let time = part.time.map_or("unknown".into(), clock::spoken);
        format!("  {}: {time} ({})", part.what, part.source)
    }));
    lines
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn report_json(machine: &Machine, report: &Report) -> Value {
    json!({
        "package_version": machine.version,
        "restore_point": report.point.as_ref().map(|point| json!({
            "id": point.id,
            "bytes": point.bytes,
            "duration_ms": clock::millis(point.duration),
            "kept": !point.fresh,
        })),
        "databases": report.databases.iter().map(database_json).collect::<Vec<_>>(),
        "downtime": {
            "complete": report.downtime.is_complete(),
            "known_ms": clock::millis(report.downtime.known()),
            "parts": report.downtime.parts.iter().map(|part| json!({
                "what": part.what,
                "ms": part.time.map(clock::millis),
                "source": part.source,
            })).collect::<Vec<_>>(),
        },
    })
}

fn database_json(database: &Rehearsed) -> Value {
    json!({
        "name": database.name,
        "scratch": database.scratch,
        "owners_left_out": database.own,
        "settings_left_out": database.left,
        "load_ms": clock::millis(database.loaded),
        "duration_ms": clock::millis(database.duration),
        "migrations": database.migrations.iter().map(migration_json).collect::<Vec<_>>(),
        "rows": database.rows.iter().map(|change| json!({
            "table": change.table,
            "before": change.before,
            "after": change.after,
        })).collect::<Vec<_>>(),
        "tables_counted": database.counted,
        "bytes_before": database.bytes.0,
        "bytes_after": database.bytes.1,
        "extra_bytes": database.extra_bytes(),
        "next_dump": {"ok": database.next_dump.is_empty(), "problems": database.next_dump},
    })
}

fn migration_json(noted: &Noted) -> Value {
    json!({
        "version": noted.version,
        "name": noted.name,
        "duration_ms": clock::millis(noted.duration),
        "transactional": noted.place == Place::Transaction,
        "locks": noted.locks.iter().map(|(table, mode)| json!({
            "table": table,
            "mode": mode.word(),
            "keeps_out": mode.keeps_out(),
        })).collect::<Vec<_>>(),
        "rewritten": noted.rewritten.iter().map(|rewrite| json!({
            "table": rewrite.table,
            "bytes_before": rewrite.before,
            "bytes_after": rewrite.after,
        })).collect::<Vec<_>>(),
    })
}

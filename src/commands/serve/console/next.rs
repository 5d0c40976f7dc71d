//! `/next`: what the next upgrade will do, how long it takes, and what stands against it.

use maud::{Markup, html};
use serde_json::Value;

use super::super::{Service, acting};
use super::words::{command, table, when};
use super::{Content, text};
use crate::config::Act;
use crate::disk;
use crate::system::clock::spoken;
use crate::upgrade::journal::Record;
use crate::upgrade::public::outlook::{Answer, Outlook};
use std::time::Duration;

pub(super) fn page(
    service: &Service,
    status: &Result<Value, String>,
    outlook: Option<&Outlook>,
    past: &[Record],
) -> Content {
    let preflight = outlook.and_then(|outlook| outlook.preflight.as_ref());
    let rehearsal = outlook.and_then(|outlook| outlook.rehearsal.as_ref());
    Ok(html! {
        h1 { "Next upgrade" }
        section id="when" aria-labelledby="when-h" {
            h2 id="when-h" { "When it may begin" }
            (admitted(status))
        }
        section id="plan" aria-labelledby="plan-h" {
            h2 id="plan-h" { "What it will do" }
            @match preflight {
                Some(answer) => (preflighted(answer)),
                None => p { "Nobody has looked at the next package yet." },
            }
            p { "To look at what apt or dnf would install now, run as root" }
            (command(&service.layout.command("preflight --candidate --for-console")))
            p { "or, into a package file that you have:" }
            (command(&service.layout.command("preflight --package FILE --for-console")))
            @if acting::is_open(service) && service.acts.contains(&Act::Preflight) {
                p { "With the token it can be " a href="/act#preflight-form" { "asked for here" } " as well." }
            }
        }
        section id="time" aria-labelledby="time-h" {
            h2 id="time-h" { "How long it takes" }
            @match rehearsal {
                Some(answer) => (rehearsed(answer)),
                None => {}
            }
            (from_history(past))
            p { "To measure it on a copy of your own data, run as root" }
            (command(&service.layout.command("rehearse --candidate --for-console")))
        }
    })
}

fn admitted(status: &Result<Value, String>) -> Markup {
    let Ok(status) = status else { return html! { p { "It is not known at the moment." } } };
    let hold = text(&status["hold"], "state").filter(|state| *state == "held");
    let window = &status["window"];
    let closed = text(window, "state").filter(|state| *state != "open");
    html! {
        @if hold.is_some() {
            p.verdict.warn {
                strong { "Upgrades are held. " } (text(&status["hold"], "reason").unwrap_or_default())
                @if let Some(end) = text(&status["hold"], "until") { " Until " (when(end)) }
            }
        } @else if let Some(why) = text(&status["gate"], "why") {
            p.verdict.bad { strong { "An earlier upgrade is not finished: " } (why) }
        } @else if closed.is_some() {
            p.verdict.warn {
                strong { "Outside the maintenance window." }
                @if let Some(opens) = text(window, "opens") { " It opens " (when(opens)) }
            }
        } @else {
            p.verdict.good { strong { "It may begin at any time." } }
        }
    }
}

/// What every answer begins with: which package, when, and whether it was a no.
fn about(answer: &Answer) -> Markup {
    let said = &answer.said;
    let version = text(said, "package_version");
    html! {
        dl {
            @if let Some(file) = text(said, "package_file") { dt { "Package" } dd { (file) } }
            @if let Some(version) = version { dt { "Version" } dd { (version) } }
            @if let Some(now) = text(said, "installed_version") { dt { "Installed" } dd { (now) } }
            dt { "Looked at" } dd { (when(&answer.written)) }
        }
        @if let Some(message) = text(&said["error"], "message") {
            p.verdict.bad { strong { "It would be refused: " } (message) }
            @for line in said["error"]["detail"].as_array().into_iter().flatten() {
                p { (line.as_str().unwrap_or_default()) }
            }
            @if let Some(hint) = text(&said["error"], "hint") { p { (hint) } }
        }
    }
}

fn preflighted(answer: &Answer) -> Markup {
    let said = &answer.said;
    let plan = &said["plan"];
    let nothing =
        said.get("candidate").is_some_and(Value::is_null) && text(said, "package").is_some();
    let names = |list: &Value| {
        let names: Vec<&str> =
            list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    };
    let rows: Vec<Vec<Markup>> = plan["databases"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|database| {
            vec![
                html! { (text(database, "name").unwrap_or_default()) },
                html! { (text(database, "restore_point").unwrap_or_default().replace('_', " ")) },
                html! { (names(&database["pending"])) },
            ]
        })
        .collect();
    html! {
        (about(answer))
        @if nothing {
            p.verdict.good { strong { "The package sources offer nothing newer." } }
        }
        @if plan.is_object() {
            ol {
                li { "Stop " (names(&plan["stop"])) }
                li { "Take a restore point of each database" }
                li { "Migrate" }
                li { "Start what was stopped, and prove its health" }
            }
            (table("planned", "Databases", &["Database", "Restore point", "Migrations"], &rows))
        }
        @if let Some(space) = said.get("space").filter(|space| space.is_object()) {
            (room(space, plan))
        }
        @if let Some(found) = said["findings"].as_array().filter(|found| !found.is_empty()) {
            h3 { "What was found" }
            ul {
                @for finding in found {
                    li { (text(finding, "message").unwrap_or_default())
                         @if let Some(hint) = text(finding, "hint") { " " (hint) } }
                }
            }
        }
    }
}

/// What the restore point needs and what there is; whether it fits is said in words.
fn room(space: &Value, plan: &Value) -> Markup {
    let bytes = |key: &str| space[key].as_u64().unwrap_or_default();
    let wanted = bytes("restore_point_bytes").saturating_add(bytes("reserve_bytes"));
    let databases = plan["databases"].as_array().into_iter().flatten();
    let is_cloned = |database: &Value| text(database, "restore_point") == Some("clone");
    html! {
        h3 { "Space" }
        @if bytes("free_bytes") >= wanted {
            p.verdict.good { strong { "There is room for the restore point." } }
        } @else {
            p.verdict.bad {
                strong { "There is no room for the restore point: " }
                (disk::spoken(wanted - bytes("free_bytes"))) " are missing."
            }
        }
        dl {
            @if let Some(directory) = text(space, "directory") { dt { "Kept in" } dd { code { (directory) } } }
            dt { "Restore point, about" } dd { (size(&space["restore_point_bytes"])) }
            dt { "Must stay free" } dd { (size(&space["reserve_bytes"])) }
            dt { "Free there" } dd { (size(&space["free_bytes"])) }
            dt { "Databases" }
            dd {
                (size(&space["database_bytes"]))
                @if databases.into_iter().any(is_cloned) { ", and as much again on their server for the clone" }
            }
        }
    }
}

fn size(bytes: &Value) -> String {
    bytes.as_u64().map_or_else(|| "unknown".into(), disk::spoken)
}

fn time(ms: &Value) -> String {
    ms.as_u64().map_or_else(|| "unknown".into(), |ms| spoken(Duration::from_millis(ms)))
}

fn rehearsed(answer: &Answer) -> Markup {
    let said = &answer.said;
    let downtime = &said["downtime"];
    let least = if downtime["complete"] == true { "about" } else { "at least" };
    let parts = downtime["parts"].as_array().into_iter().flatten();
    let parts: Vec<Vec<Markup>> = parts
        .map(|part| {
            vec![
                html! { (text(part, "what").unwrap_or_default()) },
                html! { (time(&part["ms"])) },
                html! { (text(part, "source").unwrap_or_default()) },
            ]
        })
        .collect();
    let migrations: Vec<Vec<Markup>> = said["databases"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|database| {
            let name = text(database, "name").unwrap_or_default();
            let each = database["migrations"].as_array().into_iter().flatten();
            each.map(move |migration| migrated(name, migration))
        })
        .collect();
    html! {
        (about(answer))
        @if downtime.is_object() {
            p.verdict { strong { "Services are down for " (least) " " (time(&downtime["known_ms"])) "." } }
            (table("parts", "Expected downtime", &["Part", "Time", "Where the number is from"], &parts))
        }
        @if !migrations.is_empty() {
            (table("migrations", "Migrations, rehearsed", &["Migration", "Database", "Time", "Locks"], &migrations))
        }
        @for database in said["databases"].as_array().into_iter().flatten() {
            p {
                (text(database, "name").unwrap_or_default()) ": " (size(&database["bytes_before"])) " before, "
                (size(&database["bytes_after"])) " after, at most " (size(&database["extra_bytes"])) " more meanwhile"
            }
        }
    }
}

fn migrated(database: &str, migration: &Value) -> Vec<Markup> {
    let locks = migration["locks"].as_array().into_iter().flatten();
    vec![
        html! { (text(migration, "version").unwrap_or_default()) " " (text(migration, "name").unwrap_or_default()) },
        html! { (database) },
        html! { (time(&migration["duration_ms"])) },
        html! { @for lock in locks { p { (text(lock, "mode").unwrap_or_default()) " on " (text(lock, "table").unwrap_or_default()) } } },
    ]
}

/// The most past runs that are asked how long the services were down.
const RUNS: usize = 5;

/// What the past says, beside a rehearsal or without one.
fn from_history(past: &[Record]) -> Markup {
    let good = past.iter().filter(|record| record.outcome.as_deref() == Some("ok"));
    let known: Vec<(&Record, Duration)> =
        good.filter_map(|record| Some((record, record.downtime()?))).take(RUNS).collect();
    let times = known.iter().map(|(_, down)| *down);
    let (least, most) = (times.clone().min(), times.max());
    html! {
        @match known.as_slice() {
            [] => p { "No upgrade has stopped services on this host yet, so the past says nothing." },
            [(record, down)] => p.verdict {
                strong { "The last upgrade kept services down for " (spoken(*down)) "." }
                " It led to " (record.to) ", " (when(&record.started)) "."
            },
            [(record, down), ..] => p.verdict {
                strong {
                    "The last " (known.len()) " upgrades kept services down for "
                    (spoken(least.unwrap_or_default())) " to " (spoken(most.unwrap_or_default())) "."
                }
                " The newest, to " (record.to) ", took " (spoken(*down)) ", " (when(&record.started)) "."
            },
        }
    }
}

//! `/`: how this host is, and what to do next.

use maud::{Markup, html};
use serde_json::Value;

use super::super::Service;
use super::words::{command, commands, count, outcome, table, when};
use super::{Content, text};
use crate::system::clock::spoken;
use crate::upgrade::journal::{self, Record};

pub(super) fn page(service: &Service, status: &Result<Value, String>) -> Content {
    let status = status.as_ref().map_err(Clone::clone)?;
    if let Some(why) = text(&status["error"], "message") {
        return Err(why.to_owned());
    }
    let last = journal::read(&service.layout).ok().flatten();
    let version = text(status, "package_version").unwrap_or("unknown");
    Ok(html! {
        h1 { (service.layout.app()) " " (version) }
        section id="verdict" aria-label="Verdict" {
            (verdict(status))
            @for next in next(status) {
                h2 { "Next command" }
                (command(&next))
            }
        }
        section id="schema" aria-labelledby="schema-h" {
            h2 id="schema-h" { "Versions and schema" }
            (databases(status))
        }
        section id="gate" aria-labelledby="gate-h" {
            h2 id="gate-h" { "Gate and units" }
            (gate(status))
        }
        section id="last" aria-labelledby="last-h" {
            h2 id="last-h" { "Last upgrade" }
            (last_run(status, last.as_ref()))
        }
        @if let Some(warnings) = status["warnings"].as_array().filter(|all| !all.is_empty()) {
            section id="warnings" aria-labelledby="warnings-h" {
                h2 id="warnings-h" { "Warnings" }
                ul { @for warning in warnings { li { (warning.as_str().unwrap_or_default()) } } }
            }
        }
    })
}

/// One sentence that says whether a person is needed.
fn verdict(status: &Value) -> Markup {
    let last = &status["last_run"];
    let bad = text(last, "outcome").filter(|word| *word != "ok" && last["acknowledged"] != true);
    let waiting = |state: &str| {
        let databases = status["databases"].as_array();
        databases.is_some_and(|all| all.iter().any(|database| database["state"] == state))
    };
    let unlike = |database: &&Value| database["state"] != "current";
    let first = status["databases"].as_array().and_then(|all| all.iter().find(unlike));
    if let Some(why) = text(&status["gate"], "why") {
        html! { p.verdict.bad { strong { "The gate is closed: " } (why) } }
    } else if let Some(word) = bad {
        html! {
            p.verdict.bad {
                strong { "The last upgrade ended as " (word.replace('_', " ")) ": " }
                (text(last, "message").unwrap_or("no reason was noted"))
            }
            @if let Some(state) = text(last, "state") { p { (state) } }
        }
    } else if waiting("pending") {
        html! { p.verdict.warn { strong { "Migrations are pending." } } }
    } else if let Some(database) = first {
        html! {
            p.verdict.bad {
                strong {
                    "Database " (text(database, "name").unwrap_or_default()) " is "
                    (text(database, "state").unwrap_or("unknown")) ": "
                }
                (database["problems"][0]["what"].as_str().unwrap_or("look at it"))
            }
        }
    } else {
        html! { p.verdict.good { strong { "All is well." } " The schema belongs to the program, and the gate is open." } }
    }
}

fn next(status: &Value) -> Vec<String> {
    let last = &status["last_run"];
    let unread = last["outcome"] != "ok" && last["acknowledged"] != true;
    let own = text(status, "next").map(str::to_owned);
    let after = text(last, "next").filter(|_| unread);
    let after = after.map(|line| commands(line).into_iter().map(str::to_owned).collect());
    match own {
        // A plain command already.
        Some(own) if !own.contains('`') => vec![own],
        Some(own) => commands(&own).into_iter().map(str::to_owned).collect(),
        None => after.unwrap_or_default(),
    }
}

fn databases(status: &Value) -> Markup {
    let rows: Vec<Vec<Markup>> = status["databases"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|database| {
            let state = text(database, "state").unwrap_or("unknown");
            let class = match state {
                "current" => "good",
                "pending" | "empty" => "warn",
                _ => "bad",
            };
            let pending = database["pending"].as_array().map_or(0, Vec::len);
            let problems = database["problems"].as_array().into_iter().flatten();
            vec![
                html! { (text(database, "name").unwrap_or_default()) },
                html! { span.state.(class) { (state) } },
                html! { (text(database, "current").unwrap_or("none")) },
                html! { (text(database, "head").unwrap_or("none")) },
                html! { (pending) },
                html! { (text(database, "server_version").unwrap_or("unknown")) },
                html! { @for problem in problems { p { (text(problem, "what").unwrap_or_default()) } } },
            ]
        })
        .collect();
    let head = ["Database", "State", "Schema", "Shipped", "Pending", "Server", "Problems"];
    table("databases", "Databases of the application", &head, &rows)
}

fn gate(status: &Value) -> Markup {
    let gate = &status["gate"];
    let units = status["units"].as_array().into_iter().flatten();
    html! {
        dl {
            dt { "Gate" }
            @if let Some(why) = text(gate, "why") {
                dd { span.state.bad { "closed" } " " (why) }
            } @else {
                dd { span.state.good { "open" } " units may start" }
            }
            @if !gate["by_hand"].is_null() {
                dt { "Opened by hand" }
                dd { (text(&gate["by_hand"], "reason").unwrap_or_default())
                     @if let Some(end) = text(&gate["by_hand"], "until") { ", until " (when(end)) } }
            }
            @if let Some(state) = text(&status["hold"], "state") {
                dt { "Hold" }
                dd { (state) @if let Some(why) = text(&status["hold"], "reason") { ": " (why) } }
            }
            @if let Some(version) = text(status, "given_up") {
                dt { "Rolled back" }
                dd { (version) " stays out until it is asked for" }
            }
            dt { "Units" }
            @for unit in units { dd { (unit.as_str().unwrap_or_default()) } }
            @if let Some(count) = status["reports_waiting"].as_u64().filter(|count| *count > 0) {
                dt { "Reports" }
                dd { (count) " wait for their receiver" }
            }
        }
    }
}

fn last_run(status: &Value, record: Option<&Record>) -> Markup {
    let Some(record) = record else {
        return html! { p { "No upgrade has run on this host yet." } };
    };
    let running = record.finished.is_none() && status["recovery"]["interrupted"] != true;
    let word = record.outcome.as_deref().unwrap_or(if running { "running" } else { "interrupted" });
    let from = record.from.as_ref().map_or("unknown".into(), ToString::to_string);
    html! {
        dl {
            dt { "Outcome" }
            dd {
                (outcome(word))
                @if status["last_run"]["acknowledged"] == true && word != "ok" { " acknowledged" }
            }
            dt { "Versions" } dd { (from) " → " (record.to) }
            dt { "Began" } dd { (when(&record.started)) }
            @if let Some(end) = &record.finished { dt { "Ended" } dd { (when(end)) } }
            dt { "Took" } dd { (spoken(record.took())) }
            @if let Some(down) = record.downtime() {
                dt { "Services down" } dd { (spoken(down)) }
            }
            @if let Some(point) = &record.restore_point {
                dt { "Restore point" } dd { (point) }
            }
            @if let Some(message) = &record.message { dt { "Failure" } dd { (message) } }
            @if let Some(state) = &record.state { dt { "State" } dd { (state) } }
            @if !record.detail.is_empty() {
                dt { "Detail" } dd { @for line in &record.detail { p { (line) } } }
            }
        }
        (steps(record))
    }
}

/// The steps of a run with their times.
pub(super) fn steps(record: &Record) -> Markup {
    let laps = record.laps();
    let rows: Vec<Vec<Markup>> = laps
        .iter()
        .map(|lap| {
            vec![
                html! { (lap.step.spoken()) },
                html! { (spoken(lap.begun)) },
                match lap.took {
                    Some(took) => html! { (spoken(took)) },
                    None => html! { span.state.warn { "not ended" } },
                },
                html! { (lap.note) },
            ]
        })
        .collect();
    let caption = format!("{} of the last upgrade", count(laps.len() as u64, "step"));
    html! {
        @if !rows.is_empty() {
            (table("steps", &caption, &["Step", "Began after", "Took", "What it did"], &rows))
        }
    }
}

//! `/history`: past runs, how they ended, how long they took.

use maud::{Markup, html};

use super::words::{outcome, table, when};
use super::{Content, plot};
use crate::system::clock::spoken;
use crate::upgrade::journal::Record;

/// The most runs that are listed.
const MOST: usize = 200;

pub(super) fn page(records: &[Record]) -> Content {
    if records.is_empty() {
        return Ok(html! { h1 { "History" } p { "No upgrade has run on this host yet." } });
    }
    let rows: Vec<Vec<Markup>> = records.iter().take(MOST).map(row).collect();
    let head =
        ["Began", "Versions", "Outcome", "Took", "Services down", "Restore point", "Message"];
    let caption = match records.len() {
        all if all > MOST => format!("The newest {MOST} of {all} runs"),
        _ => "All runs, newest first".to_owned(),
    };
    Ok(html! {
        h1 { "History" }
        section id="plot" aria-labelledby="plot-h" {
            h2 id="plot-h" { "How long upgrades took" }
            (plot::durations(records))
        }
        section id="runs" aria-labelledby="runs-h" {
            h2 id="runs-h" { "Runs" }
            (table("runs-t", &caption, &head, &rows))
        }
    })
}

fn row(record: &Record) -> Vec<Markup> {
    let from = record.from.as_ref().map_or("unknown".into(), ToString::to_string);
    let versions = match &record.taken_back {
        Some(_) => record.what_it_did(),
        None => format!("{from} → {}", record.to),
    };
    vec![
        html! { (when(&record.started)) },
        html! { (versions) },
        outcome(record.outcome.as_deref().unwrap_or("interrupted")),
        html! { (spoken(record.took())) },
        html! { (record.downtime().map_or_else(|| "–".to_owned(), spoken)) },
        html! { (record.restore_point.as_deref().unwrap_or("none")) },
        html! { (record.message.as_deref().unwrap_or_default()) },
    ]
}

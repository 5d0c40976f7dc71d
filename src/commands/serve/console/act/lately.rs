//! What was asked for lately, and what came of it.

use maud::{Markup, html};

use super::super::words::{command, commands, outcome, table, when};
use super::forms::Known;
use crate::upgrade::asked::Asked;

pub(super) fn listed(known: &Known<'_>) -> Markup {
    let rows: Vec<Vec<Markup>> = known.lately.acts.iter().map(row).collect();
    html! {
        @if known.waiting {
            p.verdict.warn {
                strong { "Something was asked for, and root has not taken it up yet." }
                " That takes a second. Where it takes longer, look at"
            }
            (command("systemctl status openwatch-asked.path openwatch-asked.service"))
        }
        @if rows.is_empty() {
            @if !known.waiting { p { "Nothing was asked for yet." } }
        } @else {
            (table("lately-t", "What root was asked for, newest first",
                &["Act", "Begun", "Outcome", "What came of it"], &rows))
        }
    }
}

fn row(asked: &Asked) -> Vec<Markup> {
    let hint = asked.hint.as_deref().unwrap_or_default();
    vec![
        html! { (asked.act) @if let Some(point) = &asked.point { p { code { (point) } } } },
        html! { (when(&asked.began)) },
        outcome(asked.outcome.as_deref().unwrap_or("running")),
        html! {
            @for line in asked.message.as_deref().unwrap_or_default().lines() { p { (line) } }
            @for typed in commands(hint) { (command(typed)) }
        },
    ]
}

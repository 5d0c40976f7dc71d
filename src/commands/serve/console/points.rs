//! `/restore-points`: what could be gone back to, and why it is kept.

use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::{Service, acting};
use super::Content;
use super::words::{command, count, table, when};
use crate::disk;
use crate::upgrade::public::{Point, Summary};

pub(super) fn page(service: &Service, summary: Option<&Summary>) -> Content {
    let prune = service.layout.command("backup prune");
    let Some(summary) = summary else {
        return Ok(html! {
            h1 { "Restore points" }
            p { "Root has not told of its restore points yet: it does after each upgrade, after each "
                "change of them, and daily. To see them now, run" }
            (command(&prune))
        });
    };
    let good = summary.points.iter().filter(|point| point.is_good()).count() as u64;
    let bytes = summary.points.iter().filter_map(|point| point.bytes);
    let all = bytes.fold(0, u64::saturating_add);
    Ok(html! {
        h1 { "Restore points" }
        section id="sum" aria-label="Sum" {
            @if let Some(problem) = &summary.problem {
                p.verdict.bad { strong { "They could not be listed: " } (problem) }
            } @else if good == 0 {
                p.verdict.warn { strong { "There is no good restore point." } }
            } @else {
                p.verdict.good { strong { (count(good, "good restore point")) } ", " (disk::spoken(all)) " in all." }
            }
            dl {
                dt { "Kept in" } dd { code { (summary.directory) } }
                @if let Some(free) = summary.free_bytes { dt { "Free there" } dd { (disk::spoken(free)) } }
                dt { "Looked at" } dd { (when(&summary.written)) }
            }
        }
        section id="points" aria-label="List" {
            @if summary.points.is_empty() {
                p { "There is none yet: the first upgrade with migrations takes one, or" }
                (command(&service.layout.command("backup create")))
            } @else {
                (listed(&summary.points, acting::is_open(service)))
            }
        }
        @if good > 0 {
            section id="ways" aria-labelledby="ways-h" {
                h2 id="ways-h" { "What can be done with them" }
                p { "See what a restore would lose, and then whether the newest one can be loaded:" }
                (command(&service.layout.command("restore latest")))
                (command(&service.layout.command("backup verify latest --restore")))
            }
        }
    })
}

fn listed(points: &[Point], can_act: bool) -> Markup {
    let rows: Vec<Vec<Markup>> = points.iter().map(|point| row(point, can_act)).collect();
    let head = ["Restore point", "State", "Made", "Size", "Proof", "Versions", "Why it is here"];
    table("listed", "Restore points, newest first", &head, &rows)
}

fn row(point: &Point, can_act: bool) -> Vec<Markup> {
    let said = |text: &Option<String>| text.clone().unwrap_or_default();
    let acts = || format!("/act?point={}", utf8_percent_encode(&point.id, NON_ALPHANUMERIC));
    vec![
        html! {
            code { (point.id) }
            @if can_act && point.is_good() {
                p { a href=(acts()) aria-label={ "Verify or keep " (point.id) } { "Verify or keep" } }
            }
        },
        html! {
            span.state.(if point.is_good() { "good" } else { "bad" }) { (point.state) }
            @if let Some(why) = &point.why { p { (why) } }
        },
        html! { @if let Some(created) = &point.created { (when(created)) } },
        html! { (point.bytes.map_or_else(String::new, disk::spoken)) },
        html! {
            (said(&point.proof))
            @if point.encrypted { p { "encrypted" } }
            @if !point.is_dump() { p { (point.kind.as_deref().unwrap_or_default()) } }
        },
        html! {
            (said(&point.from))
            @if let Some(to) = &point.to { " → " (to) }
        },
        html! {
            @if point.stays { "kept: " } @else { span.state.warn { "goes" } " " }
            (point.because)
            @for more in point.pin.iter().chain(&point.origin) { p { (more) } }
        },
    ]
}

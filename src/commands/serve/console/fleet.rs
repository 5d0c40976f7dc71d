//! `/hosts`: hosts that report in.

use maud::{Markup, html};

use super::super::Service;
use super::super::store::{Host, Report};
use super::Content;
use super::words::{outcome, table, when};

pub(super) fn page(service: &Service) -> Content {
    let hosts = service.store.hosts().map_err(|error| error.message())?;
    let reports = service.store.reports().map_err(|error| error.message())?;
    Ok(html! {
        h1 { "Hosts" }
        section id="hosts" aria-label="Hosts" {
            @if hosts.is_empty() {
                p { "No host has reported in yet." }
            } @else {
                (table("hosts-t", "Hosts that report to this one, and this one", &HEAD, &hosts.iter().map(host).collect::<Vec<_>>()))
            }
        }
        section id="reports" aria-labelledby="reports-h" {
            h2 id="reports-h" { "Newest upgrades" }
            @if reports.is_empty() {
                p { "No upgrade was reported yet." }
            } @else {
                (table("reports-t", "Upgrades of all hosts, newest first", &REPORTS, &reports.iter().map(report).collect::<Vec<_>>()))
            }
        }
        section id="how" aria-labelledby="how-h" {
            h2 id="how-h" { "How a host reports in" }
            p { "Its " code { "[notify]" } " names this service as " code { "report_url" }
                ", and both have the same key: see " code { "docs/CONSOLE.md" } "." }
        }
    })
}

const HEAD: [&str; 7] =
    ["Host", "Application", "Version", "Schema", "Last seen", "Last upgrade", "Ended"];

const REPORTS: [&str; 6] = ["Host", "Application", "Versions", "Outcome", "Ended", "Message"];

fn host(host: &Host) -> Vec<Markup> {
    let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
    vec![
        html! { (host.name) },
        html! { (host.app) },
        html! { (said(&host.version)) },
        html! { (said(&host.schema)) },
        html! { (when(&host.seen)) },
        html! { @if let Some(word) = &host.outcome { (outcome(word)) } @else { "none" } },
        html! { @if let Some(end) = &host.ended { (when(end)) } },
    ]
}

fn report(report: &Report) -> Vec<Markup> {
    let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
    vec![
        html! { (report.host) },
        html! { (report.app) },
        html! { (said(&report.from)) " → " (said(&report.to)) },
        outcome(&report.outcome),
        html! { @if let Some(end) = &report.ended { (when(end)) } },
        html! { (report.message) },
    ]
}

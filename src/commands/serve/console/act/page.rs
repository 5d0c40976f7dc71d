//! The page of acts: its parts, and what is not among them.

use maud::{Markup, html};

use super::super::super::{Service, acting};
use super::super::words::command;
use super::forms::{self, Known, Typed};
use super::lately;

pub(super) fn page(service: &Service, known: &Known<'_>, typed: &Typed) -> Markup {
    let open = acting::is_open(service);
    html! {
        h1 { "Act" }
        section id="lately" aria-labelledby="lately-h" {
            h2 id="lately-h" { "Asked for" }
            (lately::listed(known))
        }
        @if open {
            (forms::all(service, known, typed))
        } @else {
            section id="closed" aria-labelledby="closed-h" {
                h2 id="closed-h" { "Nothing can be asked for yet" }
                @if let Some(why) = &typed.why { p.verdict.bad role="alert" { (why) } }
                p { "Set a token of at least 20 characters in "
                    code { (service.layout.secrets().display()) }
                    ", such as one made so:" }
                (command("echo \"OPENWATCH_API_TOKEN=$(openssl rand -hex 24)\""))
                p { "It is read anew each time. Until then these pages only show." }
            }
        }
        section id="never" aria-labelledby="never-h" {
            h2 id="never-h" { "What is not asked for here" }
            p { "The service has no rights: root does what is asked for, and only what leaves a way back. "
                "Upgrading, restoring, rolling back, removing a restore point, opening the gate and taking "
                "note of a failure are typed on this host, by somebody who is root there." }
            p { "Pins and holds that were made on the host stay until they are taken back there." }
        }
    }
}

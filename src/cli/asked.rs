//! `openwatch asked`: takes up what the console was asked for, and does it as if it had been typed.

use std::sync::Arc;

use crate::commands::hold::Wanted;
use crate::commands::keeping::Told;
use crate::commands::{self, Reply, keeping};
use crate::config::Act;
use crate::error::Result;
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::progress::Progress as _;
use crate::system::clock::Clock;
use crate::upgrade::asked::{self, CONSOLE, Wish};
use crate::upgrade::public;
use crate::upgrade::public::outlook::Who;

use super::args::{Backup, Global, Package};
use super::dispatch::{kept, looking, open};
use super::printer::Printer;
use super::showing::shown;

/// Takes up the wish that lies there; how it ended is noted for whoever asked, and told here.
pub(super) fn run(global: &Global, layout: &Layout, printer: &Arc<Printer>) -> Result<Reply> {
    let Some(wish) = asked::take(layout)? else {
        return Ok(Reply::ok("nothing was asked for", serde_json::json!({"asked": null})));
    };
    asked::begin(layout, Clock::System, &wish)?;
    printer.note(&format!("the console was asked for: {}", spoken(&wish)));
    let reply = done(global, layout, printer, &wish);
    let ended = reply.as_ref().map(|reply| (reply.outcome, reply.text.as_str()));
    asked::end(layout, Clock::System, &wish, ended)?;
    // The end is noted: that the answer was no is no failure of the unit.
    Ok(reply.unwrap_or_else(|error| {
        printer.failure(&error);
        Reply::silent(Outcome::Ok)
    }))
}

fn spoken(wish: &Wish) -> String {
    let point = wish.point.as_ref().map_or(String::new(), |point| format!(" {point}"));
    format!("{}{point}", wish.act.word())
}

fn done(global: &Global, layout: &Layout, printer: &Arc<Printer>, wish: &Wish) -> Result<Reply> {
    let mut machine = open(global, layout.clone(), printer)?;
    commands::asked::admit(&machine, wish)?;
    let id = wish.point.clone().unwrap_or_default();
    let (until, reason) = (wish.until.as_deref(), wish.reason.as_deref());
    let by = Some(CONSOLE);
    match wish.act {
        Act::Backup => kept(&mut machine, &Backup::Create { backup_dir: None }, Told::Words),
        Act::Verify => kept(&mut machine, &Backup::Verify { id, restore: wish.load }, Told::Words),
        Act::Unpin => kept(&mut machine, &Backup::Unpin { id }, Told::Words),
        Act::Pin => {
            let reply = keeping::pin(&machine, &id, &keeping::Pinning { until, reason, by })?;
            public::leave(&machine);
            Ok(reply)
        }
        Act::Hold => {
            let now = machine.clock.now();
            commands::hold::place(layout, &Wanted { until, reason, by }, now)
        }
        Act::Release => commands::hold::release(layout),
        Act::Preflight => {
            let next = Package { package: None, candidate: true };
            let verb = |machine: &mut _| commands::preflight::run(machine);
            let reply = looking(global, layout.clone(), printer, &next, verb);
            shown(layout, printer, true, Who::Preflight, reply)
        }
    }
}

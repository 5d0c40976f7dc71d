//! Every package of the run is in place: the upgrade unit does the work, we wait and show.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::services;
use crate::system::clock;
use crate::system::fs;
use crate::system::process::{self, Call};
use crate::upgrade::gate::Pending;

use super::super::Reply;
use super::Context;
use super::tail::Tail;

/// Every package of the run is in place: the upgrade unit does the work, we wait and show.
pub(super) fn complete(context: &Context<'_>) -> Result<Reply> {
    let layout = &context.layout;
    let Some(mark) = Pending::read(layout)? else { return Ok(Reply::silent(Outcome::Ok)) };
    let _ = fs::remove_file(&layout.installed_before());
    let manager = services::manager(layout);
    if !manager.is_present() {
        let line = format!(
            "{}: no running systemd; the upgrade to {} runs at the first boot",
            layout.app(),
            mark.to
        );
        (context.relay)(&line);
        return Ok(Reply::silent(Outcome::Ok));
    }
    manager.reload()?;
    let outcome = follow_unit(context)?;
    if outcome == Outcome::Unreachable {
        // The package is not failed for what is finished later by itself.
        (context.relay)(&format!(
            "{}: deferred: the gate stays closed; the upgrade to {} runs when the database is back",
            layout.app(),
            mark.to
        ));
        return Ok(Reply::silent(Outcome::Ok));
    }
    Ok(Reply::silent(outcome))
}

/// Starts the upgrade unit, or joins the running job, and relays its log until it has ended.
///
/// A job that was running already, such as that of a boot after a power cut, may have taken the mark
/// away before the package wrote it again: it ends well and the mark stays, which is for the next one.
fn follow_unit(context: &Context<'_>) -> Result<Outcome> {
    if let Some(ended) = follow_once(context)? {
        return Ok(ended);
    }
    let unit = context.layout.upgrade_unit();
    follow_once(context)?.ok_or_else(|| {
        Error::failed(format!("{unit} ended without a result"))
            .state("the gate is closed")
            .hint(format!("Look at `journalctl -u {unit}`, then run `openwatch upgrade`."))
    })
}

/// The same for one job; none where it ended well and the mark is still there.
fn follow_once(context: &Context<'_>) -> Result<Option<Outcome>> {
    let unit = context.layout.upgrade_unit();
    let systemctl =
        process::find("systemctl").ok_or_else(|| Error::failed("systemctl is not in PATH"))?;
    let mut log = Tail::new(&context.layout);
    let mut shown = 0;
    let mut show = || {
        for line in log.lines() {
            (context.relay)(&line);
            shown += 1;
        }
    };
    // The unit says READY once it has migrated; it ends when health is proved.
    let started = Call::new(&systemctl).args(["start", "--", &unit]).run_watched(|_| show());
    let property = |name: &str| -> Result<String> {
        let output = Call::new(&systemctl).args(["show", "--property", name, "--", &unit]).run();
        let output =
            output.map_err(|failure| Error::failed(format!("cannot look at {unit}: {failure}")))?;
        Ok(output.text().split_once('=').map_or(String::new(), |(_, value)| value.to_owned()))
    };
    // A run that found no database is tried again by the unit itself; for us it has ended.
    while !matches!(property("ActiveState")?.as_str(), "inactive" | "failed")
        && !property("SubState")?.starts_with("auto-restart")
    {
        show();
        clock::pause(Duration::from_millis(100));
    }
    show();
    let code = property("ExecMainStatus")?.parse().ok().and_then(Outcome::from_exit_code);
    if shown == 0 && code != Some(Outcome::Ok) {
        // Nothing must end in silence: another run may hold the lock, or the disk may be full.
        (context.relay)(&format!("{unit} said nothing here; look at `journalctl -u {unit}`"));
    }
    match (started, code, Pending::read(&context.layout)?) {
        // What counts is the mark: it is removed by a finished upgrade and by nothing else.
        (_, _, None) => Ok(Some(code.unwrap_or(Outcome::Ok))),
        (_, Some(Outcome::Ok) | None, Some(_)) => Ok(None),
        (_, Some(outcome), Some(_)) => Ok(Some(outcome)),
    }
}

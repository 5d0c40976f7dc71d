//! Every package of the run is in place: the upgrade unit does the work, we wait and show.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::package;
use crate::services;
use crate::system::fs;
use crate::system::lock::FileLock;
use crate::upgrade::gate::Pending;
use crate::upgrade::rollback::order::{Order, Program};
use crate::upgrade::together;

use super::super::Reply;
use super::super::following::follow;
use super::Context;

/// Every package of the run is in place: the upgrade unit does the work, we wait and show.
pub(super) fn complete(context: &Context<'_>) -> Result<Reply> {
    let layout = &context.layout;
    if let Some(order) = Order::read(layout)? {
        return rolling_back(context, &order);
    }
    let Some(mark) = Pending::read(layout)? else { return Ok(Reply::silent(Outcome::Ok)) };
    let _ = fs::remove_file(&layout.installed_before());
    if let Some(waits) = waits_for_the_set(context, &mark)? {
        (context.relay)(&waits);
        return Ok(Reply::silent(Outcome::Ok));
    }
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
    let outcome = upgrade(context)?;
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

/// The packages that must have one version are not all in place: whoever brings the last one calls
/// us again, and the gate stays closed until then. That fails no package.
fn waits_for_the_set(context: &Context<'_>, mark: &Pending) -> Result<Option<String>> {
    let layout = &context.layout;
    let config = Config::load(layout, context.operator_file)?;
    let Some(unfit) = together::look(layout, &config)? else { return Ok(None) };
    together::note(layout, mark.clone(), &unfit.why)?;
    Ok(Some(format!(
        "{}: waits: {}; the gate stays closed, no database is touched. {}",
        layout.app(),
        unfit.why,
        unfit.hint
    )))
}

/// A rollback is under way. Where it is what calls the package tool, it waits for us to get out of
/// its way; where it waits for that tool to end, so do we not wait for it. Otherwise the older package
/// was put in by hand, and the rest is done now.
fn rolling_back(context: &Context<'_>, order: &Order) -> Result<Reply> {
    let layout = &context.layout;
    let _ = fs::remove_file(&layout.installed_before());
    let installed = package::installed_version(layout, None);
    let is_back = installed.as_ref().is_some_and(|version| order.leads_to(version));
    // Others hold the lock too, such as the daily timer: they do nothing for the rollback.
    let runs = FileLock::holder(&layout.lock()).is_some_and(|holder| holder.doing == "rollback");
    let manager = services::manager(layout);
    let say = |then: &str| {
        (context.relay)(&format!("{}: the rollback to {} {then}", layout.app(), order.to));
        Ok(Reply::silent(Outcome::Ok))
    };
    if runs {
        return say("goes on");
    }
    if !is_back || !manager.is_present() || order.failed.is_some() {
        return say(&format!("is not done; run `{}`", layout.command("rollback")));
    }
    manager.reload()?;
    let unit = layout.rollback_unit();
    if order.program != Program::ByHand {
        manager.schedule(&unit)?;
        return say("goes on when the package tool has ended");
    }
    let code = follow(layout, &unit, context.relay)?;
    match Order::read(layout)? {
        None => Ok(Reply::silent(Outcome::Ok)),
        Some(_) => match code {
            Some(Outcome::Ok) | None => Err(without_result(&unit, "openwatch rollback")),
            Some(outcome) => Ok(Reply::silent(outcome)),
        },
    }
}

fn without_result(unit: &str, command: &str) -> Error {
    Error::failed(format!("{unit} ended without a result"))
        .state("the gate is closed")
        .hint(format!("Look at `journalctl -u {unit}`, then run `{command}`."))
}

/// Runs the upgrade unit to its end.
///
/// A job that was running already, such as that of a boot after a power cut, may have taken the mark
/// away before the package wrote it again: it ends well and the mark stays, which is for the next one.
fn upgrade(context: &Context<'_>) -> Result<Outcome> {
    if let Some(ended) = upgrade_once(context)? {
        return Ok(ended);
    }
    let unit = context.layout.upgrade_unit();
    upgrade_once(context)?.ok_or_else(|| without_result(&unit, "openwatch upgrade"))
}

/// The same for one job; none where it ended well and the mark is still there.
fn upgrade_once(context: &Context<'_>) -> Result<Option<Outcome>> {
    let unit = context.layout.upgrade_unit();
    let code = follow(&context.layout, &unit, context.relay)?;
    match (code, Pending::read(&context.layout)?) {
        // What counts is the mark: it is removed by a finished upgrade and by nothing else.
        (_, None) => Ok(Some(code.unwrap_or(Outcome::Ok))),
        (Some(Outcome::Ok) | None, Some(_)) => Ok(None),
        (Some(outcome), Some(_)) => Ok(Some(outcome)),
    }
}

//! An older package in the place of a newer one: only where the data is as that package knows it.

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::package::Family;
use crate::services;
use crate::upgrade::machine::Machine;
use crate::upgrade::rollback::order::Order;
use crate::upgrade::rollback::{self, Ended, Who, by_hand};
use crate::version::Version;

use super::super::following::follow;
use super::{Context, opened};

/// Only the older package's script can refuse, and it runs the newer, installed program: this one.
///
/// After a failed upgrade in which nothing was written, the data goes back first: this program knows
/// the restore point's form, and the older one finds the data that it knows.
pub(super) fn allow_downgrade(context: &Context<'_>, family: Family, to: &Version) -> Result<()> {
    let layout = &context.layout;
    if layout.allow_downgrade().exists() {
        return Ok(());
    }
    // The script lets everything pass but a refusal.
    let refused = |error: Error| error.outcome_as(Outcome::Refused);
    let machine = opened(context).map_err(refused)?;
    let Some(order) = by_hand::judge(&machine, to, family).map_err(refused)? else { return Ok(()) };
    let id = order.point.clone().unwrap_or_default();
    context.progress.note(&format!("restore point {id} comes back before version {to} does"));
    order.write(layout).map_err(refused)?;
    let waits = if services::manager(layout).is_present() {
        follow(layout, &layout.rollback_unit(), context.relay).map_err(refused)?;
        Order::read(layout)
            .map_err(refused)?
            .is_some_and(|order| order.data_is_back() && order.failed.is_none())
    } else {
        let reopen = || -> Result<Machine> { opened(context) };
        let ended = rollback::go_on(&machine, &reopen, Who::PackageTool).map_err(refused)?;
        matches!(ended, Ended::WaitsForPackage)
    };
    if waits {
        return Ok(());
    }
    Err(Error::new(Outcome::Refused, format!("the data did not come back, so {to} stays out"))
        .state("the package was not changed; the gate is closed")
        .hint(format!("Mend what it says above, then run `{}`.", machine.command("rollback"))))
}

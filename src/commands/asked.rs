//! `openwatch asked`: what root does, and does not, for whoever asks through the console.

use crate::config::Act;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::restore_points::PinNote;
use crate::system::zone::Zone;
use crate::upgrade::asked::{CONSOLE, Wish};
use crate::upgrade::hold::Hold;
use crate::upgrade::machine::Machine;

use super::serve;

/// Judges a wish by what only root can say: whether there is a token, which acts the operator allows,
/// and whose word would be taken back.
///
/// The service has judged the token already; this is for the day on which the service is not its own.
pub fn admit(machine: &Machine, wish: &Wish) -> Result<()> {
    let act = wish.act.word();
    if !serve::token_is_set(&machine.layout) {
        let why = "there is no OPENWATCH_API_TOKEN, so nothing is done for the console";
        return Err(refused(why.to_owned()));
    }
    if !machine.config.policy.console_acts.contains(&wish.act) {
        return Err(refused(format!(
            "{act} is not asked for through the console: see console_acts"
        )));
    }
    match wish.act {
        Act::Backup | Act::Verify | Act::Preflight => Ok(()),
        Act::Pin | Act::Unpin => pin_is_ours(machine, wish),
        Act::Hold | Act::Release => hold_is_ours(machine),
    }
}

/// A pin or a hold that somebody made on the host itself is that person's word, and stays.
fn pin_is_ours(machine: &Machine, wish: &Wish) -> Result<()> {
    let id = wish.point.as_deref().unwrap_or_default();
    let pin = machine.store()?.entry(id)?.pin;
    let other =
        |pin: &PinNote| pin.holds(machine.clock.now()) && pin.by.as_deref() != Some(CONSOLE);
    match pin.filter(other) {
        None => Ok(()),
        Some(pin) => {
            Err(refused(format!("restore point {id} is {}, on this host itself", pin.told()))
                .hint(format!("Run `{}` there.", machine.command(&format!("backup unpin {id}")))))
        }
    }
}

fn hold_is_ours(machine: &Machine) -> Result<()> {
    let Some(hold) = Hold::read(&machine.layout) else { return Ok(()) };
    if !hold.holds(machine.clock.now()) || hold.by.as_deref() == Some(CONSOLE) {
        return Ok(());
    }
    let told = hold.told(&Zone::of(machine.layout.root()));
    Err(refused(format!("{} is {told}, on this host itself", machine.layout.app()))
        .hint(format!("Run `{}` there.", machine.command("upgrade release"))))
}

fn refused(message: String) -> Error {
    Error::new(Outcome::Refused, message).state("nothing was changed")
}

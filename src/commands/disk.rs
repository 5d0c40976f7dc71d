//! `openwatch disk`: the data disk of an appliance, taken, let go, looked at.

use serde_json::{Value, json};

use crate::error::Result;
use crate::outcome::Outcome;
use crate::upgrade::appliance::attach::{self, Claim};
use crate::upgrade::appliance::decide::{self, Arrival};
use crate::upgrade::appliance::lease::Lease;
use crate::upgrade::appliance::marker::Marker;
use crate::upgrade::appliance::state::DiskState;
use crate::upgrade::appliance::{self};
use crate::upgrade::gate::Pending;
use crate::upgrade::machine::Machine;

use super::Reply;

/// Marks a new disk as this application's.
pub fn init(machine: &Machine) -> Result<Reply> {
    let marker = attach::init(machine)?;
    Ok(Reply::ok(format!("marked: {}", marker.told()), json!({"disk": marker})))
}

/// Takes the disk; what the disk asks for is left to the upgrade unit.
pub fn attach(machine: &Machine, claim: Claim) -> Result<Reply> {
    let attached = attach::run(machine, claim)?;
    let json = json!({
        "disk": attached.marker, "state": attached.state, "arrival": attached.arrival.word(),
    });
    let text = format!(
        "attached: {}; data of version {}, {} is installed: {}",
        attached.marker.told(),
        attached.state.version,
        machine.version,
        spoken(&attached.arrival)
    );
    Ok(Reply::ok(text, json))
}

/// Lets the disk go.
pub fn detach(machine: &Machine) -> Result<Reply> {
    let released = attach::release(machine)?;
    let text = match &released {
        Some(_) => "let go: another machine may take the disk",
        None => "this machine did not have the disk",
    };
    Ok(Reply::ok(text, json!({"released": released})))
}

/// Shows what the disk says; takes nothing and changes nothing.
pub fn status(machine: &Machine) -> Result<Reply> {
    let Some(disk) = appliance::data_disk(machine)? else {
        let text = format!("{} has no data disk", machine.layout.app());
        return Ok(Reply::ok(text, json!({"disk": Value::Null})));
    };
    let marker = Marker::read(&disk.dir)?;
    let lease = Lease::read(&disk.dir)?;
    let state = DiskState::read(&disk.dir)?;
    let mark = Pending::read(&machine.layout)?;
    let arrival = decide::arrival(&machine.version, state.as_ref(), mark.as_ref());
    let told = marker.as_ref().map_or("a disk without a marker".to_owned(), Marker::told);
    let mut lines = vec![format!("{}: {told}", disk.point.display())];
    if let Some(lease) = &lease {
        lines.push(match &lease.released {
            Some(at) => format!("  let go by {} {at}", lease.host),
            None => format!("  attached to {} since {}", lease.host, lease.since),
        });
    }
    if let Some(state) = &state {
        lines.push(format!(
            "  data of version {}, {} is installed: {}",
            state.version,
            machine.version,
            spoken(&arrival)
        ));
        lines.extend(state.upgrade.iter().map(|upgrade| {
            let why = upgrade.message.as_ref().map_or(String::new(), |why| format!(": {why}"));
            format!("  {}{why}", upgrade.told())
        }));
    }
    let outcome = if marker.is_some() { Outcome::Ok } else { Outcome::Refused };
    let json = json!({
        "disk": marker, "lease": lease, "state": state, "arrival": arrival.word(),
    });
    Ok(Reply { outcome, text: lines.join("\n"), json })
}

const fn spoken(arrival: &Arrival) -> &'static str {
    match arrival {
        Arrival::Home => "they belong together",
        Arrival::Forward => "it is upgraded",
        Arrival::Tried => "that failed before and is not tried again by itself",
        Arrival::Unprepared => "nobody prepared it for this version",
        Arrival::Back(_) => "the data goes back to before the attempt of another version",
        Arrival::Newer(_) => "going back would lose what the newer version wrote",
    }
}

//! Work that runs in a unit of its own: started, or joined, and shown until it has ended.

mod tail;

use std::time::Duration;

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::clock::{self, Deadline};
use crate::system::process::{self, Call};

use tail::Tail;

/// How long systemd may leave us without an answer: while it reads its units, it gives none.
const MUTE: Duration = Duration::from_mins(2);

/// Starts a unit, or joins the running job, and relays the log of the run until it has ended.
///
/// Returns how it ended by its own exit status; none where there is no status that we know.
pub(super) fn follow(layout: &Layout, unit: &str, relay: &dyn Fn(&str)) -> Result<Option<Outcome>> {
    let systemctl =
        process::find("systemctl").ok_or_else(|| Error::failed("systemctl is not in PATH"))?;
    let mut log = Tail::new(layout);
    let mut shown = 0;
    let mut show = || {
        for line in log.lines() {
            relay(&line);
            shown += 1;
        }
    };
    // The unit says READY once it has migrated; it ends when health is proved. Whether the start went
    // well, its own status says better.
    let _ = Call::new(&systemctl).args(["start", "--", unit]).run_watched(|_| show());
    let property = |name: &str| -> Result<String> {
        let deadline = Deadline::after(MUTE);
        loop {
            let look = Call::new(&systemctl).args(["show", "--property", name, "--", unit]).run();
            match look {
                Ok(shown) => {
                    let value = shown.text().split_once('=').map(|(_, value)| value.to_owned());
                    return Ok(value.unwrap_or_default());
                }
                Err(_) if !deadline.passed() => clock::pause(Duration::from_secs(1)),
                Err(failure) => {
                    return Err(Error::failed(format!("cannot look at {unit}: {failure}")));
                }
            }
        }
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
        relay(&format!("{unit} said nothing here; look at `journalctl -u {unit}`"));
    }
    Ok(code)
}

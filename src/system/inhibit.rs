//! Holding off a shutdown and sleep of the machine while a step must not be cut off.

use crate::system::process::{Call, Held, find};

/// Holds the machine up until it is dropped; where nothing can, it does nothing.
#[derive(Debug)]
pub struct Inhibitor {
    _held: Option<Held>,
}

impl Inhibitor {
    /// Asks the login manager to hold off shutdown and sleep; `why` is shown to whoever asks for one.
    ///
    /// `systemd-inhibit` holds it for as long as its command runs: a `cat` that ends with our end of
    /// its input, also when we are killed. Before systemd 257 root may shut down all the same.
    pub fn shutdown(who: &str, why: &str) -> Self {
        let held = find("systemd-inhibit").and_then(|program| {
            Call::new(&program)
                .args(["--what=shutdown:sleep", "--mode=block"])
                .args([format!("--who={who}"), format!("--why={why}")])
                .arg("cat")
                .hold()
                .ok()
        });
        Self { _held: held }
    }
}

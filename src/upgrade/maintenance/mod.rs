//! The sign that a web server looks for to show its maintenance page: a file that is there from
//! before the first unit stops until the services are proved.
//!
//! After a failure it stays, because the services are down; whatever brings them back, a resumed run
//! or a rollback just as well, takes it away as its last step. It can fail nothing.

use crate::system::{clock, fs};

use super::machine::Machine;

/// Puts the sign up; one that is there already stays.
pub fn begin(machine: &Machine) {
    let Some(file) = &machine.config.policy.maintenance_file else { return };
    let since = clock::rfc3339(machine.clock.now());
    let text = format!("{} is being upgraded since {since}\n", machine.layout.app());
    // Written as root: not where somebody else could lead it elsewhere.
    let parent = file.parent().unwrap_or(file);
    let placed =
        fs::check_trusted_way(parent).and_then(|()| fs::replace(file, text.as_bytes(), 0o644));
    if let Err(error) = placed {
        let message = error.message();
        machine.progress.warn(&format!("{} is not put up: {message}", file.display()));
    }
}

/// Takes the sign away.
pub fn end(machine: &Machine) {
    let Some(file) = &machine.config.policy.maintenance_file else { return };
    if !file.exists() {
        return;
    }
    if let Err(error) = fs::remove_file(file) {
        machine.progress.warn(&format!("{} stays: {}", file.display(), error.message()));
    }
}

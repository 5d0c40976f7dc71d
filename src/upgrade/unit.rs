//! Our own units: their side of the notification protocol of systemd, and their walls.

pub mod walls;

/// Says that what depends on the upgrade unit may start; without a listener nothing happens.
pub fn ready() {
    // The protocol is advisory: a listener that is gone must not fail an upgrade.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

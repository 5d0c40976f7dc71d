//! Our own unit's side of the notification protocol of systemd.

/// Says that what depends on the upgrade unit may start; without a listener nothing happens.
pub fn ready() {
    // The protocol is advisory: a listener that is gone must not fail an upgrade.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

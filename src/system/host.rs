//! This machine's name.

/// Returns the host name, as `uname -n` says it.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

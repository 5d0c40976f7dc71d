//! The one door each to processes, files, locks, time and signals.

pub mod clock;
pub mod encryption;
pub mod fs;
pub mod growing;
pub mod host;
pub mod http;
pub mod identity;
pub mod impersonate;
pub mod inhibit;
pub mod journald;
pub mod lock;
pub mod new_file;
pub mod process;
pub mod scratch;
pub mod signals;
pub mod zone;

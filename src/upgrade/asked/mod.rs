//! What somebody with the token asks root for through `openwatch serve`.
//!
//! The service has no rights. It leaves a wish in its own runtime directory; a path unit of root starts
//! `openwatch asked`, which takes the wish away, judges it as text of a stranger, does it, and notes for
//! everybody what came of it. Nothing of a wish is a path, an option or a command.

mod record;
mod wish;

pub use record::{Asked, Record, begin, end, read};
pub use wish::{Left, Wish, leave, take, waiting};

/// Whose word a pin or a hold is that was asked for through the console.
pub const CONSOLE: &str = "openwatch serve";

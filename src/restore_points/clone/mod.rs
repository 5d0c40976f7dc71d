//! Restore points that are clones: made on the server with the services down, compared, published,
//! turned into dumps once the services are back, put back by a rename.
//!
//! The point keeps its name for ever: at first its directory only says which databases on the server
//! it consists of; later, in one exchange, it holds their archives as well.

mod complete;
mod former;
mod make;
mod named;
mod obstacles;
mod swap;

pub use complete::Completing;
pub use make::Copied;
pub use obstacles::obstacles;
pub(super) use swap::by_renaming;
pub use swap::former;

/// Word in the name of a clone.
pub(super) use crate::database::clone::WORD;

//! The application's own migration tool (Django, Alembic, Rails, a Go program …) under the same
//! protection as SQL files.
//!
//! We do not see its transactions, and do not assume that it has any. What it did is asked of the
//! database: the imprint before and after says whether anything changed, the tool's own status
//! whether anything is still pending, and nothing of it is alive when these questions are asked.

mod apply;
mod look;
mod mask;
mod tool;
mod transcript;
mod verdict;
mod watch;

pub(super) use apply::apply;
pub use look::ALL;
pub(super) use look::{look, look_for_pending};
pub use tool::Command;

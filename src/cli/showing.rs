//! `--for-console`: an answer that is also left where `openwatch serve` shows it.

use crate::commands::Reply;
use crate::error::Result;
use crate::layout::Layout;
use crate::progress::Progress as _;
use crate::system::clock::Clock;
use crate::upgrade::public::outlook::{self, Who};

use super::printer::Printer;
use super::{complete, failure};

/// Leaves the answer when that was asked for; what goes wrong with it is told and fails nothing.
pub(super) fn shown(
    layout: &Layout,
    printer: &Printer,
    asked: bool,
    who: Who,
    reply: Result<Reply>,
) -> Result<Reply> {
    if asked {
        let said = match &reply {
            Ok(reply) => complete(reply.json.clone(), layout.app(), reply.outcome),
            Err(error) => complete(failure(error), layout.app(), error.outcome()),
        };
        if let Err(error) = outlook::leave(layout, Clock::System, who, said) {
            printer.warn(&format!("the console was not told: {}", error.message()));
        }
    }
    reply
}

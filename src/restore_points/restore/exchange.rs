//! Exchanging present databases with those that take their places, by renaming.

use crate::database::Database;
use crate::database::swap::{End, Exchange, Server};
use crate::error::Result;
use crate::outcome::Outcome;
use crate::progress::Progress;

/// One database and the two names that are exchanged.
pub(in crate::restore_points) struct Swap<'a> {
    pub(in crate::restore_points) database: &'a Database,
    pub(in crate::restore_points) exchange: &'a Exchange,
    /// What is told once it is done.
    pub(in crate::restore_points) told: String,
}

/// Databases of one server are exchanged together, in one transaction.
pub(in crate::restore_points) fn exchange(
    swaps: &[Swap<'_>],
    end: End,
    progress: &dyn Progress,
) -> Result<()> {
    let mut done: Vec<&str> = Vec::new();
    let mut rest: Vec<&Swap> = swaps.iter().collect();
    while let Some(first) = rest.first().copied() {
        let (same, others): (Vec<&Swap>, Vec<&Swap>) = rest.iter().copied().partition(|swap| {
            std::ptr::eq::<Swap>(*swap, first) || swap.database.same_server(first.database)
        });
        let exchanges: Vec<Exchange> = same.iter().map(|swap| swap.exchange.clone()).collect();
        let ended =
            Server::beside(first.database).and_then(|mut server| server.exchange(&exchanges, end));
        if let Err(error) = ended {
            return Err(match done.is_empty() {
                true => error,
                false => error.outcome_as(Outcome::Stuck).state(format!(
                    "{} is restored, {} is not: they lie on different servers",
                    done.join(", "),
                    rest.iter().map(|swap| swap.database.name()).collect::<Vec<_>>().join(", ")
                )),
            });
        }
        for swap in same {
            progress.note(&swap.told);
            done.push(swap.database.name());
        }
        rest = others;
    }
    Ok(())
}

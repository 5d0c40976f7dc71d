//! Exchanging present databases with those that take their places, by renaming.

use crate::database::Database;
use crate::database::replication::Replication;
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
        let ended = Server::beside(first.database).and_then(|mut server| {
            let hanging = hanging(&mut server, &exchanges);
            let workers = workers(&mut server, &exchanges);
            server.exchange(&exchanges, end).map(|()| (server, hanging, workers))
        });
        let (mut server, hanging, workers) = match ended {
            Ok(done) => done,
            Err(error) => {
                return Err(match done.is_empty() {
                    true => error,
                    false => error.outcome_as(Outcome::Stuck).state(format!(
                        "{} is restored, {} is not: they lie on different servers",
                        done.join(", "),
                        rest.iter().map(|swap| swap.database.name()).collect::<Vec<_>>().join(", ")
                    )),
                });
            }
        };
        for swap in same {
            progress.note(&swap.told);
            done.push(swap.database.name());
        }
        for worker in workers {
            progress.warn(&format!(
                "ended {worker}: where its extension does not begin again, restart the server"
            ));
        }
        for (former, replication) in hanging {
            part(&mut server, &former, &replication, progress);
        }
        rest = others;
    }
    Ok(())
}

/// Refuses where an exchange that comes later would, because of who is connected.
pub(super) fn make_way(swaps: &[Swap<'_>], end: End) -> Result<()> {
    swaps.iter().try_for_each(|swap| Server::beside(swap.database)?.make_way(swap.exchange, end))
}

/// What extensions have running in the databases that are about to get another name.
fn workers(server: &mut Server, exchanges: &[Exchange]) -> Vec<String> {
    let workers = exchanges.iter().filter_map(|one| server.workers(&one.name).ok());
    workers.flatten().map(|worker| worker.to_string()).collect()
}

/// What hangs on the databases that are about to get another name, with that name.
fn hanging(server: &mut Server, exchanges: &[Exchange]) -> Vec<(String, Replication)> {
    let former = exchanges.iter().filter_map(|one| Some((one.name.as_str(), one.kept_as.clone()?)));
    former
        .filter_map(|(name, former)| Some((former, server.replication(name).ok()?)))
        .filter(|(_, replication)| *replication != Replication::default())
        .collect()
}

/// Parts a former database from what others send it, and tells what did not follow. The data is exchanged
/// by now: what cannot be done is told with the rest.
fn part(server: &mut Server, former: &str, replication: &Replication, progress: &dyn Progress) {
    if let Err(error) = server.stop_subscriptions(former) {
        progress.warn(&error.message());
    }
    for told in replication.left_with(former) {
        progress.warn(&told);
    }
}

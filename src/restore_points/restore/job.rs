//! One database on its way: what is loaded, by which client, and what is renamed to what.

use super::options::RestoreOptions;
use super::{REPLACED, RESTORING, refused};
use crate::database::clients::Client;
use crate::database::swap::{Exchange, Rights, Server, stamped};
use crate::database::{Database, facts};
use crate::error::Result;
use crate::restore_points::manifest::{Archive, Contents};
use crate::restore_points::store::RestorePoint;

/// One database on its way.
pub(super) struct Job<'a> {
    pub(super) database: &'a Database,
    pub(super) archive: &'a Archive,
    pub(super) contents: Contents,
    pub(super) client: Client,
    pub(super) rights: Rights,
    pub(super) exchange: Exchange,
}

pub(super) fn prepare<'a>(
    point: &'a RestorePoint,
    database: &'a Database,
    options: &RestoreOptions,
    stamp: &str,
) -> Result<Job<'a>> {
    let archive = point.archive(database.name())?;
    let contents = point.contents(&archive.name)?;
    let name = database.dbname();
    let mut server = Server::beside(database)?;
    let present = server.has(name)?;
    let rights = server.rights(name, &contents.extensions)?;
    if present {
        let facts = facts::of(database)?;
        if !facts.prepared_transactions.is_empty() {
            return Err(refused(format!("{} has prepared transactions", database.described()))
                .detail(facts.prepared_transactions.join(", "))
                .hint("Commit or roll them back, then try again."));
        }
    } else if let Rights::InPlaceOnly(why) = &rights {
        return Err(refused(format!("{} does not exist and {why}", database.described())));
    }
    let client = options.clients.choose_for_restore(server.major()?, &archive.client_version)?;
    let exchange = Exchange {
        name: name.to_owned(),
        fresh: stamped(name, RESTORING, stamp),
        kept_as: present.then(|| stamped(name, REPLACED, stamp)),
    };
    Ok(Job { database, archive, contents, client, rights, exchange })
}

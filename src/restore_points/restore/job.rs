//! One database on its way: what is loaded, by which client, and what is renamed to what.

use super::options::{Override, RestoreOptions};
use super::{REPLACED, RESTORING, Swap, refused};
use crate::database::clients::Client;
use crate::database::globals::Globals;
use crate::database::in_place::Writer;
use crate::database::lacking::Owners;
use crate::database::restore::Manner;
use crate::database::swap::{Exchange, Rights, Server, stamped};
use crate::database::{Database, facts};
use crate::error::Result;
use crate::restore_points::manifest::{Archive, Contents};
use crate::restore_points::store::RestorePoint;
use crate::system::clock;

/// One database on its way.
pub(super) struct Job<'a> {
    pub(super) database: &'a Database,
    pub(super) archive: &'a Archive,
    pub(super) contents: Contents,
    pub(super) globals: Globals,
    pub(super) owners: Owners,
    pub(super) manner: Manner,
    pub(super) client: Client,
    pub(super) rights: Rights,
    pub(super) exchange: Exchange,
    pub(super) writer: Writer,
    /// When it was prepared, as names have it.
    pub(super) stamp: String,
}

impl Job<'_> {
    pub(super) fn swap(&self) -> Swap<'_> {
        let name = self.database.with_dbname(&self.exchange.name).described();
        let (database, exchange) = (self.database, &self.exchange);
        Swap { database, exchange, told: format!("{name} is restored") }
    }
}

/// Where the data goes.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// To the place of the present database.
    Present,
    /// Into a new database of this name.
    Beside(&'a str),
}

/// Looks at everything that the restore of one database depends on; changes nothing.
pub(super) fn prepare<'a>(
    point: &'a RestorePoint,
    database: &'a Database,
    place: Place<'_>,
    options: &RestoreOptions,
) -> Result<Job<'a>> {
    let archive = point.archive(database.name())?;
    let contents = point.contents(&archive.name)?;
    let globals = point.globals(&archive.name)?;
    let mut server = Server::beside(database)?;
    let name = match place {
        Place::Present => database.dbname(),
        Place::Beside(name) => name,
    };
    let present = server.has(name)?;
    // Of the present one: that beside is made like it, with its owner.
    let rights = server.rights(database.dbname(), &contents.extensions)?;
    match (place, &rights) {
        (Place::Present, _) if present => check_prepared(database)?,
        (Place::Present, Rights::InPlaceOnly(why)) => {
            return Err(refused(format!("{} does not exist and {why}", database.described())));
        }
        (Place::Beside(name), _) if present => {
            return Err(refused(format!("there is a database {name} already"))
                .hint("Give another name with `--into`."));
        }
        (Place::Beside(name), Rights::InPlaceOnly(why)) => {
            return Err(refused(format!("cannot make a database {name} beside: {why}")));
        }
        (Place::Present | Place::Beside(_), Rights::Exchange) => {}
    }
    if present && matches!(place, Place::Present) {
        let hanging = server.replication(name)?;
        match rights {
            Rights::Exchange => hanging.check_exchange(name)?,
            Rights::InPlaceOnly(_) => hanging.check_in_place(name)?,
        }
    }
    let client = options.clients.choose_for_restore(server.major()?, &archive.client_version)?;
    let now = options.clock.now();
    let stamp = clock::stamp(now);
    let kept_as = present.then(|| server.free_name(name, REPLACED, now));
    let exchange = Exchange {
        name: name.to_owned(),
        fresh: stamped(name, RESTORING, &stamp),
        kept_as: kept_as.transpose()?,
        note: None,
    };
    let owners = options.owners;
    let manner = match (place, owners) {
        (Place::Present, Owners::Kept) => Manner::Whole,
        (Place::Present, Owners::LeftOut) => Manner::WholeOfOurOwn,
        // A second database with the same subscriptions would take the changes of the first.
        (Place::Beside(_), Owners::Kept) => Manner::Scratch,
        (Place::Beside(_), Owners::LeftOut) => Manner::ScratchOfOurOwn,
    };
    let writer = match (&point.manifest().imported, options.foreign) {
        (Some(_), Override::No) => Writer::Stranger,
        (None, _) | (Some(_), Override::AcceptForeign) => Writer::Believed,
    };
    Ok(Job {
        database,
        archive,
        contents,
        globals,
        owners,
        manner,
        client,
        rights,
        exchange,
        stamp,
        writer,
    })
}

/// Refuses a database that cannot be exchanged because transactions are prepared in it.
pub(in crate::restore_points) fn check_prepared(database: &Database) -> Result<()> {
    let facts = facts::of(database)?;
    if facts.prepared_transactions.is_empty() {
        return Ok(());
    }
    Err(refused(format!("{} has prepared transactions", database.described()))
        .detail(facts.prepared_transactions.join(", "))
        .hint("Commit or roll them back, then try again."))
}

//! Logical replication that hangs on one database: slots through which others read its changes, and
//! subscriptions that fill it with theirs.
//!
//! Both belong to the database and not to its name, so that an exchange of names leaves them with the
//! former one (measured on 15): a slot keeps write-ahead log for a reader that finds another database,
//! and a subscription goes on filling what nobody looks at. `pg_dump` writes subscriptions disabled, and
//! no slots.

use super::session::Session;
use super::swap::{Server, literal, quoted};
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;

/// What hangs on one database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replication {
    /// Names of the logical slots through which its changes are read.
    pub slots: Vec<String>,
    /// What fills it.
    pub subscriptions: Vec<Subscription>,
}

/// A subscription of one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its name.
    pub name: String,
    /// Whether the server has a worker for it.
    pub enabled: bool,
    /// Whether our role may disable it and end its worker.
    pub ours: bool,
}

impl Replication {
    /// Names everything, such as `replication slot cdc`.
    pub fn named(&self) -> Vec<String> {
        let slots = self.slots.iter().map(|slot| format!("replication slot {slot}"));
        let subscriptions = self.subscriptions.iter();
        slots.chain(subscriptions.map(|one| format!("subscription {}", one.name))).collect()
    }

    /// Refuses a database whose name cannot be exchanged, because a worker of the server keeps it in use
    /// that our role may not end.
    pub fn check_exchange(&self, dbname: &str) -> Result<()> {
        let kept = |one: &&Subscription| one.enabled && !one.ours;
        refuse(self.subscriptions.iter().filter(kept), dbname, "our role may not stop it")
    }

    /// Refuses a database whose content cannot be replaced, because others fill it meanwhile.
    pub fn check_in_place(&self, dbname: &str) -> Result<()> {
        let running = self.subscriptions.iter().filter(|one| one.enabled);
        refuse(running, dbname, "its content is replaced in place")
    }

    /// Says what became of it when its database got another name: one sentence each, with what there is
    /// to do.
    pub fn left_with(&self, former: &str) -> Vec<String> {
        let slots = self.slots.iter().map(|slot| {
            format!(
                "replication slot {slot} stays with the former database {former} and keeps write-ahead \
                 log until `SELECT pg_drop_replication_slot({})`; its reader begins anew",
                literal(slot)
            )
        });
        let subscriptions = self.subscriptions.iter().map(|one| {
            format!(
                "subscription {0} does not fill the database any more: what its publisher sent since \
                 is missing; copy its tables anew, then `ALTER SUBSCRIPTION {1} ENABLE`, or make it \
                 again where the restore point has none",
                one.name,
                quoted(&one.name)
            )
        });
        slots.chain(subscriptions).collect()
    }
}

fn refuse<'a>(
    running: impl Iterator<Item = &'a Subscription>,
    dbname: &str,
    why: &str,
) -> Result<()> {
    let running: Vec<&str> = running.map(|one| one.name.as_str()).collect();
    let Some(first) = running.first() else { return Ok(()) };
    let what = format!("subscription {} fills database {dbname}, and {why}", running.join(", "));
    Err(Error::new(Outcome::Refused, what).state("nothing was changed").hint(format!(
        "Run `ALTER SUBSCRIPTION {} DISABLE` in database {dbname} as its owner, then try again.",
        quoted(first)
    )))
}

/// Looks for what hangs on a database of the server; nothing where there is no such database.
pub fn replication(session: &mut Session, name: &str) -> Result<Replication> {
    let failed = || format!("cannot look for the replication of database {name}");
    let slots = "select slot_name::text from pg_replication_slots \
         where database = $1 and not temporary order by 1";
    let slots = session.rows(slots, &[&name]).context(failed)?;
    let subscriptions = "select s.subname::text, s.subenabled, \
           r.rolsuper or pg_has_role(s.subowner, 'USAGE') \
         from pg_subscription s, pg_roles r where r.rolname = current_user \
           and s.subdbid = (select oid from pg_database where datname = $1) order by 1";
    let subscriptions = session.rows(subscriptions, &[&name]).context(failed)?;
    Ok(Replication {
        slots: slots.iter().map(|row| row.get(0)).collect(),
        subscriptions: subscriptions
            .iter()
            .map(|row| Subscription { name: row.get(0), enabled: row.get(1), ours: row.get(2) })
            .collect(),
    })
}

impl Server {
    /// Looks for what hangs on a database beside.
    pub fn replication(&mut self, name: &str) -> Result<Replication> {
        replication(&mut self.session, name)
    }

    /// Stops the subscriptions of a former database, which would take changes from the new one.
    pub fn stop_subscriptions(&mut self, former: &str) -> Result<()> {
        self.in_subscriptions(former, |name| format!("alter subscription {name} disable"))
    }

    /// Removes the subscriptions of a database that is about to be dropped: the server drops none that
    /// has one. Their slots stay with the publisher, where a subscription of the same name may use them.
    pub(super) fn drop_subscriptions(&mut self, doomed: &str) -> Result<()> {
        self.in_subscriptions(doomed, |name| {
            format!(
                "alter subscription {name} disable; alter subscription {name} set (slot_name = none); \
                 drop subscription {name}"
            )
        })
    }

    fn in_subscriptions(&mut self, dbname: &str, sql: impl Fn(&str) -> String) -> Result<()> {
        let found = self.replication(dbname)?.subscriptions;
        if found.is_empty() {
            return Ok(());
        }
        let mut inside = self.database.with_dbname(dbname).connect()?;
        found.iter().try_for_each(|one| {
            let failed = || format!("cannot stop the subscription {} of {dbname}", one.name);
            inside.run(&sql(&quoted(&one.name))).context(failed)
        })
    }
}

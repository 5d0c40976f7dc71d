//! Whether a dump by our role holds everything: asked of the catalogue, and of the client itself.
//!
//! `pg_dump` stops at the first table, sequence or large object that it may not read, some of them only
//! after most of the data was written. Here all of them are named at once. Of foreign tables, views and
//! materialized views it writes the definitions only, for which no right is needed.

use std::time::Duration;

use super::Database;
use super::clients::Client;
use super::dump;
use super::facts::DUMPED;
use super::session::Session;
use crate::error::{Context, Result};

/// How many are named in one message.
const NAMED: usize = 10;

/// How many statements a hint has at most.
const STATEMENTS: usize = 3;

/// Something that a dump by our role would fail on or miss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undumpable {
    /// What it is, with its owner.
    pub what: String,
    /// The statement that would give our role the right.
    pub remedy: String,
}

/// Whether there is anything at all that the role has no right to, dumped or not; to look closer takes a
/// new server process twice as long. What `initdb` makes has numbers below 16384 (`FirstNormalObjectId`,
/// `access/transam.h`) and is not dumped.
const ANYTHING: &str = "select exists (select from pg_class where oid >= 16384
        and relkind in ('r', 'p', 'S') and not (has_schema_privilege(relnamespace, 'USAGE')
            and case relkind when 'S' then has_sequence_privilege(oid, 'SELECT')
                else has_table_privilege(oid, 'SELECT') and not row_security_active(oid) end))
    or exists (select from pg_largeobject_metadata where not pg_has_role(lomowner, 'USAGE'))";

/// Names everything that the role cannot dump whole: tables, partitions, configuration of extensions,
/// sequences, large objects, and tables of which row security would hide rows.
pub fn undumpable(session: &mut Session) -> Result<Vec<Undumpable>> {
    if session.file().is_some() {
        return Ok(Vec::new());
    }
    let attempt = || "cannot check what can be dumped".to_owned();
    if session.single(ANYTHING).context(attempt)?.as_deref() == Some("f") {
        return Ok(Vec::new());
    }
    let sql = format!(
        "select format('%s %I.%I (owner %s)',
                case when c.relkind = 'S' then 'sequence' when c.relispartition then 'partition'
                     else coalesce('table of the extension ' || (select e.extname from pg_extension e
                                    where c.oid = any (e.extconfig) limit 1), 'table') end,
                n.nspname, c.relname, pg_get_userbyid(c.relowner)),
                case when has_schema_privilege(n.oid, 'USAGE') then ''
                     else format('GRANT USAGE ON SCHEMA %I TO %I; ', n.nspname, current_user) end
                || format('GRANT SELECT ON %s %I.%I TO %I', case c.relkind when 'S' then 'SEQUENCE'
                          else 'TABLE' end, n.nspname, c.relname, current_user)
           from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relkind in ('r', 'p', 'S') and c.relpersistence <> 't' and {DUMPED}
            and not (has_schema_privilege(n.oid, 'USAGE')
                     and case c.relkind when 'S' then has_sequence_privilege(c.oid, 'SELECT')
                                        else has_table_privilege(c.oid, 'SELECT') end)
         union all
         select format('table %I.%I (row security hides rows; owner %s)',
                n.nspname, c.relname, pg_get_userbyid(c.relowner)),
                format('ALTER ROLE %I BYPASSRLS', current_user)
           from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relkind in ('r', 'p') and {DUMPED} and c.relrowsecurity
            and row_security_active(c.oid)
         union all
         select format('large object %s (owner %s)', l.oid, pg_get_userbyid(l.lomowner)),
                format('GRANT SELECT ON LARGE OBJECT %s TO %I', l.oid, current_user)
           from pg_largeobject_metadata l
          where not pg_has_role(l.lomowner, 'USAGE')
            and current_setting('lo_compat_privileges') <> 'on'
            and not exists (select from aclexplode(l.lomacl) a where a.privilege_type = 'SELECT'
                    and (a.grantee = 0 or pg_has_role(a.grantee, 'USAGE')))
          order by 1"
    );
    let rows = session.rows(&sql, &[]).context(attempt)?;
    Ok(rows.iter().map(|row| Undumpable { what: row.get(0), remedy: row.get(1) }).collect())
}

/// Names what a dump leaves out without an error, and so what going back to one does not bring back.
pub fn left_out(session: &mut Session) -> Result<Vec<String>> {
    if session.file().is_some() {
        return Ok(Vec::new());
    }
    let sql = "select format('replication slot %I', slot_name) from pg_replication_slots
         where database = current_database() and not temporary
         union all
         select format('subscription %I, because our role is no superuser', s.subname)
           from pg_subscription s
          where s.subdbid = (select oid from pg_database where datname = current_database())
            and not (select rolsuper from pg_roles where rolname = current_user) order by 1";
    let rows = session.rows(sql, &[]).context(|| "cannot list what replicates".into())?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Names the first of them in one line, and how many there are.
pub fn named(found: &[Undumpable]) -> String {
    let mut named: Vec<String> = found.iter().take(NAMED).map(|one| one.what.clone()).collect();
    if found.len() > NAMED {
        named.push(format!("and {} more", found.len() - NAMED));
    }
    named.join("; ")
}

/// Says what an owner or a superuser would run, as a sentence.
pub fn hint(found: &[Undumpable]) -> String {
    let mut statements: Vec<&str> = found.iter().map(|one| one.remedy.as_str()).collect();
    statements.sort_unstable();
    statements.dedup();
    let rest = statements.len().saturating_sub(STATEMENTS);
    statements.truncate(STATEMENTS);
    let more = match rest {
        0 => String::new(),
        rest => format!(" and {rest} more like it"),
    };
    format!(
        "Run `{}`{more} as the owner or a superuser, or connect as the owner.",
        statements.join("; ")
    )
}

/// Says why a dump of this database by our role would fail or miss data; empty where it would not.
///
/// The client dumps the definitions to nowhere, waiting for a lock as long as `lock_wait`: what the
/// catalogue does not tell, such as a password that only the client is asked for, shows there.
pub fn problems(
    database: &Database,
    client: &Client,
    lock_wait: Duration,
) -> Result<(Vec<Undumpable>, Option<crate::error::Error>)> {
    let found = undumpable(&mut database.connect()?)?;
    // It would stop at the first of those.
    let tried = match found.is_empty() {
        true => dump::try_definitions(database, client, lock_wait).err(),
        false => None,
    };
    Ok((found, tried))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(number: usize, remedy: &str) -> Undumpable {
        Undumpable { what: format!("table t{number}"), remedy: remedy.into() }
    }

    #[test]
    fn thousands_are_named_by_the_first_ones_and_their_number() {
        let all: Vec<Undumpable> =
            (0..5000).map(|n| one(n, &format!("GRANT SELECT ON TABLE t{n:04} TO a"))).collect();
        assert!(named(&all).ends_with("table t9; and 4990 more"), "{}", named(&all));
        assert!(hint(&all).contains("t0000 TO a; GRANT"), "{}", hint(&all));
        assert!(hint(&all).contains("and 4997 more like it"), "{}", hint(&all));
        let same = [one(1, "ALTER ROLE a BYPASSRLS"), one(2, "ALTER ROLE a BYPASSRLS")];
        assert!(hint(&same).starts_with("Run `ALTER ROLE a BYPASSRLS` as the owner"));
    }
}

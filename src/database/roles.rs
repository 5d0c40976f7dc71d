//! Whose the objects of a database are, and whether another role may act for them.

use super::Database;
use super::facts::DUMPED;
use super::session::Session;
use crate::error::{Context, Result};

/// SQL that says whether our role may act for another one in all that a load does: make what is that
/// role's (for which PostgreSQL 16 and later ask whether it may be set, others for a member), and then fill,
/// change and drop it, which a member that does not inherit may not.
pub(super) fn acts_for(role: &str) -> String {
    format!(
        "(pg_has_role({role}, 'USAGE') and pg_has_role({role}, case when
          current_setting('server_version_num')::int4 < 160000 then 'MEMBER' else 'SET' end))"
    )
}

/// The roles that a dump of a database names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Owners of objects.
    pub owners: Vec<String>,
    /// Roles that hold grants, or that policies are for.
    pub others: Vec<String>,
}

/// Returns the roles that a dump of this database names; those of the server itself are everywhere.
pub fn named(session: &mut Session) -> Result<Named> {
    // Objects of the bootstrap superuser are pinned and have no row of their own in pg_shdepend.
    let sql = format!(
        "with d as (
           select refobjid as role, deptype = 'o' as owns from pg_shdepend
            where refclassid = 'pg_authid'::regclass
              and dbid = (select oid from pg_database where datname = current_database())
           union
           select c.relowner, true from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and c.relpersistence <> 't' and {DUMPED}
         )
         select r.rolname::text, bool_or(d.owns) from d join pg_roles r on r.oid = d.role
          where r.rolname !~ '^pg_' group by 1 order by 1"
    );
    let rows = session.rows(&sql, &[]).context(|| "cannot list the owners".into())?;
    let mut named = Named::default();
    for row in &rows {
        if row.get(1) { &mut named.owners } else { &mut named.others }.push(row.get(0));
    }
    Ok(named)
}

/// Says why the role of a connection cannot restore what belongs to these roles; nothing where it can.
pub fn hindrance(place: &Database, named: &Named) -> Result<Option<String>> {
    let mut session = place.connect()?;
    let sql = format!(
        "select current_user::text, array(
           select o from unnest($1::text[]) o
            where not coalesce((select {} from pg_roles where rolname = o), false) order by 1),
         array(select o from unnest($2::text[]) o
                where not exists (select from pg_roles where rolname = o) order by 1)",
        acts_for("oid")
    );
    let rows = session
        .rows(&sql, &[&named.owners, &named.others])
        .context(|| "cannot compare the owners with the role".into())?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (role, owners, missing): (String, Vec<String>, Vec<String>) =
        (row.get(0), row.get(1), row.get(2));
    Ok(match (owners.is_empty(), missing.is_empty()) {
        (true, true) => None,
        (false, _) => Some(format!("the role {role} may not act for {}", owners.join(", "))),
        (true, false) => Some(format!("the server has no role {}", missing.join(", "))),
    })
}

/// Says why the role of `place` cannot restore what the owners in `real` have; nothing where it can.
///
/// A database that is away cannot be asked: then only what the role may certainly do is done.
pub fn hindrance_of(real: &Database, place: &Database) -> Result<Option<String>> {
    if real.file().is_some() {
        return Ok(None);
    }
    match real.connect().and_then(|mut session| named(&mut session)) {
        Ok(named) => hindrance(place, &named),
        Err(error) => Ok(Some(format!("the owners are not known: {}", error.message()))),
    }
}

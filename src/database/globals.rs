//! What a database needs of its server and a dump of it does not contain: roles, memberships,
//! settings, tablespaces, extensions. No passwords: a role may not see them, and a copy of them is
//! one more place to lose them from.

use serde::{Deserialize, Serialize};

use super::Database;
use super::facts::{self, DUMPED};
use super::recorded::{is_attributes, is_list};
use super::session::Session;
use super::swap::{Server, literal, quoted};
use crate::error::{Context, Result};

/// What a restore on a fresh server needs beside the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Globals {
    /// Roles that own or are granted anything, and those that are members of one another.
    pub roles: Vec<Role>,
    /// Which role is a member of which.
    pub memberships: Vec<Membership>,
    /// `ALTER ROLE … SET` of these roles and `ALTER DATABASE … SET`.
    pub settings: Vec<Setting>,
    /// Tablespaces that the database uses beside the default one.
    pub tablespaces: Vec<Tablespace>,
    /// Extensions with their versions.
    pub extensions: Vec<Extension>,
    /// How the database itself is made.
    pub database: Own,
}

/// Why a role is needed, the strongest reason first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// A row security policy names it: the archive does not load without it.
    Policy,
    /// It owns something.
    Owner,
    /// It holds a grant.
    Grant,
    /// It owns the database or holds a grant on it, or is a member of a role that is needed: the
    /// archive loads without it, but somebody may miss it.
    Around,
}

/// A role, without its password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Why it is needed.
    pub need: Need,
    /// Its attributes as `CREATE ROLE` takes them, those of every new role left out.
    pub attributes: String,
}

/// A role that is a member of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The group.
    pub role: String,
    /// Its member.
    pub member: String,
    /// Whether the member may make others members.
    pub admin: bool,
}

/// A setting of a role or of the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The role; none for everybody.
    pub role: Option<String>,
    /// Whether it holds in this database only.
    pub here: bool,
    /// Name of the setting.
    pub key: String,
    /// Its value as the server holds it.
    pub value: String,
}

/// A tablespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Its directory on the server.
    pub location: String,
}

/// An extension of the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// How a database is made where there is none to be made like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Own {
    /// Its owner.
    pub owner: String,
    /// Encoding and locale, as options of `CREATE DATABASE`.
    pub locale: String,
    /// Its tablespace, where it is not the default one.
    pub tablespace: Option<String>,
    /// Grants, comment and limits, as statements on `STAND_IN`.
    pub statements: Vec<String>,
}

/// Name that recorded statements give to the database; a restore gives it its own.
pub(super) const STAND_IN: &str = "openwatch: the database";

/// Settings whose values are lists that the server holds quoted already.
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// Reads what a database needs of its server, as far as the role may see it.
pub fn of(database: &Database) -> Result<Globals> {
    let mut session = database.connect()?;
    facts::unlimited(&mut session, facts::LOCK_WAIT)?;
    let roles = roles(&mut session)?;
    let names: Vec<String> = roles.iter().map(|role| role.name.clone()).collect();
    Ok(Globals {
        memberships: memberships(&mut session, &names)?,
        settings: settings(&mut session, &names)?,
        tablespaces: tablespaces(&mut session)?,
        extensions: extensions(&mut session)?,
        database: own(&mut session, database)?,
        roles,
    })
}

/// The catalogue's own list of dependencies leaves out the bootstrap superuser, whose name differs
/// from server to server; what it owns is therefore looked for table by table. Members of an
/// extension are made by the extension.
fn roles(session: &mut Session) -> Result<Vec<Role>> {
    let sql = format!(
        "with recursive here as (select oid, datdba from pg_database where datname = current_database()),
         needed (role, need) as (
           select s.refobjid, case s.deptype when 'r' then 1 when 'o' then 2 else 3 end
             from pg_shdepend s, here
            where s.refclassid = 'pg_authid'::regclass and s.dbid = here.oid
              and s.deptype in ('r', 'o', 'a') and s.classid <> 'pg_extension'::regclass
              and not exists (select from pg_depend e where e.classid = s.classid
                               and e.objid = s.objid and e.deptype = 'e')
           union all
           select c.relowner, 2 from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and c.relpersistence <> 't' and {DUMPED}
           union all
           select o.owner, 2 from (
             select 'pg_proc'::regclass as class, p.oid, p.proowner as owner, p.pronamespace as place
               from pg_proc p
             union all
             select 'pg_type'::regclass, t.oid, t.typowner, t.typnamespace from pg_type t
              where t.typtype in ('b', 'd', 'e', 'r') and t.typcategory <> 'A'
             union all
             select 'pg_namespace'::regclass, n.oid, n.nspowner, n.oid from pg_namespace n
              where n.nspname <> 'public') o join pg_namespace n on n.oid = o.place
            where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
              and not exists (select from pg_depend e where e.classid = o.class and e.objid = o.oid
                               and e.deptype = 'e')
           union all select evtowner, 2 from pg_event_trigger
           union all select pubowner, 2 from pg_publication
         ),
         around (role) as (
           select role from needed
           union select datdba from here
           union select s.refobjid from pg_shdepend s, here
                  where s.refclassid = 'pg_authid'::regclass and s.dbid = 0
                    and s.classid = 'pg_database'::regclass and s.objid = here.oid
           union select oid from pg_roles where rolname = current_user
         ),
         groups (role) as (
           select role from around
           union select m.roleid from groups g join pg_auth_members m on m.member = g.role
         ),
         members (role) as (
           select r.oid from around a join pg_roles r on r.oid = a.role and r.rolname !~ '^pg_'
           union select m.member from members g join pg_auth_members m on m.roleid = g.role
         )
         select r.rolname::text, coalesce((select min(need) from needed n where n.role = r.oid), 4),
           concat_ws(' ', case when r.rolsuper then 'superuser' end,
             case when not r.rolinherit then 'noinherit' end,
             case when r.rolcreaterole then 'createrole' end,
             case when r.rolcreatedb then 'createdb' end, case when r.rolcanlogin then 'login' end,
             case when r.rolreplication then 'replication' end,
             case when r.rolbypassrls then 'bypassrls' end,
             case when r.rolconnlimit >= 0 then 'connection limit ' || r.rolconnlimit end,
             'valid until ' || quote_literal(r.rolvaliduntil::text))
           from pg_roles r where r.rolname !~ '^pg_'
            and (r.oid in (select role from groups) or r.oid in (select role from members))
          order by 1"
    );
    let rows = session.rows(&sql, &[]).context(|| "cannot list the roles".into())?;
    Ok(rows
        .iter()
        .map(|row| Role {
            name: row.get(0),
            need: match row.get::<_, i32>(1) {
                1 => Need::Policy,
                2 => Need::Owner,
                3 => Need::Grant,
                _ => Need::Around,
            },
            attributes: row.get(2),
        })
        .collect())
}

fn memberships(session: &mut Session, roles: &[String]) -> Result<Vec<Membership>> {
    let sql = "select g.rolname::text, u.rolname::text, bool_or(m.admin_option)
         from pg_auth_members m join pg_roles g on g.oid = m.roleid join pg_roles u on u.oid = m.member
        where u.rolname = any ($1::text[]) and (g.rolname = any ($1::text[]) or g.rolname ~ '^pg_')
        group by 1, 2 order by 1, 2";
    let rows = session.rows(sql, &[&roles]).context(|| "cannot list the memberships".into())?;
    let membership =
        |row: &super::Row| Membership { role: row.get(0), member: row.get(1), admin: row.get(2) };
    Ok(rows.iter().map(membership).collect())
}

fn settings(session: &mut Session, roles: &[String]) -> Result<Vec<Setting>> {
    let sql = "select r.rolname::text, s.setdatabase <> 0, split_part(c, '=', 1),
                substr(c, strpos(c, '=') + 1)
           from pg_db_role_setting s left join pg_roles r on r.oid = s.setrole,
                unnest(s.setconfig) with ordinality u (c, place)
          where s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
            and case s.setrole when 0 then s.setdatabase <> 0 else r.rolname = any ($1::text[]) end
          order by s.setdatabase <> 0, r.rolname nulls first, place";
    let rows = session.rows(sql, &[&roles]).context(|| "cannot list the settings".into())?;
    let setting = |row: &super::Row| Setting {
        role: row.get(0),
        here: row.get(1),
        key: row.get(2),
        value: row.get(3),
    };
    Ok(rows.iter().map(setting).collect())
}

fn tablespaces(session: &mut Session) -> Result<Vec<Tablespace>> {
    let sql = "select t.spcname::text, pg_get_userbyid(t.spcowner)::text,
                      pg_tablespace_location(t.oid)
           from pg_tablespace t
          where t.spcname !~ '^pg_' and (t.oid in (select reltablespace from pg_class)
             or t.oid = (select dattablespace from pg_database where datname = current_database()))
          order by 1";
    let rows = session.rows(sql, &[]).context(|| "cannot list the tablespaces".into())?;
    let tablespace =
        |row: &super::Row| Tablespace { name: row.get(0), owner: row.get(1), location: row.get(2) };
    Ok(rows.iter().map(tablespace).collect())
}

fn extensions(session: &mut Session) -> Result<Vec<Extension>> {
    let sql = "select extname::text, extversion from pg_extension order by 1";
    let rows = session.rows(sql, &[]).context(|| "cannot list the extensions".into())?;
    let extension = |row: &super::Row| Extension { name: row.get(0), version: row.get(1) };
    Ok(rows.iter().map(extension).collect())
}

fn own(session: &mut Session, database: &Database) -> Result<Own> {
    let sql = "select pg_get_userbyid(d.datdba)::text, nullif(t.spcname::text, 'pg_default')
           from pg_database d join pg_tablespace t on t.oid = d.dattablespace
          where d.datname = current_database()";
    let rows = session.rows(sql, &[]).context(|| "cannot read the database's owner".into())?;
    let (owner, tablespace) = rows.first().map(|row| (row.get(0), row.get(1))).unwrap_or_default();
    let mut server = Server::beside(database)?;
    Ok(Own {
        owner,
        tablespace,
        locale: server.locale_options(database.dbname())?,
        statements: server.statements(database.dbname(), STAND_IN)?,
    })
}

impl Role {
    /// Returns whether it may do everything.
    pub fn is_superuser(&self) -> bool {
        self.attributes.split(' ').next() == Some("superuser")
    }

    /// Writes the statement that makes it; the password is for a person to set.
    pub fn statement(&self) -> String {
        let name = quoted(&self.name);
        match self.attributes.as_str() {
            "" => format!("create role {name};"),
            known if is_attributes(known) => format!("create role {name} with {known};"),
            _ => format!("create role {name}; -- its attributes are not understood"),
        }
    }
}

impl Membership {
    /// Writes the statement that makes the member one.
    pub fn statement(&self) -> String {
        let admin = if self.admin { " with admin option" } else { "" };
        format!("grant {} to {}{admin};", quoted(&self.role), quoted(&self.member))
    }
}

impl Setting {
    /// Writes the statement that sets it for its role. Values of an application's own settings can be
    /// secrets and are not written.
    pub fn statement(&self, dbname: &str) -> String {
        let head = self.head(dbname);
        if !self.is_known() {
            return format!("-- a setting {:?} is not understood", self.key);
        }
        if self.key.contains('.') {
            return format!("{head}{} to …; -- the value is not shown here", self.key);
        }
        let value = match self.value.as_str() {
            "" | "\"\"" => "''".into(),
            list if LISTS.contains(&self.key.as_str()) && is_list(list) => list.to_owned(),
            single => literal(single),
        };
        format!("{head}{} to {value};", self.key)
    }

    /// Returns whether its name is one: it becomes part of a statement as it is.
    pub(super) fn is_known(&self) -> bool {
        self.key.chars().all(|c| c.is_ascii_alphanumeric() || "_.$".contains(c))
    }

    /// Returns the statement up to the name of the setting.
    pub(super) fn head(&self, dbname: &str) -> String {
        match &self.role {
            None => format!("alter database {} set ", quoted(dbname)),
            Some(role) if self.here => {
                format!("alter role {} in database {} set ", quoted(role), quoted(dbname))
            }
            Some(role) => format!("alter role {} set ", quoted(role)),
        }
    }
}

impl Tablespace {
    /// Writes the statement that makes it, once its directory is there.
    pub fn statement(&self) -> String {
        let (name, owner) = (quoted(&self.name), quoted(&self.owner));
        format!("create tablespace {name} owner {owner} location {};", literal(&self.location))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(role: Option<&str>, here: bool, key: &str, value: &str) -> String {
        let role = role.map(str::to_owned);
        Setting { role, here, key: key.into(), value: value.into() }.statement("app")
    }

    #[test]
    fn a_list_keeps_its_own_quotes_and_a_value_gets_some() {
        assert_eq!(
            setting(None, true, "search_path", "\"$user\", public"),
            "alter database \"app\" set search_path to \"$user\", public;"
        );
        assert_eq!(
            setting(Some("a\"b"), false, "work_mem", "1MB"),
            "alter role \"a\"\"b\" set work_mem to '1MB';"
        );
        assert_eq!(
            setting(Some("a"), true, "search_path", "\"\""),
            "alter role \"a\" in database \"app\" set search_path to '';"
        );
    }

    #[test]
    fn a_setting_of_an_application_does_not_show_its_value() {
        let text = setting(Some("a"), false, "app.token", "geheim");
        assert!(!text.contains("geheim"), "{text}");
    }

    #[test]
    fn roles_are_made_with_what_distinguishes_them() {
        let mut role =
            Role { name: "a".into(), need: Need::Owner, attributes: "createdb login".into() };
        assert_eq!(role.statement(), "create role \"a\" with createdb login;");
        role.attributes.clear();
        assert_eq!(role.statement(), "create role \"a\";");
    }
}

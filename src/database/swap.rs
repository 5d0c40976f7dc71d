//! Exchanging databases: a new one beside the old, its settings carried over, both renamed in one
//! transaction. The old one is kept under another name; nothing is destroyed.

use std::time::{Duration, SystemTime};

use super::Database;
use super::facts;
use super::roles::acts_for;
use super::session::{Session, SqlError};
use super::sessions::{self, SessionInfo};
use crate::error::{Context, Error, Result};
use crate::system::clock;

/// The most bytes of a name in PostgreSQL; longer ones are cut by the server without an error.
const LONGEST_NAME: usize = 63;

/// What is true of the present data as long as nothing was renamed.
pub(super) const UNTOUCHED: &str = "the present data is untouched";

/// How long sessions that come back are ended again before the exchange is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A session beside the databases that are exchanged: neither may have one while it is renamed.
pub struct Server {
    pub(super) session: Session,
    pub(super) database: Database,
}

/// What a role may do to exchange a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rights {
    /// It may create databases and rename this one, or make it, where it does not exist yet.
    Exchange,
    /// It may not, and why.
    InPlaceOnly(String),
}

/// One exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Name that the new database gets.
    pub name: String,
    /// Name that the new database has now.
    pub fresh: String,
    /// Name that the present database gets; `None` where there is none.
    pub kept_as: Option<String>,
    /// What the comment on the present database says from then on: it is written with the names, in
    /// their transaction, and so proves the exchange to who comes after a kill.
    pub note: Option<String>,
}

/// Which sessions may be ended for an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Those of our own role: the application's.
    Own,
    /// Everybody's.
    All,
}

/// Returns `name` with a suffix that holds a stamp, cut so that the server keeps all of the suffix.
pub fn stamped(name: &str, word: &str, stamp: &str) -> String {
    let suffix = format!("_{word}_{stamp}");
    let mut end = name.len().min(LONGEST_NAME.saturating_sub(suffix.len()));
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &name[..end])
}

/// Says why these extensions keep a database from being made anew under another name, where one does:
/// the library of `pg_cron` lets it be created in `cron.database_name` only (`pg_cron.c`, 1.4).
pub(super) fn bound(extensions: &[String]) -> Option<String> {
    let bound = extensions.iter().any(|name| name == "pg_cron");
    bound.then(|| "the extension pg_cron can be created in one database of the server only".into())
}

impl Server {
    /// Connects to a database of the same server that is not exchanged.
    pub fn beside(database: &Database) -> Result<Self> {
        let mut last = None;
        for name in ["postgres", "template1"] {
            if name == database.dbname() {
                continue;
            }
            match database.with_dbname(name).connect() {
                Ok(mut session) => {
                    facts::unlimited(&mut session, facts::LOCK_WAIT)?;
                    return Ok(Self { session, database: database.clone() });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::failed("no other database of the server can be reached")))
    }

    pub(super) fn ask(
        &mut self,
        attempt: &str,
        sql: &str,
        name: &str,
    ) -> Result<Option<super::Row>> {
        let rows = self.session.rows(sql, &[&name]).context(|| format!("cannot {attempt}"))?;
        Ok(rows.into_iter().next())
    }

    /// Returns the major version of the server.
    pub fn major(&mut self) -> Result<u32> {
        let sql = "select current_setting('server_version_num')::int4 / 10000";
        let rows =
            self.session.rows(sql, &[]).context(|| "cannot read the server version".into())?;
        Ok(rows.first().map_or(0, |row| row.get::<_, i32>(0).unsigned_abs()))
    }

    /// Ends the sessions of our own role in a database.
    pub fn end_own(&mut self, name: &str) -> Result<()> {
        let own = self.own_role()?;
        let sessions: Vec<_> =
            self.sessions(name)?.into_iter().filter(|session| session.user == own).collect();
        sessions::end_sessions(&mut self.session, &sessions).map(drop)
    }

    pub(super) fn own_role(&mut self) -> Result<String> {
        let rows = self.session.rows("select current_user::text", &[]);
        let rows = rows.context(|| "cannot read the role".into())?;
        Ok(rows.first().map_or_else(String::new, |row| row.get(0)))
    }

    /// Returns whether the server has a database of this name.
    pub fn has(&mut self, name: &str) -> Result<bool> {
        let sql = "select 1 from pg_database where datname = $1";
        Ok(self.ask("look for a database", sql, name)?.is_some())
    }

    /// Returns the name under which a database is kept from now on: that of this second, or of the
    /// first one after it that no other has taken.
    pub fn free_name(&mut self, name: &str, word: &str, mut now: SystemTime) -> Result<String> {
        loop {
            let free = stamped(name, word, &clock::stamp(now));
            if !self.has(&free)? {
                return Ok(free);
            }
            now += Duration::from_secs(1);
        }
    }

    /// Returns whether the role may exchange the database for one that has these extensions.
    pub fn rights(&mut self, name: &str, extensions: &[String]) -> Result<Rights> {
        let sql = format!(
            "select r.rolsuper, r.rolcreatedb,
                coalesce((select {} from pg_database d where d.datname = $1), true), r.rolname::text
              from pg_roles r where r.rolname = current_user",
            acts_for("d.datdba")
        );
        let Some(row) = self.ask("read the rights of the role", &sql, name)? else {
            return Err(Error::failed("the server does not know its role"));
        };
        let role: String = row.get(3);
        if let Some(why) = bound(extensions) {
            return Ok(Rights::InPlaceOnly(why));
        }
        if row.get(0) {
            return Ok(Rights::Exchange);
        }
        if !row.get::<_, bool>(1) {
            return Ok(Rights::InPlaceOnly(format!("the role {role} may not create databases")));
        }
        if !row.get::<_, bool>(2) {
            return Ok(Rights::InPlaceOnly(format!("the role {role} does not own {name}")));
        }
        Ok(match self.not_creatable(extensions)? {
            Some(names) => {
                Rights::InPlaceOnly(format!("the role {role} may not create the extension {names}"))
            }
            None => Rights::Exchange,
        })
    }

    /// Returns those of these extensions that the role may not create here, which superusers alone may.
    pub(super) fn not_creatable(&mut self, extensions: &[String]) -> Result<Option<String>> {
        let sql = "select string_agg(e, ', ') from unnest($1::text[]) e where e <> 'plpgsql' and
             not exists (select from pg_available_extension_versions v where v.name = e and v.trusted)
             and not (select rolsuper from pg_roles where rolname = current_user)";
        let rows = self
            .session
            .rows(sql, &[&extensions])
            .context(|| "cannot read the extensions of the server".into())?;
        Ok(rows.first().and_then(|row| row.get::<_, Option<String>>(0)))
    }

    /// Carries grants, settings, comment and limits of a database over to another one; returns what
    /// could not be carried over, as statements that somebody with the right can run.
    pub fn carry_over(&mut self, name: &str, fresh: &str) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for statement in self.statements(name, fresh)? {
            if let Err(error) = self.session.run(&statement) {
                left.push(format!("{statement}; -- {}", error.message));
            }
        }
        left.extend(self.carry_settings(name, fresh)?);
        Ok(left)
    }

    pub(super) fn statements(&mut self, name: &str, fresh: &str) -> Result<Vec<String>> {
        let sql = "with d as (select * from pg_database where datname = $1)
             select 1, format('revoke all on database %I from public, %I', $2::text,
                    pg_get_userbyid(datdba)) from d where datacl is not null
             union all
             select 2, format('grant %s on database %I to %s%s', a.privilege_type, $2::text,
                    case a.grantee when 0 then 'public' else format('%I', pg_get_userbyid(a.grantee)) end,
                    case when a.is_grantable then ' with grant option' else '' end)
               from d, aclexplode(d.datacl) a
             union all
             select 3, format('comment on database %I is %L', $2::text, c) from d,
                    shobj_description(d.oid, 'pg_database') c where c is not null
             union all
             select 4, format('alter database %I connection limit %s', $2::text, datconnlimit)
               from d where datconnlimit <> -1
             order by 1";
        let rows = self
            .session
            .rows(sql, &[&name, &fresh])
            .context(|| format!("cannot read the grants of the database {name}"))?;
        Ok(rows.iter().map(|row| row.get(1)).collect())
    }

    /// `SET … FROM CURRENT` takes a value over as the server holds it; written out, lists such as
    /// `search_path` would need their own quoting.
    pub(super) fn carry_settings(&mut self, name: &str, fresh: &str) -> Result<Vec<String>> {
        let sql = "select split_part(c, '=', 1), substr(c, strpos(c, '=') + 1),
                case s.setrole when 0 then format('alter database %I set ', $2::text)
                     else format('alter role %I in database %I set ', pg_get_userbyid(s.setrole), $2::text) end
             from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase,
                  unnest(s.setconfig) with ordinality u (c, place)
            where d.datname = $1 order by s.setrole, place";
        let rows = self
            .session
            .rows(sql, &[&name, &fresh])
            .context(|| format!("cannot read the settings of the database {name}"))?;
        let mut left = Vec::new();
        for row in &rows {
            let (key, value, head): (String, String, String) = (row.get(0), row.get(1), row.get(2));
            if !key.chars().all(|c| c.is_ascii_alphanumeric() || "_.$".contains(c)) {
                left.push(format!("{head}{key} = …; -- the name is not understood"));
                continue;
            }
            if let Err(error) = self.carry_setting(&key, &value, &head) {
                left.push(format!("{head}{key} to {}; -- {}", literal(&value), error.message));
            }
        }
        Ok(left)
    }

    pub(super) fn carry_setting(
        &mut self,
        key: &str,
        value: &str,
        head: &str,
    ) -> std::result::Result<(), SqlError> {
        self.session.run("begin")?;
        let through_session = self
            .session
            .rows("select set_config($1, $2, true)", &[&key, &value])
            .and_then(|_| self.session.run(&format!("{head}{key} from current; commit")));
        if through_session.is_ok() {
            return Ok(());
        }
        // Some settings cannot change in a running session; those are single values.
        self.session.run("rollback")?;
        self.session.run(&format!("{head}{key} to {}", literal(value)))
    }

    /// Lists the sessions of others in a database, those of our own role among them.
    pub fn sessions(&mut self, name: &str) -> Result<Vec<SessionInfo>> {
        sessions::sessions_in(&mut self.session, name)
    }
}

/// Quotes a name for SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text for SQL, whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let escaped = text.replace('\0', "").replace('\'', "''");
    if escaped.contains('\\') {
        format!("E'{}'", escaped.replace('\\', "\\\\"))
    } else {
        format!("'{escaped}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: &str = "20261120T131502Z";

    #[test]
    fn a_name_keeps_its_stamp_within_the_servers_limit() {
        assert_eq!(stamped("app", "replaced", STAMP), "app_replaced_20261120T131502Z");
        for name in ["é".repeat(40), "x".repeat(63)] {
            let stamped = stamped(&name, "replaced", STAMP);
            assert!(stamped.len() <= LONGEST_NAME && stamped.ends_with(STAMP), "{stamped}");
        }
    }

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), "E'a\\\\b'");
    }
}

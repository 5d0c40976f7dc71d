//! What a server lacks that a restore point needs, all of it at once and before anything starts.

use super::globals::{Globals, Need};
use super::roles::acts_for;
use super::swap::{Rights, Server, quoted};
use crate::error::{Context, Result};

/// Whether objects get their owners, grants and tablespaces back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// They do.
    Kept,
    /// Everything belongs to the role that restores, without grants, in the default tablespace.
    LeftOut,
}

/// What a server lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacking {
    /// In words, what the archive does not load without.
    pub hindrances: Vec<String>,
    /// Extensions among them: no statement makes those, a package does.
    pub extensions: Vec<String>,
    /// Statements that make all of it, and what somebody may miss although the archive loads.
    pub statements: Vec<String>,
    /// What differs and hinders nothing.
    pub notes: Vec<String>,
    /// Whether only a superuser can act for an owner.
    pub superuser: bool,
    /// Whether it would not load without owners, grants and tablespaces either.
    pub even_without: bool,
}

impl Lacking {
    /// Adds what another database lacks, each line once.
    pub fn add(&mut self, more: Self) {
        for (sum, more) in [
            (&mut self.hindrances, more.hindrances),
            (&mut self.extensions, more.extensions),
            (&mut self.statements, more.statements),
            (&mut self.notes, more.notes),
        ] {
            for line in more {
                if !sum.contains(&line) {
                    sum.push(line);
                }
            }
        }
        self.superuser |= more.superuser;
        self.even_without |= more.even_without;
    }

    /// Says what helps; `without` is how a restore leaves owners out.
    pub fn hint(&self, without: &str) -> String {
        let mut ways = Vec::new();
        if !self.extensions.is_empty() {
            let names = self.extensions.join(", ");
            ways.push(format!("Install the packages that bring {names} to the server."));
        }
        if !self.statements.is_empty() {
            ways.push("Run these statements as a superuser and set the passwords.".into());
        }
        if self.superuser {
            ways.push("Name a superuser in the connection string.".into());
        }
        if !self.even_without {
            ways.push(format!("Or {without}, which leaves owners, grants and tablespaces out."));
        }
        ways.join(" ")
    }
}

impl Server {
    /// Compares what a database needs with what the server has.
    ///
    /// `dbname` is the name that the database gets; a database that is there keeps its own owner
    /// and grants.
    pub fn lacking(&mut self, wants: &Globals, dbname: &str, owners: Owners) -> Result<Lacking> {
        let mut found = Lacking::default();
        let present = self.has(dbname)?;
        self.lacking_roles(wants, dbname, owners, present, &mut found)?;
        if owners == Owners::Kept {
            self.lacking_tablespaces(wants, present, &mut found)?;
        }
        self.lacking_extensions(wants, &mut found)?;
        if !found.hindrances.is_empty() {
            let extensions: Vec<_> = wants.extensions.iter().map(|e| e.name.clone()).collect();
            // In place, what others own would have to be dropped first.
            found.even_without = owners == Owners::LeftOut
                || self.rights(dbname, &extensions)? != Rights::Exchange
                || !self.lacking(wants, dbname, Owners::LeftOut)?.hindrances.is_empty();
        }
        Ok(found)
    }

    fn lacking_roles(
        &mut self,
        wants: &Globals,
        dbname: &str,
        owners: Owners,
        present: bool,
        found: &mut Lacking,
    ) -> Result<()> {
        let names: Vec<&str> = wants.roles.iter().map(|role| role.name.as_str()).collect();
        let sql = format!(
            "select current_user::text,
              array(select rolname::text from pg_roles where rolname = any ($1::text[])),
              array(select rolname::text from pg_roles where rolname = any ($1::text[]) and {})",
            acts_for("oid")
        );
        let rows = self.session.rows(&sql, &[&names]).context(|| "cannot list the roles".into())?;
        let Some(row) = rows.first() else { return Ok(()) };
        let (own, there, ours): (String, Vec<String>, Vec<String>) =
            (row.get(0), row.get(1), row.get(2));
        let missing = |name: &str| !there.iter().any(|role| role == name);
        for role in &wants.roles {
            let owns = role.need == Need::Owner || (!present && role.name == wants.database.owner);
            let needed = match (owners, role.need) {
                (_, Need::Policy) => true,
                (Owners::Kept, Need::Owner | Need::Grant) => true,
                (Owners::Kept, Need::Around) => owns,
                (Owners::LeftOut, Need::Owner | Need::Grant | Need::Around) => false,
            };
            if missing(&role.name) {
                found.statements.push(role.statement());
                if needed {
                    found.hindrances.push(format!("the server has no role {}", role.name));
                }
            } else if owners == Owners::Kept && owns && !ours.contains(&role.name) {
                found.hindrances.push(format!("the role {own} may not act for {}", role.name));
                // Who may act for a superuser is one. Others need not have the right to make again what they
                // own: grants on schemas are loaded last.
                if role.name == wants.database.owner && !role.is_superuser() {
                    found.statements.extend(self.letting_act_for(&role.name, &own)?);
                } else {
                    found.superuser = true;
                }
            }
        }
        let about = wants.memberships.iter().filter(|m| missing(&m.role) || missing(&m.member));
        let about = about.filter(|m| names.contains(&m.role.as_str()) || m.role.starts_with("pg_"));
        found.statements.extend(about.map(super::globals::Membership::statement));
        let settings = wants.settings.iter().filter(|setting| {
            setting.role.as_deref().is_some_and(&missing) && (present || !setting.here)
        });
        found.statements.extend(settings.map(|setting| setting.statement(dbname)));
        Ok(())
    }

    /// Returns the statements that let our role act for another one. To be granted it once more is no use
    /// to a member that does not inherit.
    fn letting_act_for(&mut self, role: &str, own: &str) -> Result<Vec<String>> {
        let sql = "select current_setting('server_version_num')::int4 >= 160000, rolinherit,
              coalesce((select pg_has_role(oid, 'MEMBER') from pg_roles where rolname = $1), false)
             from pg_roles where rolname = current_user";
        let row = self.ask("read the memberships of the role", sql, role)?;
        let (of_grants, inherits, member) =
            row.map_or((false, true, false), |row| (row.get(0), row.get(1), row.get(2)));
        let (role, own) = (quoted(role), quoted(own));
        let granted = format!("grant {role} to {own}");
        let inherit = format!("alter role {own} inherit;");
        Ok(match (of_grants, inherits, member) {
            (_, true, false) | (false, true, true) => vec![granted + ";"],
            // From PostgreSQL 16 on each grant says it, whatever the role says.
            (true, true, true) | (true, false, _) => {
                vec![granted + " with inherit true, set true;"]
            }
            (false, false, false) => vec![granted + ";", inherit],
            (false, false, true) => vec![inherit],
        })
    }

    fn lacking_tablespaces(
        &mut self,
        wants: &Globals,
        present: bool,
        found: &mut Lacking,
    ) -> Result<()> {
        let sql = "select spcname::text from pg_tablespace";
        let rows = self.session.rows(sql, &[]).context(|| "cannot list the tablespaces".into())?;
        let there: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        for space in wants.tablespaces.iter().filter(|space| !there.contains(&space.name)) {
            // The database that is there says itself where it lies; its tables may lie elsewhere.
            if present && wants.database.tablespace.as_deref() == Some(&space.name) {
                continue;
            }
            found.hindrances.push(format!("the server has no tablespace {}", space.name));
            found.statements.push(space.statement());
        }
        Ok(())
    }

    fn lacking_extensions(&mut self, wants: &Globals, found: &mut Lacking) -> Result<()> {
        let names: Vec<&str> = wants.extensions.iter().map(|e| e.name.as_str()).collect();
        let sql = "select name::text, coalesce(default_version, '') from pg_available_extensions
                    where name = any ($1::text[])";
        let rows =
            self.session.rows(sql, &[&names]).context(|| "cannot list the extensions".into())?;
        let there: Vec<(String, String)> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        for extension in &wants.extensions {
            let name = &extension.name;
            match there.iter().find(|(there, _)| there == name) {
                None => {
                    let text = format!("the server does not offer the extension {name}");
                    found.hindrances.push(text);
                    found.extensions.push(name.clone());
                }
                Some((_, version))
                    if !extension.version.is_empty() && *version != extension.version =>
                {
                    let text = format!(
                        "the extension {name} will be {version}, it was {}",
                        extension.version
                    );
                    found.notes.push(text);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

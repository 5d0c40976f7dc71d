//! New databases beside those of the application, and what runs that were killed left of them.

use super::globals::{Globals, Own, STAND_IN};
use super::lacking::Owners;
use super::recorded::{is_locale, is_statement};
use super::roles::acts_for;
use super::sessions::SOMEBODY;
use super::swap::{Server, literal, quoted, stamped};
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;

/// Whose a new database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// That of the database which it is made like: it will take its place.
    Kept,
    /// The same where our role may act for it, otherwise our own role.
    KeptWhereAllowed,
}

/// Where the stamp stands in a name of [`stamped`].
const NO_STAMP: &str = "00000000T000000Z";

/// Encoding and locale. Columns of later majors are read through JSON, so that one text serves all of
/// them.
const LOCALE: &str = "format('encoding %L lc_collate %L lc_ctype %L',
        pg_encoding_to_char(d.encoding), d.datcollate, d.datctype)
      || case to_jsonb(d) ->> 'datlocprovider'
           when 'i' then format(' locale_provider icu icu_locale %L',
             coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'))
             || coalesce(format(' icu_rules %L', to_jsonb(d) ->> 'daticurules'), '')
           when 'b' then format(' locale_provider builtin builtin_locale %L',
             to_jsonb(d) ->> 'datlocale')
           else '' end";

impl Server {
    /// Makes an empty database with encoding, locale, owner and tablespace of another one; where
    /// that does not exist, with those of the server.
    pub fn create_like(&mut self, name: &str, fresh: &str) -> Result<()> {
        let options = self.options_of(name, Owner::Kept)?;
        self.create(fresh, &options)
    }

    /// Makes an empty database like one that is gone, as a restore point describes it.
    pub fn create_described(&mut self, own: &Own, fresh: &str, owners: Owners) -> Result<()> {
        if !is_locale(&own.locale) {
            let text = "the encoding and locale that the restore point recorded are not understood";
            return Err(Error::new(Outcome::Refused, text)
                .detail(format!("{:?}", own.locale))
                .state("nothing was changed")
                .hint("Make the empty database with `createdb`, then restore into its place."));
        }
        let mut options = own.locale.clone();
        if owners == Owners::Kept {
            if !own.owner.is_empty() {
                options.push_str(&format!(" owner {}", quoted(&own.owner)));
            }
            if let Some(space) = &own.tablespace {
                options.push_str(&format!(" tablespace {}", quoted(space)));
            }
        }
        self.create(fresh, &options)
    }

    /// Gives a new database the grants, comment, limits and settings that a restore point describes;
    /// returns what could not be given, as statements.
    pub fn carry_described(&mut self, wants: &Globals, fresh: &str) -> Vec<String> {
        let mut left = Vec::new();
        let (stand_in, name) = (quoted(STAND_IN), quoted(fresh));
        for statement in &wants.database.statements {
            if !is_statement(statement) {
                left.push("-- what was recorded of the database is not understood".into());
                continue;
            }
            let statement = statement.replace(&stand_in, &name);
            if let Err(error) = self.session.run(&statement) {
                left.push(format!("{statement}; -- {}", error.message));
            }
        }
        for setting in wants.settings.iter().filter(|setting| setting.here) {
            let known = setting.is_known();
            let set = |server: &mut Self| {
                server.carry_setting(&setting.key, &setting.value, &setting.head(fresh))
            };
            match known.then(|| set(self)) {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    left.push(format!("{} -- {}", setting.statement(fresh), error.message));
                }
                None => left.push(setting.statement(fresh)),
            }
        }
        left
    }

    /// Returns the options of `CREATE DATABASE` that make a database like another one; none where
    /// the server has no such database.
    pub fn options_of(&mut self, name: &str, owner: Owner) -> Result<String> {
        let owner = match owner {
            Owner::Kept => "format(' owner %I', pg_get_userbyid(d.datdba))".to_owned(),
            Owner::KeptWhereAllowed => format!(
                "case when {} then format(' owner %I', pg_get_userbyid(d.datdba)) else '' end",
                acts_for("d.datdba")
            ),
        };
        // The default tablespace goes unnamed: naming it takes a right that owners rarely have.
        let sql = format!(
            "select {LOCALE} || {owner}
              || case t.spcname when 'pg_default' then '' else format(' tablespace %I', t.spcname) end
              from pg_database d join pg_tablespace t on t.oid = d.dattablespace
             where d.datname = $1"
        );
        let options = self.ask("read the settings of the database", &sql, name)?;
        Ok(options.map_or_else(String::new, |row| row.get(0)))
    }

    /// Returns encoding and locale of a database as options of `CREATE DATABASE`.
    pub(super) fn locale_options(&mut self, name: &str) -> Result<String> {
        let sql = format!("select {LOCALE} from pg_database d where d.datname = $1");
        let options = self.ask("read the locale of the database", &sql, name)?;
        Ok(options.map_or_else(String::new, |row| row.get(0)))
    }

    /// Makes an empty database.
    pub fn create(&mut self, fresh: &str, options: &str) -> Result<()> {
        self.session
            .run(&format!("create database {} template template0 {options}", quoted(fresh)))
            .context(|| format!("cannot create the database {fresh}"))
    }

    /// Closes a new database to everybody but its owner, and says in its comment what it is.
    pub(super) fn close_and_mark(&mut self, fresh: &str, comment: &str) -> Result<()> {
        let (name, comment) = (quoted(fresh), literal(comment));
        self.session
            .run(&format!(
                "revoke all on database {name} from public; comment on database {name} is {comment}"
            ))
            .context(|| format!("cannot close the database {fresh} to others"))
    }

    /// Removes a database that was made for a while, with any sessions in it.
    pub fn drop_fresh(&mut self, fresh: &str) -> Result<()> {
        self.drop_subscriptions(fresh)?;
        self.session
            .run(&format!("drop database if exists {} with (force)", quoted(fresh)))
            .context(|| format!("cannot remove the database {fresh}"))
    }

    /// Removes what restores that were killed left: databases named like those of
    /// [`stamped`] with this word, without sessions. Returns what became of each: one that stays is in
    /// nobody's way, because the next has a name of its own.
    pub fn drop_leftovers(&mut self, name: &str, word: &str) -> Result<Vec<(String, Result<()>)>> {
        let unused = format!(
            "not exists (select from pg_stat_activity a where a.datid = d.oid and {SOMEBODY})"
        );
        let names = self.named_like(name, word, &unused)?;
        let drop = |name: String| {
            let dropped = self.drop_fresh(&name);
            (name, dropped)
        };
        Ok(names.into_iter().map(drop).collect())
    }

    /// Lists databases named like those of [`stamped`] with this word that our role may remove.
    pub(super) fn named_like(
        &mut self,
        name: &str,
        word: &str,
        condition: &str,
    ) -> Result<Vec<String>> {
        // The name may be cut, so the suffix of the stamp is what has to match in full.
        let shape = stamped(name, word, NO_STAMP);
        let head = shape.strip_suffix(NO_STAMP).unwrap_or(&shape).to_owned();
        let sql = format!(
            "select d.datname::text from pg_database d where starts_with(d.datname::text, $1)
              and substr(d.datname::text, length($1) + 1) ~ '^[0-9]{{8}}T[0-9]{{6}}Z$'
              and pg_has_role(d.datdba, 'USAGE') and {condition} order by 1"
        );
        let rows = self.session.rows(&sql, &[&head]).context(|| "cannot list databases".into())?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

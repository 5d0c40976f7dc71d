//! Why an archive that is whole cannot be loaded: what the server said of which object, and what would
//! mend it in the database that was dumped.
//!
//! The client loads with an empty search path. A function that finds others only by the search path of
//! the application works there and fails here, and no byte of the archive tells: only a load does.

use super::Database;
use super::statement_head;
use crate::error::{Context, Error, Result};
use crate::system::process::Failure;

/// How much of the statement that failed is shown.
const SHOWN: usize = 100;

/// What a client said when it could not load an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// What the server or the client said, on one line.
    pub said: Option<String>,
    /// The beginning of the statement that failed, or the table whose rows did.
    pub object: Option<String>,
    /// Functions that were being run, as the server names them, innermost first.
    pub inside: Vec<String>,
}

impl Refused {
    /// Reads the last words of `pg_restore`; rows of the application, which they may quote, are left out.
    pub(super) fn parse(text: &str) -> Self {
        let mut found = Self::default();
        let mut in_context = false;
        for line in text.lines() {
            if let Some(line) = line.strip_prefix("pg_restore: error: ") {
                in_context = false;
                if found.said.is_none() {
                    found.take_error(line);
                }
            } else if let Some(line) = line.strip_prefix("CONTEXT:  ") {
                in_context = true;
                found.inside.push(shortened(line));
            } else if let Some(line) = line.strip_prefix("Command was: ") {
                in_context = false;
                let head = statement_head::head(line.trim_end_matches(['(', ' ', ';']), SHOWN);
                found.object.get_or_insert(head);
            } else if ["LINE ", "HINT:", "QUERY:", "DETAIL:"].iter().any(|l| line.starts_with(l)) {
                in_context = false;
            } else if in_context && !line.trim().is_empty() {
                found.inside.push(shortened(line));
            }
        }
        found
    }

    fn take_error(&mut self, line: &str) {
        // `could not execute query: ERROR:  …` and `COPY failed for table "t": ERROR:  …`; severity and
        // text are in the server's language, the two blanks are not.
        let (client, server) = line.split_once(":  ").unwrap_or(("", line));
        if let Some((_, table)) = client.split_once("COPY failed for table ") {
            let table = table.rsplit_once(": ").map_or(table, |(table, _)| table);
            self.object = Some(format!("the rows of table {table}"));
        }
        self.said = Some(server.trim().to_owned());
    }
}

/// `COPY t, line 1: "…"` quotes a row.
fn shortened(line: &str) -> String {
    let line = line.trim();
    match line.strip_prefix("COPY ").and_then(|rest| rest.split_once(", line ")) {
        Some((table, rest)) => {
            let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
            format!("COPY {table}, line {number}")
        }
        None => line.to_owned(),
    }
}

/// A load that failed.
#[derive(Debug)]
pub struct NotLoaded {
    /// The failure as a person reads it.
    pub error: Error,
    /// What the client said, where it ended by itself.
    pub refused: Option<Refused>,
}

impl From<NotLoaded> for Error {
    fn from(not: NotLoaded) -> Self {
        not.error
    }
}

impl From<Error> for NotLoaded {
    fn from(error: Error) -> Self {
        Self { error, refused: None }
    }
}

/// Makes the message about a load that failed.
pub(super) fn told(database: &Database, failure: &Failure) -> NotLoaded {
    let refused =
        matches!(failure, Failure::Ended { .. }).then(|| Refused::parse(failure.stderr()));
    let error = super::dump::told("pg_restore", database, failure);
    match refused {
        Some(Refused { said: Some(said), object, inside }) => {
            let shown = error.message();
            let error = Error::failed(shown);
            let error = match &object {
                Some(object) => error.detail(format!("{said}, at {object}")),
                None => error.detail(said.clone()),
            };
            let error = inside.iter().fold(error, |error, line| error.detail(line));
            NotLoaded { error, refused: Some(Refused { said: Some(said), object, inside }) }
        }
        refused => NotLoaded { error, refused },
    }
}

/// Returns the statements that would let what failed be loaded, to be run in the database that was
/// dumped: its functions of that name find everything by a search path of their own then.
pub fn remedies(real: &Database, refused: &Refused) -> Result<Vec<String>> {
    if refused.inside.is_empty() {
        return Ok(Vec::new());
    }
    let mut session = real.connect()?;
    // Those that an index, a constraint, a computed column or a materialized view runs while it is
    // loaded. What they call finds everything by their search path too.
    let sql = "select distinct p.proname::text, format('ALTER %s %I.%I(%s) SET search_path = %s, pg_temp',
              case p.prokind when 'p' then 'PROCEDURE' else 'FUNCTION' end, n.nspname, p.proname,
              pg_get_function_identity_arguments(p.oid),
              array_to_string(array(select quote_ident(s) from unnest(current_schemas(false)) s), ', '))
         from pg_depend d join pg_proc p on d.refclassid = 'pg_proc'::regclass and p.oid = d.refobjid
         join pg_namespace n on n.oid = p.pronamespace
        where d.classid in ('pg_class'::regclass, 'pg_constraint'::regclass, 'pg_attrdef'::regclass,
                            'pg_rewrite'::regclass, 'pg_type'::regclass)
          and p.oid >= 16384
          and not exists (select from unnest(p.proconfig) c where starts_with(c, 'search_path='))
        order by 2";
    let rows = session.rows(sql, &[]).context(|| "cannot look for the functions".into())?;
    let named = |name: &str| refused.inside.iter().any(|line| has_word(line, name));
    Ok(rows.iter().filter(|row| named(row.get(0))).map(|row| row.get(1)).collect())
}

/// Returns whether a line has this name as a whole.
fn has_word(line: &str, name: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    !name.is_empty()
        && line.match_indices(name).any(|(at, _)| {
            !part(line[..at].chars().next_back()) && !part(line[at + name.len()..].chars().next())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_and_the_words_of_the_server_are_found() {
        let text = "pg_restore: error: could not execute query: ERROR:  function inner_f(integer) \
                    does not exist\nLINE 1: inner_f(i)\n        ^\nHINT:  No function matches.\n\
                    QUERY:  inner_f(i)\n\
                    CONTEXT:  PL/pgSQL function public.outer_f(integer) line 1 at RETURN\n\
                    Command was: CREATE INDEX hosts_f ON public.hosts USING btree (public.outer_f(id));\n\
                    \n\npg_restore: error: a worker process died unexpectedly";
        let found = Refused::parse(text);
        assert_eq!(found.said.unwrap(), "function inner_f(integer) does not exist");
        let object = found.object.unwrap();
        assert!(object.starts_with("CREATE INDEX hosts_f ON public.hosts"), "{object}");
        assert_eq!(found.inside, ["PL/pgSQL function public.outer_f(integer) line 1 at RETURN"]);
        assert!(has_word(&found.inside[0], "outer_f") && !has_word(&found.inside[0], "outer"));
    }

    #[test]
    fn a_row_of_the_application_is_not_quoted() {
        let text = "pg_restore: error: COPY failed for table \"hosts\": ERROR:  new row violates check\n\
                    DETAIL:  Failing row contains (1, my password).\n\
                    CONTEXT:  PL/pgSQL function public.outer_f(integer) line 1 at RETURN\n\
                    COPY hosts, line 1: \"1\tmy password\"";
        let found = Refused::parse(text);
        assert_eq!(found.object.as_deref(), Some("the rows of table \"hosts\""));
        assert_eq!(found.inside[1], "COPY hosts, line 1");
        assert!(!format!("{found:?}").contains("password"));
    }
}

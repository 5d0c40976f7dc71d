//! Whose history a database has: looked up by the columns of tables, never guessed from names.

mod known;

use super::chain::Chain;
use super::{Problem, ProblemKind};
use crate::config::{FilesSpec, Format, TableName};
use crate::database::{Ground, Session, Shape, SqlError};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use known::{KNOWN, Known};

/// A tool whose table is there.
struct Owner {
    known: &'static Known,
    schema: String,
}

impl Owner {
    fn table(&self) -> String {
        format!("{}.{}", self.schema, self.known.table)
    }

    /// The format that takes the tool's place, where this version has one.
    fn format(&self) -> Option<Format> {
        Format::ALL.iter().copied().find(|format| format.word() == self.known.word)
    }

    fn spoken(&self) -> String {
        format!("{} (table {})", self.known.tool, self.table())
    }

    fn way(&self) -> String {
        match self.format() {
            Some(format) => format!("`migrations.format = \"{}\"`", format.word()),
            None => {
                format!("`migrations.command` with what `{}` does", self.known.itself)
            }
        }
    }
}

/// Chooses the format of `format = "auto"`: the one tool whose table is there.
pub(super) fn choose(session: &mut Session, spec: &FilesSpec) -> Result<FilesSpec> {
    let found = session.begin_looking().and_then(|()| {
        let found = read(session, None);
        let ended = session.end_looking();
        found.and_then(|found| ended.map(|()| found))
    });
    let found = found.map_err(|error| {
        Error::failed("cannot look for the history table of a migration tool").source(error)
    })?;
    let owners = owners(&found);
    let refused = |text: String| Error::new(Outcome::Refused, text).state("nothing was changed");
    match owners.as_slice() {
        [one] => match one.format() {
            Some(format) => Ok(FilesSpec { format: Some(format), ..spec.clone() }),
            None => Err(refused(format!(
                "the schema is kept by {}, which no format takes the place of",
                one.spoken()
            ))
            .hint(format!("Let the package use {}.", one.way()))),
        },
        [] => Err(refused("no migration tool has a history table in the database".to_owned())
            .detail(
                "migrations.format is \"auto\", which asks the database whose migrations these are",
            )
            .hint("Let the package name the format: a fresh database cannot tell it.")),
        several => Err(several
            .iter()
            .fold(
                refused(
                    "more than one migration tool has a history table in the database".to_owned(),
                ),
                |error, owner| error.detail(owner.spoken()),
            )
            .hint("Let the package name the one that counts as `migrations.format`.")),
    }
}

/// Says whose table lies where the history of a chain should, where it is not its tool's.
///
/// Called before the table is read, because the columns of another tool's cannot be.
pub(super) fn foreign_table(
    session: &mut Session,
    chain: &Chain,
    schema: &str,
) -> std::result::Result<Option<Problem>, SqlError> {
    let word = chain.format().word();
    // Ours has a name that nobody else uses.
    let Some(own) = KNOWN.iter().find(|known| known.word == word) else { return Ok(None) };
    if chain.format() == Format::Plain {
        return Ok(None);
    }
    let found = read(session, Some(&chain.table))?;
    let is_own = |one: &&Shape| one.schema == schema && one.table == chain.table.name;
    let Some(table) = found.iter().find(is_own) else { return Ok(None) };
    if own.fits(table, &found) {
        return Ok(None);
    }
    let whose = KNOWN.iter().find(|known| known.fits(table, &found));
    let columns: Vec<String> =
        table.columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    Ok(Some(Problem {
        kind: ProblemKind::Foreign,
        by: None,
        version: String::new(),
        what: match whose {
            Some(known) => format!(
                "the table {}.{} is one of {}, not of {word}",
                table.schema, table.table, known.tool
            ),
            None => format!("the table {}.{} is not one of {word}", table.schema, table.table),
        },
        detail: format!("its columns: {}", columns.join(", ")),
        hint: match whose {
            Some(known) => {
                let owner = Owner { known, schema: table.schema.clone() };
                format!("Let the package use {}.", owner.way())
            }
            None => "Let the package name the history table as `migrations.table`.".to_owned(),
        },
    }))
}

/// Says which other tools keep a database that has tables, but not the history of a chain.
pub(super) fn other_tools(
    session: &mut Session,
    chain: &Chain,
) -> std::result::Result<Option<Problem>, SqlError> {
    let found = read(session, None)?;
    let owners = owners(&found);
    let word = chain.format().word();
    let what = match owners.as_slice() {
        [] => return Ok(None),
        [one] if one.known.word == word => {
            format!("{word} has its history in {}, not in {}", one.table(), chain.table.name)
        }
        [one] => format!("the schema is kept by {}, not by {word}", one.spoken()),
        several => {
            let all: Vec<String> = several.iter().map(Owner::spoken).collect();
            format!("the schema is kept by other tools than {word}: {}", all.join(", "))
        }
    };
    let ways: Vec<String> = owners.iter().map(Owner::way).collect();
    Ok(Some(Problem {
        kind: ProblemKind::Foreign,
        by: None,
        version: String::new(),
        what,
        detail: format!("there is no history table {}", chain.table.name),
        hint: match owners.as_slice() {
            [one] if one.known.word == word => {
                format!("Let the package name it as `migrations.table = \"{}\"`.", one.table())
            }
            _ => format!("Check the connection; else let the package use {}.", ways.join(" or ")),
        },
    }))
}

/// Returns the tools whose tables are where they keep them.
fn owners(found: &[Shape]) -> Vec<Owner> {
    let of = |one: &Shape| {
        let known = KNOWN.iter().find(|known| known.lies_at(one) && known.fits(one, found))?;
        Some(Owner { known, schema: one.schema.clone() })
    };
    found.iter().filter_map(of).collect()
}

/// Reads the columns of every table that has the name of a known one, or of the one that is named.
fn read(
    session: &mut Session,
    own: Option<&TableName>,
) -> std::result::Result<Vec<Shape>, SqlError> {
    let names = KNOWN.iter().flat_map(|known| [Some(known.table), known.beside.map(|b| b.0)]);
    let mut names: Vec<&str> = names.flatten().chain(own.map(|own| own.name.as_str())).collect();
    names.sort_unstable();
    names.dedup();
    session.shapes(&names)
}

/// The problem of tables without any history that is known.
pub(super) fn unknown(chain: &Chain, ground: &Ground) -> Problem {
    let detail = match &ground.elsewhere {
        Some(schema) => format!(
            "there is one in schema {schema}, which is not on the search path of the connection"
        ),
        None => "without it nobody knows which migrations the tables already have".into(),
    };
    Problem {
        kind: ProblemKind::Unknown,
        by: None,
        version: String::new(),
        what: format!("the database has tables, but no history table {}", chain.table.name),
        detail,
        hint: "Check the connection; if the tables are of this application, \
               run `openwatch migrate --mark-applied VERSION` with the version that they have."
            .into(),
    }
}

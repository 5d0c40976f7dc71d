//! How to recognise later whether a statement outside a transaction took effect.
//!
//! Before such a statement runs, what it will change is looked at and noted beside its mark, by
//! object ids, so that settings of the session do not matter any more. After a kill between statement
//! and mark the same place is looked at again. Where that cannot tell, nothing is guessed.

use std::fmt;

use crate::database::{Index, Session, SqlError};
use crate::migrations::script::statement::Statement;

/// What was there before a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::migrations) enum Trace {
    /// An index is built on a table that had these indexes.
    Build { table: u32, before: Vec<u32> },
    /// Indexes are rebuilt in a database that had these invalid ones.
    Rebuild { before: Vec<u32> },
    /// An index is dropped.
    Drop { index: u32 },
    /// A partition is detached.
    Detach { parent: u32, partition: u32 },
    /// An enumeration gets a label that it did not have.
    Label { of: u32, label: String },
    /// It may run twice without harm.
    Again,
    /// Nothing will tell.
    Nothing,
}

/// What became of a statement whose end nobody noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::migrations) enum Became {
    /// It took effect.
    Done,
    /// It did not, or may run again, once what it left is removed.
    Again,
    /// Nobody can tell.
    Unknown,
}

impl Trace {
    /// Looks at what a statement is about to change.
    pub(in crate::migrations) fn before(
        session: &mut Session,
        kind: &Statement,
    ) -> Result<Self, SqlError> {
        let oids = |all: Vec<Index>| all.into_iter().map(|index| index.oid).collect();
        Ok(match kind {
            Statement::Build { table, .. } => match session.relation(table)? {
                Some(table) => Self::Build { table, before: oids(session.indexes_of(table)?) },
                // Without the table it can only fail.
                None => Self::Again,
            },
            Statement::Rebuild => Self::Rebuild { before: oids(session.invalid_indexes()?) },
            Statement::Drop { index } => match session.relation(index)? {
                Some(index) => Self::Drop { index },
                None => Self::Again,
            },
            Statement::Detach { table, partition } => {
                match (session.relation(table)?, session.relation(partition)?) {
                    (Some(parent), Some(partition)) => Self::Detach { parent, partition },
                    (None, _) | (_, None) => Self::Again,
                }
            }
            Statement::Label { of, label } => match session.named_type(of)? {
                Some(of) if !session.has_label(of, label)? => {
                    Self::Label { of, label: label.clone() }
                }
                Some(_) | None => Self::Again,
            },
            Statement::Vacuum | Statement::Again | Statement::Session => Self::Again,
            Statement::Temporary | Statement::Opaque | Statement::Other => Self::Nothing,
        })
    }

    /// Tells what became of the statement, by what is there now.
    pub(in crate::migrations) fn judge(&self, session: &mut Session) -> Result<Became, SqlError> {
        let done = match self {
            Self::Build { table, before } => {
                session.indexes_of(*table)?.iter().any(|i| i.valid && !before.contains(&i.oid))
            }
            Self::Drop { index } => !session.has_relation(*index)?,
            Self::Detach { parent, partition } => session.partition(*partition, *parent)?.is_none(),
            Self::Label { of, label } => session.has_label(*of, label)?,
            Self::Rebuild { .. } | Self::Again => false,
            Self::Nothing => return Ok(Became::Unknown),
        };
        Ok(if done { Became::Done } else { Became::Again })
    }

    /// Names the invalid indexes that the statement left, and no others.
    pub(in crate::migrations) fn leftovers(
        &self,
        session: &mut Session,
    ) -> Result<Vec<String>, SqlError> {
        let (found, before) = match self {
            Self::Build { table, before } => (session.indexes_of(*table)?, before),
            Self::Rebuild { before } => {
                let mut found = session.invalid_indexes()?;
                found.retain(|index| is_of_rebuild(&index.name));
                (found, before)
            }
            Self::Drop { .. }
            | Self::Detach { .. }
            | Self::Label { .. }
            | Self::Again
            | Self::Nothing => return Ok(Vec::new()),
        };
        let ours = |index: &Index| !index.valid && !before.contains(&index.oid);
        Ok(found.into_iter().filter(ours).map(|index| index.name).collect())
    }

    /// Finishes what the statement began and cannot be begun anew; returns whether that was so.
    pub(in crate::migrations) fn finish(&self, session: &mut Session) -> Result<bool, SqlError> {
        let Self::Detach { parent, partition } = self else { return Ok(false) };
        let pending = session.partition(*partition, *parent)? == Some(true);
        if pending {
            session.finish_detaching(*partition, *parent)?;
        }
        Ok(pending)
    }
}

/// `REINDEX CONCURRENTLY` names its transient indexes so, with a number where that is taken.
fn is_of_rebuild(name: &str) -> bool {
    let name = name.trim_end_matches('"').trim_end_matches(|c: char| c.is_ascii_digit());
    name.ends_with("_ccnew") || name.ends_with("_ccold")
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |oids: &[u32]| oids.iter().map(|oid| format!(" {oid}")).collect::<String>();
        match self {
            Self::Build { table, before } => write!(f, "build {table}{}", all(before)),
            Self::Rebuild { before } => write!(f, "rebuild{}", all(before)),
            Self::Drop { index } => write!(f, "drop {index}"),
            Self::Detach { parent, partition } => write!(f, "detach {parent} {partition}"),
            Self::Label { of, label } => write!(f, "label {of} {label}"),
            Self::Again => f.write_str("again"),
            Self::Nothing => f.write_str("nothing"),
        }
    }
}

impl From<&str> for Trace {
    /// Reads what [`Trace`] was written as; anything else tells nothing.
    fn from(text: &str) -> Self {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut oids = rest.split(' ').filter_map(|oid| oid.parse::<u32>().ok());
        let read = match word {
            "build" => oids.next().map(|table| Self::Build { table, before: oids.collect() }),
            "rebuild" => Some(Self::Rebuild { before: oids.collect() }),
            "drop" => oids.next().map(|index| Self::Drop { index }),
            "detach" => oids
                .next()
                .zip(oids.next())
                .map(|(parent, partition)| Self::Detach { parent, partition }),
            "label" => rest.split_once(' ').and_then(|(of, label)| {
                Some(Self::Label { of: of.parse().ok()?, label: label.to_owned() })
            }),
            "again" => Some(Self::Again),
            _ => None,
        };
        read.unwrap_or(Self::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_as_it_was_written() {
        for trace in [
            Trace::Build { table: 1, before: vec![2, 3] },
            Trace::Build { table: 1, before: vec![] },
            Trace::Rebuild { before: vec![] },
            Trace::Drop { index: 4 },
            Trace::Detach { parent: 5, partition: 6 },
            Trace::Label { of: 7, label: "it is, so".into() },
            Trace::Again,
            Trace::Nothing,
        ] {
            assert_eq!(Trace::from(trace.to_string().as_str()), trace);
        }
        assert_eq!(Trace::from("of a later version 1"), Trace::Nothing);
    }

    #[test]
    fn only_transient_indexes_are_of_a_rebuild() {
        assert!(is_of_rebuild("public.i_ccnew") && is_of_rebuild("public.\"I_ccold12\""));
        assert!(!is_of_rebuild("public.i") && !is_of_rebuild("public.i_ccnew_mine"));
    }
}

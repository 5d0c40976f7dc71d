//! Which migrations share a transaction, and what to do when the server cannot do it that way.

use std::collections::BTreeSet;

use super::broken::Broken;
use super::script::scan;
use super::{Key, Migration};
use crate::database::Trouble;

/// From this many pending migrations on, one transaction would need more locks than a server with
/// default settings has room for (measured: at about 3,100 small ones).
const MANY: usize = 2000;

/// How many share a transaction on a server that had no room for the locks of all.
const BATCH: usize = 500;

/// How migrations are grouped at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    All,
    Batches(usize),
    Each,
}

impl Shape {
    /// Returns the largest transactions that a server with default settings has room for.
    pub(super) fn for_count(pending: usize) -> Self {
        if pending > MANY { Self::Batches(MANY) } else { Self::All }
    }
}

/// What runs between two commits.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    Together(Vec<&'a Migration>),
    Alone(&'a Migration),
}

/// Groups what is left to do.
pub(super) fn segments<'a>(
    rest: &[&'a Migration],
    shape: Shape,
    alone: &BTreeSet<Key>,
) -> Vec<Segment<'a>> {
    let most = match shape {
        Shape::All => usize::MAX,
        Shape::Batches(size) => size,
        Shape::Each => 1,
    };
    let mut all: Vec<Segment<'a>> = Vec::new();
    for migration in rest.iter().copied() {
        if alone.contains(&migration.key) {
            all.push(Segment::Alone(migration));
            continue;
        }
        match all.last_mut() {
            Some(Segment::Together(group)) if group.len() < most => group.push(migration),
            _ => all.push(Segment::Together(vec![migration])),
        }
    }
    all
}

/// Says how to go on when the server cannot do it in this way, and what to tell the operator.
pub(super) fn fall_back(
    shape: Shape,
    broken: &Broken<'_>,
    alone: &mut BTreeSet<Key>,
) -> Option<(Shape, String)> {
    if broken.indeterminate || broken.unknown {
        return None;
    }
    let each =
        |why: &str| Some((Shape::Each, format!("{why}: one transaction for each migration")));
    match (broken.trouble()?, shape) {
        (Trouble::NeedsNoTransaction, _) => {
            let at = broken.at.filter(|m| !alone.contains(&m.key));
            if let Some(at) = at.filter(|_| scan(&broken.sql).statements.len() == 1) {
                alone.insert(at.key.clone());
                let text =
                    format!("migration {} cannot share a transaction: it runs alone", at.label());
                return Some((shape, text));
            }
            if shape == Shape::Each {
                return None;
            }
            each("a migration cannot share a transaction (SQLSTATE 25001)")
        }
        (Trouble::NeedsCommit, Shape::All | Shape::Batches(_)) => {
            each("a migration needs an earlier one to be committed first")
        }
        (Trouble::LockMemory, Shape::All) => Some((
            Shape::Batches(BATCH),
            format!("the server has no room for so many locks: batches of {BATCH} migrations"),
        )),
        (Trouble::LockMemory, Shape::Batches(size)) => Some((
            if size < 4 { Shape::Each } else { Shape::Batches(size / 4 + 1) },
            "the server has no room for so many locks: smaller batches".into(),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::broken::Cause;
    use super::*;
    use crate::database::SqlError;

    fn file(number: u64) -> Migration {
        Migration {
            version: format!("{number:04}").into(),
            name: "x".into(),
            key: Key::Number(number),
            transactional: true,
            ..Migration::default()
        }
    }

    fn number(migration: &Migration) -> u64 {
        migration.version.parse().unwrap()
    }

    fn numbers(groups: &[Segment<'_>]) -> Vec<Vec<u64>> {
        let each = |group: &Segment<'_>| match group {
            Segment::Together(group) => group.iter().map(|m| number(m)).collect(),
            Segment::Alone(migration) => vec![number(migration)],
        };
        groups.iter().map(each).collect()
    }

    #[test]
    fn a_migration_that_runs_alone_divides_the_others() {
        let files: Vec<Migration> = (1..=5).map(file).collect();
        let rest: Vec<&Migration> = files.iter().collect();
        let alone = BTreeSet::from([Key::Number(3)]);
        assert_eq!(
            numbers(&segments(&rest, Shape::All, &alone)),
            [vec![1, 2], vec![3], vec![4, 5]]
        );
        assert_eq!(
            numbers(&segments(&rest, Shape::Batches(2), &BTreeSet::new())),
            [vec![1, 2], vec![3, 4], vec![5]]
        );
        assert_eq!(segments(&rest, Shape::Each, &alone).len(), 5);
    }

    #[test]
    fn what_the_server_says_decides_how_to_go_on() {
        let (file, one, two) = (file(1), "vacuum", "vacuum; vacuum");
        let next = |shape, code: &str, sql: &str| {
            let error = SqlError {
                code: Some(code.into()),
                message: String::new(),
                detail: None,
                hint: None,
                position: None,
                about: None,
            };
            let broken = Broken { sql: sql.into(), ..Broken::new(Some(&file), Cause::Sql(error)) };
            fall_back(shape, &broken, &mut BTreeSet::new()).map(|(shape, _)| shape)
        };
        assert_eq!(next(Shape::All, "25001", one), Some(Shape::All));
        assert_eq!(next(Shape::All, "25001", two), Some(Shape::Each));
        assert_eq!(next(Shape::Each, "25001", two), None);
        assert_eq!(next(Shape::All, "55P04", one), Some(Shape::Each));
        assert_eq!(next(Shape::All, "55006", one), Some(Shape::Each));
        assert_eq!(next(Shape::Each, "55P04", one), None);
        assert_eq!(next(Shape::All, "53200", one), Some(Shape::Batches(BATCH)));
        assert_eq!(next(Shape::Batches(BATCH), "53200", one), Some(Shape::Batches(126)));
        assert_eq!(next(Shape::Batches(2), "53200", one), Some(Shape::Each));
        assert_eq!(next(Shape::All, "42P01", one), None);
    }
}

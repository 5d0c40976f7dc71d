//! Applied against shipped: a pure comparison of two sets with checksums.

use super::chain::Chain;
use super::formats::Older;
use super::history::{AppliedRow, Evidence, RowState};
use super::problems::{check_row, check_text, gap_in_history, gaps_in_package};
use super::{Comparison, Key, Migration, Pending, Problem, ProblemKind, State};

/// Compares what a package ships with what the history table has.
pub fn compare(chain: &Chain, applied: &[AppliedRow]) -> Comparison {
    let rows = ByKey::of(applied);
    let head = chain.migrations.last();
    // Repeatable ones follow all others, and say nothing of how far a schema is.
    let newest = chain.migrations.iter().rev().find(|file| !matches!(file.key, Key::Repeatable(_)));
    let newest = newest.map(|file| &file.key);
    let last = rows.0.iter().rev().find(|row| !matches!(row.key, Key::Repeatable(_)));
    let mut problems = Vec::new();
    for row in &rows.0 {
        problems.extend(check_row(chain, row, chain.at(&row.key), newest));
    }
    problems.extend(gaps_in_package(chain, &rows));
    let mut pending = Vec::new();
    for file in pending_of(chain, &rows) {
        let newest = last.filter(|newest| file.key < newest.key);
        if let Some(newest) = newest.filter(|_| chain.tool.older(file) == Older::Refused) {
            problems.push(gap_in_history(file, newest));
        }
        problems.extend(check_text(chain, file));
        pending.push(Pending {
            version: file.version.clone(),
            name: file.name.clone(),
            transactional: file.transactional,
        });
    }
    let assumed = rows.0.iter().filter(|row| row.evidence == Evidence::Assumed);
    Comparison {
        state: state(&problems, &pending),
        current: rows.0.last().map(|row| row.version.to_string()),
        head: head.map(|file| file.version.to_string()),
        applied: rows.0.iter().filter(|row| row.state == RowState::Applied).count(),
        assumed: assumed.map(|row| row.version.to_string()).collect(),
        pending,
        begun: false,
        problems,
    }
}

/// Returns the shipped migrations that a run would apply, in order.
pub(super) fn pending_of<'a>(chain: &'a Chain, rows: &ByKey<'_>) -> Vec<&'a Migration> {
    let is_pending = |file: &&Migration| match (rows.get(&file.key), &file.key) {
        (None, _) => true,
        // Runs again when its text changed.
        (Some(row), Key::Repeatable(_)) => {
            row.state == RowState::Applied && is_other(chain, file, row)
        }
        (Some(_), Key::Number(_) | Key::Parts(_) | Key::Text(_)) => false,
    };
    chain.migrations.iter().filter(is_pending).collect()
}

/// Rows in the order of their keys, one for each.
pub(super) struct ByKey<'a>(Vec<&'a AppliedRow>);

impl<'a> ByKey<'a> {
    /// A mark of something begun counts before the row of an earlier run.
    pub(super) fn of(applied: &'a [AppliedRow]) -> Self {
        let mut rows: Vec<&AppliedRow> = applied.iter().collect();
        rows.sort_by(|a, b| {
            let applied = |row: &AppliedRow| row.state == RowState::Applied;
            (&a.key, applied(a)).cmp(&(&b.key, applied(b)))
        });
        rows.dedup_by(|later, kept| later.key == kept.key);
        Self(rows)
    }

    /// Returns the row with this key.
    pub(super) fn get(&self, key: &Key) -> Option<&'a AppliedRow> {
        self.0.binary_search_by(|row| row.key.cmp(key)).ok().map(|at| self.0[at])
    }
}

/// Returns whether a row was recorded for another text than the file has.
pub(super) fn is_other(chain: &Chain, file: &Migration, row: &AppliedRow) -> bool {
    let same = |recorded: &str| chain.same(file, recorded) || chain.accepts(file, recorded);
    row.checksum.as_ref().is_some_and(|recorded| !same(recorded))
}

fn state(problems: &[Problem], pending: &[Pending]) -> State {
    let has = |kind| problems.iter().any(|problem| problem.kind == kind);
    if has(ProblemKind::Divergent) || has(ProblemKind::Indeterminate) {
        State::Divergent
    } else if has(ProblemKind::Missing) {
        State::Missing
    } else if has(ProblemKind::Ahead) {
        State::Ahead
    } else if has(ProblemKind::Gap) {
        State::Missing
    } else if pending.is_empty() {
        State::Current
    } else {
        // A pending file that cannot run is still pending; its problem says why it is refused.
        State::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::super::Text;
    use super::*;
    use crate::config::Format;
    use proptest::prelude::*;

    fn file(number: u64, sql: &str) -> Migration {
        Migration {
            version: format!("{number:04}").into(),
            name: "x".into(),
            key: Key::Number(number),
            file: format!("{number:04}_x.sql").into(),
            text: Text::Held(sql.into()),
            checksum: Some(super::super::checksum(sql).into()),
            transactional: true,
            ..Migration::default()
        }
    }

    fn compare(shipped: &[Migration], applied: &[AppliedRow]) -> Comparison {
        super::compare(&Chain::of(Format::Plain, shipped), applied)
    }

    fn row(number: u64, sql: &str) -> AppliedRow {
        AppliedRow {
            key: Key::Number(number),
            version: format!("{number:04}").into(),
            name: "x".into(),
            checksum: Some(super::super::checksum(sql).into()),
            applied_at: Some("2026-01-01 00:00:00+00".into()),
            product_version: Some("1.0".into()),
            ..AppliedRow::default()
        }
    }

    fn files(numbers: &[u64]) -> Vec<Migration> {
        numbers.iter().map(|n| file(*n, "select 1")).collect()
    }

    fn rows(numbers: &[u64]) -> Vec<AppliedRow> {
        numbers.iter().map(|n| row(*n, "select 1")).collect()
    }

    #[test]
    fn each_constellation_has_one_word() {
        type Case = (&'static [u64], &'static [u64], State, usize, usize);
        let cases: &[Case] = &[
            (&[1, 2, 3], &[1, 2, 3], State::Current, 0, 0),
            (&[1, 2, 3], &[1], State::Pending, 2, 0),
            (&[1, 2, 3], &[], State::Pending, 3, 0),
            (&[1, 2], &[1, 2, 3], State::Ahead, 0, 1),
            (&[1, 2], &[1, 2, 3, 4], State::Ahead, 0, 2),
            (&[2, 3], &[1, 2, 3], State::Missing, 0, 1),
            (&[1, 3], &[1, 2, 3], State::Missing, 0, 1),
            (&[1, 2, 3], &[1, 3], State::Missing, 1, 1),
            (&[1, 3], &[1], State::Missing, 1, 1),
            (&[5, 6], &[], State::Pending, 2, 0),
            (&[20_260_101, 20_260_305], &[20_260_101], State::Pending, 1, 0),
        ];
        for (shipped, applied, state, pending, problems) in cases {
            let found = compare(&files(shipped), &rows(applied));
            assert_eq!(found.state, *state, "{shipped:?} {applied:?}");
            assert_eq!(found.pending.len(), *pending, "{shipped:?} {applied:?}");
            assert_eq!(found.problems.len(), *problems, "{shipped:?} {applied:?} {found:?}");
        }
    }

    #[test]
    fn an_edited_migration_is_divergent() {
        let found = compare(&[file(1, "select 1"), file(2, "x")], &[row(1, "select 2")]);
        assert_eq!(found.state, State::Divergent);
        assert_eq!(found.problems[0].what, "migration 0001_x was changed after it was applied");
    }

    #[test]
    fn a_gap_in_the_numbers_is_an_error_not_a_skip() {
        let found = compare(&files(&[1, 2, 4]), &rows(&[1]));
        assert_eq!(found.problems[0].kind, ProblemKind::Gap);
        assert_eq!(found.problems[0].version, "0003");
        assert_eq!(
            found.problems[0].what,
            "gap: the package ships migrations 0002 and 0004, but none with number 0003"
        );
    }

    #[test]
    fn a_migration_left_in_the_middle_is_indeterminate() {
        let mut begun = row(1, "select 1");
        begun.state = RowState::Started;
        let found = compare(&files(&[1]), &[begun]);
        assert_eq!(found.state, State::Divergent);
        assert_eq!(found.problems[0].kind, ProblemKind::Indeterminate);
        assert_eq!(found.applied, 0);
        assert!(found.pending.is_empty());
    }

    #[test]
    fn a_pending_file_that_cannot_run_is_named_before_anything_runs() {
        let found = compare(&[file(1, "select 1;\ncommit;")], &[]);
        assert_eq!(found.state, State::Pending);
        assert_eq!(found.problems[0].kind, ProblemKind::Unrunnable);
        assert_eq!(found.problems[0].detail, "line 2 of /m/0001_x.sql");
        // What is applied already is never looked at: it will not run again.
        assert!(compare(&[file(1, "commit")], &[row(1, "commit")]).problems.is_empty());
    }

    #[test]
    fn outside_a_transaction_a_file_may_have_whole_ones_of_its_own() {
        let mut own = file(1, "vacuum; begin; select 1; commit; vacuum");
        assert_eq!(compare(&[own.clone()], &[]).problems[0].kind, ProblemKind::Unrunnable);
        own.transactional = false;
        assert!(compare(&[own.clone()], &[]).problems.is_empty());
        own.text = Text::Held("vacuum; begin; select 1".into());
        assert_eq!(compare(&[own], &[]).problems[0].kind, ProblemKind::Unrunnable);
    }

    #[test]
    fn the_width_of_a_number_does_not_make_another_migration() {
        let mut narrow = row(7, "select 1");
        narrow.version = "7".into();
        assert_eq!(compare(&files(&[7]), &[narrow]).state, State::Current);
    }

    proptest! {
        #[test]
        fn pending_and_applied_never_overlap_and_problems_never_hide(
            shipped in prop::collection::btree_set(1_u64..30, 0..20),
            applied in prop::collection::btree_set(1_u64..30, 0..20),
            edited in 1_u64..30,
        ) {
            let shipped_files = files(&shipped.iter().copied().collect::<Vec<_>>());
            let mut applied_rows = rows(&applied.iter().copied().collect::<Vec<_>>());
            for row in &mut applied_rows {
                if row.key == Key::Number(edited) {
                    row.checksum = Some("0".repeat(64).into());
                }
            }
            let found = compare(&shipped_files, &applied_rows);
            for pending in &found.pending {
                let number: u64 = pending.version.parse().unwrap();
                prop_assert!(shipped.contains(&number) && !applied.contains(&number));
            }
            let clean = matches!(found.state, State::Current | State::Pending);
            prop_assert_eq!(clean, found.problems.is_empty());
            // Every applied migration that is not shipped, or edited, is named.
            for number in &applied {
                let wrong = !shipped.contains(number) || *number == edited;
                let version = format!("{number:04}");
                let named = found.problems.iter().any(|p| {
                    p.version == version && p.kind != ProblemKind::Gap
                });
                prop_assert_eq!(wrong, named, "{}", version);
            }
        }
    }
}

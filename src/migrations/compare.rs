//! Applied against shipped: a pure comparison of two sets with checksums.

use std::collections::BTreeMap;

use super::history::{AppliedRow, RowState};
use super::script::{place_of_byte, scan};
use super::{Comparison, Migration, Pending, Problem, ProblemKind, State};

/// Numbers with this many digits are dates; a hole between two dates is no gap.
const DATE_DIGITS: usize = 8;

/// Compares what a package ships with what the history table has.
pub fn compare(shipped: &[Migration], applied: &[AppliedRow]) -> Comparison {
    let files: BTreeMap<u64, &Migration> = shipped.iter().map(|m| (m.number, m)).collect();
    let rows: BTreeMap<u64, &AppliedRow> = applied.iter().map(|row| (row.number(), row)).collect();
    let head = files.last_key_value().map(|(number, _)| *number);
    let last = rows.last_key_value().map(|(number, _)| *number);
    let mut problems = Vec::new();
    for (number, row) in &rows {
        problems.extend(check_row(row, files.get(number).copied(), head));
    }
    problems.extend(gaps_in_package(&files, &rows));
    let mut pending = Vec::new();
    for (number, file) in &files {
        if rows.contains_key(number) {
            continue;
        }
        if let Some(newest) = last.filter(|newest| number < newest) {
            problems.push(gap_in_history(file, rows[&newest]));
        }
        problems.extend(check_text(file));
        pending.push(Pending {
            version: file.version.clone(),
            name: file.name.clone(),
            transactional: file.transactional,
        });
    }
    Comparison {
        state: state(&problems, &pending),
        current: rows.values().next_back().map(|row| row.version.clone()),
        head: files.values().next_back().map(|file| file.version.clone()),
        applied: rows.values().filter(|row| row.state == RowState::Applied).count(),
        pending,
        problems,
    }
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

fn check_row(row: &AppliedRow, file: Option<&Migration>, head: Option<u64>) -> Option<Problem> {
    let label = row.label();
    if row.state == RowState::Started {
        return Some(Problem {
            kind: ProblemKind::Indeterminate,
            version: row.version.clone(),
            what: format!(
                "migration {label} was begun outside a transaction and its end is not known"
            ),
            detail: format!(
                "begun {}; if it took no effect, remove what it left and run `delete from {} where \
                 version = '{}'` in the database",
                row.applied_at,
                super::TABLE,
                row.version
            ),
            hint: format!(
                "If it took effect, run `openwatch migrate --mark-applied {}`.",
                row.version
            ),
        });
    }
    let Some(file) = file else {
        return Some(unshipped(row, head));
    };
    (file.checksum != row.checksum).then(|| Problem {
        kind: ProblemKind::Divergent,
        version: row.version.clone(),
        what: format!("migration {label} was changed after it was applied"),
        detail: format!(
            "the history table has SHA-256 {}…, the file {}…; applied {} by version {}",
            short(&row.checksum),
            short(&file.checksum),
            row.applied_at,
            row.product_version
        ),
        hint: format!(
            "Reinstall the package; if the change is meant and needs no run, \
             run `openwatch migrate --mark-applied {}`.",
            row.version
        ),
    })
}

fn unshipped(row: &AppliedRow, head: Option<u64>) -> Problem {
    let label = row.label();
    let by = format!("applied {} by version {}", row.applied_at, row.product_version);
    if head.is_some_and(|head| row.number() < head) {
        return Problem {
            kind: ProblemKind::Missing,
            version: row.version.clone(),
            what: format!("migration {label} was applied, but this package does not ship it"),
            detail: by,
            hint: "Install a package that ships it, or report this to who made the package.".into(),
        };
    }
    Problem {
        kind: ProblemKind::Ahead,
        version: row.version.clone(),
        what: format!("the schema is ahead: migration {label} is newer than this package"),
        detail: by,
        hint: format!(
            "Install version {} or newer again, or put the data back with `openwatch restore latest`.",
            row.product_version
        ),
    }
}

fn gaps_in_package(
    files: &BTreeMap<u64, &Migration>,
    rows: &BTreeMap<u64, &AppliedRow>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for ((low, before), (high, after)) in files.iter().zip(files.iter().skip(1)) {
        let dates = before.version.len() >= DATE_DIGITS || after.version.len() >= DATE_DIGITS;
        // Numbers of applied migrations are reported as missing, by name.
        let hole = (low + 1..*high).take(1000).find(|number| !rows.contains_key(number));
        if let Some(number) = hole.filter(|_| !dates) {
            let version = format!("{number:0width$}", width = before.version.len());
            problems.push(Problem {
                kind: ProblemKind::Gap,
                what: format!(
                    "gap: the package ships migrations {} and {}, but none with number {version}",
                    before.version, after.version
                ),
                version,
                detail: format!("{} and {}", before.file.display(), after.file.display()),
                hint: "Reinstall the package, or report this to who made it.".into(),
            });
        }
    }
    problems
}

fn gap_in_history(file: &Migration, newest: &AppliedRow) -> Problem {
    Problem {
        kind: ProblemKind::Gap,
        version: file.version.clone(),
        what: format!(
            "gap: migration {} was never applied, although {} was",
            file.label(),
            newest.label()
        ),
        detail: format!("the database went past it with version {}", newest.product_version),
        hint: format!(
            "If its effect is there, run `openwatch migrate --mark-applied {}`; \
             else report this to who made the package.",
            file.version
        ),
    }
}

fn check_text(file: &Migration) -> Option<Problem> {
    let script = scan(&file.sql);
    let problem = |what: String, detail: String, hint: &str| Problem {
        kind: ProblemKind::Unrunnable,
        version: file.version.clone(),
        what: format!("migration {} {what}", file.label()),
        detail,
        hint: hint.into(),
    };
    if let Some((at, what)) = script.obstacle {
        let place = place_of_byte(&file.sql, at);
        let detail = format!("line {} of {}", place.line, file.file.display());
        return Some(problem(
            format!("contains {what}, which cannot run here"),
            detail,
            "Report this to who made the package: a migration is plain SQL without transactions.",
        ));
    }
    (!file.transactional && script.statements.len() != 1).then(|| {
        problem(
            format!("runs outside a transaction and has {} statements", script.statements.len()),
            format!("exactly one is allowed; {}", file.file.display()),
            "Report this to who made the package: each such statement needs a file of its own.",
        )
    })
}

fn short(checksum: &str) -> &str {
    checksum.get(..12).unwrap_or(checksum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(number: u64, sql: &str) -> Migration {
        Migration {
            version: format!("{number:04}"),
            name: "x".into(),
            number,
            file: format!("/m/{number:04}_x.sql").into(),
            sql: sql.into(),
            checksum: super::super::checksum(sql),
            transactional: true,
        }
    }

    fn row(number: u64, sql: &str) -> AppliedRow {
        AppliedRow {
            version: format!("{number:04}"),
            name: "x".into(),
            checksum: super::super::checksum(sql),
            state: RowState::Applied,
            applied_at: "2026-01-01 00:00:00+00".into(),
            product_version: "1.0".into(),
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
    fn one_statement_at_most_runs_outside_a_transaction() {
        let mut two = file(1, "vacuum; vacuum");
        two.transactional = false;
        assert_eq!(compare(&[two.clone()], &[]).problems[0].kind, ProblemKind::Unrunnable);
        two.sql = "vacuum;".into();
        assert!(compare(&[two], &[]).problems.is_empty());
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
                if row.number() == edited {
                    row.checksum = "0".repeat(64);
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

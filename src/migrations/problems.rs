//! What is wrong between history and files, each with its facts and the way out.

use super::chain::Chain;
use super::compare::{ByKey, is_other};
use super::formats::Gaps;
use super::history::{AppliedRow, RowState};
use super::script::place_of_byte;
use super::{Key, Migration, Problem, ProblemKind};
use crate::error::{Error, Result};

/// Looks at one row and the file that it is about.
pub(super) fn check_row(
    chain: &Chain,
    row: &AppliedRow,
    file: Option<&Migration>,
    head: Option<&Key>,
) -> Option<Problem> {
    if row.state == RowState::Started {
        return Some(indeterminate(chain, row));
    }
    let Some(file) = file else {
        let meant = chain.is_removed(&row.key, &row.version);
        return (!meant).then(|| unshipped(chain, row, head));
    };
    let repeatable = matches!(file.key, Key::Repeatable(_));
    (!repeatable && is_other(chain, file, row)).then(|| Problem {
        kind: ProblemKind::Divergent,
        by: None,
        version: row.version.to_string(),
        what: format!("migration {} was changed after it was applied", row.label()),
        detail: format!(
            "the history table has checksum {}, the file {}; {}",
            short(row.checksum.as_deref()),
            short(file.checksum.as_deref()),
            row.provenance(chain)
        ),
        hint: format!(
            "Reinstall the package; if the change is meant and needs no run, \
             run `openwatch migrate --mark-applied {}`.",
            row.version
        ),
    })
}

fn indeterminate(chain: &Chain, row: &AppliedRow) -> Problem {
    Problem {
        kind: ProblemKind::Indeterminate,
        by: None,
        version: row.version.to_string(),
        what: format!("migration {} {}", row.label(), chain.tool.begun()),
        detail: format!(
            "begun {}; if it took no effect, remove what it left and run `openwatch migrate repair {}`",
            row.applied_at.as_deref().unwrap_or("at an unknown time"),
            row.version
        ),
        hint: format!("If it took effect, run `openwatch migrate --mark-applied {}`.", row.version),
    }
}

fn unshipped(chain: &Chain, row: &AppliedRow, head: Option<&Key>) -> Problem {
    let label = row.label();
    let by = row.provenance(chain);
    let repeatable = matches!(row.key, Key::Repeatable(_));
    if repeatable || head.is_some_and(|head| row.key < *head) {
        return Problem {
            kind: ProblemKind::Missing,
            by: None,
            version: row.version.to_string(),
            what: format!("migration {label} was applied, but this package does not ship it"),
            detail: by,
            hint: "Install a package that ships it, or report this to who made the package.".into(),
        };
    }
    let newer = match &row.product_version {
        Some(version) => format!("version {version} or newer"),
        None => "the newer version".to_owned(),
    };
    Problem {
        kind: ProblemKind::Ahead,
        by: row.product_version.clone(),
        version: row.version.to_string(),
        what: format!("the schema is ahead: migration {label} is newer than this package"),
        detail: by,
        hint: format!(
            "Install {newer} again, or put the data back with `openwatch restore latest`."
        ),
    }
}

/// Finds numbers that no file has.
pub(super) fn gaps_in_package(chain: &Chain, rows: &ByKey<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for pair in chain.migrations.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        let (Key::Number(low), Key::Number(high)) = (&before.key, &after.key) else { continue };
        if chain.tool.gaps(&before.version, &after.version) == Gaps::Allowed {
            continue;
        }
        // Numbers of applied migrations are reported as missing, by name.
        let known = |key: Key, number: u64| {
            rows.get(&key).is_some() || chain.is_removed(&key, &number.to_string())
        };
        let hole = (low + 1..*high).take(1000).find(|number| !known(Key::Number(*number), *number));
        if let Some(number) = hole {
            let version = format!("{number:0width$}", width = before.version.len());
            let (first, second) = (chain.path(before), chain.path(after));
            problems.push(Problem {
                kind: ProblemKind::Gap,
                by: None,
                what: format!(
                    "gap: the package ships migrations {} and {}, but none with number {version}",
                    before.version, after.version
                ),
                version,
                detail: format!("{} and {}", first.display(), second.display()),
                hint: "Reinstall the package, or report this to who made it.".into(),
            });
        }
    }
    problems
}

/// A file that the history went past.
pub(super) fn gap_in_history(file: &Migration, newest: &AppliedRow) -> Problem {
    let by = newest.product_version.as_ref().map_or_else(
        || format!("the newest applied one is {}", newest.label()),
        |version| format!("the database went past it with version {version}"),
    );
    Problem {
        kind: ProblemKind::Gap,
        by: None,
        version: file.version.to_string(),
        what: format!(
            "gap: migration {} was never applied, although {} was",
            file.label(),
            newest.label()
        ),
        detail: by,
        hint: format!(
            "If its effect is there, run `openwatch migrate --mark-applied {}`; \
             else report this to who made the package.",
            file.version
        ),
    }
}

/// Finds what in a pending file cannot run here, before anything runs; a text is judged once.
pub(super) fn check_text(chain: &Chain, file: &Migration) -> Option<Problem> {
    if let Some(judged) = file.judged.get() {
        return judged.as_deref().cloned();
    }
    match judge(chain, file) {
        Ok(judged) => file.judged.get_or_init(|| judged.map(Box::new)).as_deref().cloned(),
        Err(error) => Some(unreadable(ProblemKind::Unrunnable, file, &error)),
    }
}

fn judge(chain: &Chain, file: &Migration) -> Result<Option<Problem>> {
    let unrunnable = |what: String, detail: String, hint: &str| Problem {
        kind: ProblemKind::Unrunnable,
        by: None,
        version: file.version.to_string(),
        what,
        detail,
        hint: hint.into(),
    };
    let path = chain.path(file);
    if let Some(obstacle) = &file.obstacle {
        let what = format!("migration {} {obstacle}", file.label());
        let hint = "Report this to who made the package.";
        return Ok(Some(unrunnable(what, path.display().to_string(), hint)));
    }
    let sql = chain.sql(file)?;
    Ok(chain.script(file, &sql).obstacle.map(|(at, what)| {
        let line = place_of_byte(&sql, at).line;
        unrunnable(
            format!("migration {} contains {what}, which cannot run here", file.label()),
            format!("line {line} of {}", path.display()),
            "Report this to who made the package: a migration is plain SQL without transactions.",
        )
    }))
}

/// A file that cannot be read again, or changed since it was looked at.
pub(super) fn unreadable(kind: ProblemKind, file: &Migration, error: &Error) -> Problem {
    Problem {
        kind,
        by: None,
        version: file.version.to_string(),
        what: error.message(),
        detail: error.details().join("; "),
        hint: error.hint_line().unwrap_or_default().to_owned(),
    }
}

fn short(checksum: Option<&str>) -> String {
    match checksum {
        Some(long) if long.len() > 20 => format!("{}…", long.get(..12).unwrap_or(long)),
        Some(all) => all.to_owned(),
        None => "none".to_owned(),
    }
}

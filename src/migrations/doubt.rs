//! Why a migration under way does not go on by itself, and the exact ways out.

use smol_str::SmolStr;

use super::alone::underway::{self, Course, File, Underway};
use super::chain::Chain;
use super::history::Table;
use super::problems::unreadable;
use super::script::{head, place_of_byte};
use super::{Problem, ProblemKind};
use crate::database::{ServerProcess, Session, SqlError};

/// What the marks of a migration under way say; by default there is none.
#[derive(Default)]
pub(super) struct Doubt {
    /// The version that is under way.
    pub(super) version: Option<SmolStr>,
    /// Why it does not go on by itself, if it does not.
    pub(super) problem: Option<Problem>,
    /// The server's side of the run that was cut off, where it still works.
    pub(super) orphan: Option<ServerProcess>,
}

/// Looks how a migration under way goes on.
pub(super) fn look(
    session: &mut Session,
    chain: &Chain,
    table: &Table,
    found: &Underway,
) -> Result<Doubt, SqlError> {
    let version = &found.row.version;
    let Some(migration) = chain.migrations.iter().find(|m| m.version == *version) else {
        let problem = Some(unshipped(found));
        return Ok(Doubt { version: Some(version.clone()), problem, orphan: None });
    };
    let mut orphan = None;
    let file = match File::read(chain, migration) {
        Ok(file) => file,
        Err(error) => {
            let problem = unreadable(ProblemKind::Indeterminate, migration, &error);
            return Ok(Doubt { version: Some(version.clone()), problem: Some(problem), orphan });
        }
    };
    let course = found.course(session, &file, None)?;
    if let Course::AtWork { process, .. } = &course {
        orphan = Some(process.clone());
    }
    let problem = problem(chain, table, found, &file, &course);
    Ok(Doubt { version: Some(version.clone()), problem, orphan })
}

fn unshipped(found: &Underway) -> Problem {
    let version = &found.row.version;
    Problem {
        kind: ProblemKind::Missing,
        by: None,
        version: version.to_string(),
        what: format!(
            "migration {version} was begun outside a transaction, and this package does not ship it"
        ),
        detail: begun(found),
        hint:
            "Install a package that ships it, or put the data back with `openwatch restore latest`."
                .into(),
    }
}

fn problem(
    chain: &Chain,
    table: &Table,
    found: &Underway,
    file: &File<'_>,
    course: &Course,
) -> Option<Problem> {
    let label = file.migration.label();
    let version = &file.migration.version;
    let (kind, statement, what, hint) = match course {
        Course::GoOn { .. } | Course::Settle { .. } => return None,
        Course::AtWork { statement, process } => (
            ProblemKind::Indeterminate,
            statement,
            format!("statement {statement} of migration {label} is still at work on the server"),
            format!("Wait for it, or end it with `select pg_terminate_backend({})`.", process.pid),
        ),
        Course::Edited { statement } => (
            ProblemKind::Divergent,
            statement,
            format!("statement {statement} of migration {label} was changed after it ran"),
            format!(
                "Install the package that began it; if all of it took effect by now, \
                 run `openwatch migrate --mark-applied {version}`."
            ),
        ),
        Course::Forgotten { statement } => (
            ProblemKind::Indeterminate,
            statement,
            format!(
                "migration {label} was cut off, and what its statement {statement} made is gone"
            ),
            format!(
                "Put the data back with `openwatch restore latest`, or run the rest by hand and \
                 then `openwatch migrate --mark-applied {version}`."
            ),
        ),
        Course::Unknown { statement } => (
            ProblemKind::Indeterminate,
            statement,
            format!(
                "migration {label} was cut off at statement {statement}, \
                 and whether that took effect is not known"
            ),
            format!(
                "If it took effect, run `{}` in the database; if not, `{}`; then run this again. \
                 If all of the migration took effect, run `openwatch migrate --mark-applied {version}`.",
                underway::done_sql(table, *statement).replace('"', ""),
                underway::undone_sql(table, *statement).replace('"', ""),
            ),
        ),
    };
    Some(Problem {
        kind,
        by: None,
        version: version.to_string(),
        what,
        detail: format!("{}; {}", at(chain, file, *statement), begun(found)),
        hint,
    })
}

/// Where a statement is and how it begins.
fn at(chain: &Chain, file: &File<'_>, statement: usize) -> String {
    let path = chain.path(file.migration);
    let name = path.display();
    let Some(range) = file.script.statements.get(statement - 1) else {
        return format!("{name} has {} statements", file.statements());
    };
    let place = place_of_byte(&file.sql, range.start);
    format!("line {} of {name}, {}", place.line, head(&file.sql[range.clone()]))
}

fn begun(found: &Underway) -> String {
    format!(
        "begun {} by version {}",
        found.row.applied_at.as_deref().unwrap_or("at an unknown time"),
        found.row.product_version.as_deref().unwrap_or("unknown")
    )
}

//! Correcting a history by hand: what will be written is known, and shown, before it is.
//!
//! A correction is planned from one look and carried out in one transaction, under the lock of the
//! database and those of the tool that owns the history.

mod audit;
mod correction;

use std::time::Duration;

use super::alone::underway;
use super::chain::Chain;
use super::compare::is_other;
use super::formats::LockGround;
use super::history::{AppliedRow, Evidence, Origin, RowState, Run, Table, label};
use super::look::{Seen, home, see};
use super::{Comparison, Key, Migration, ProblemKind};
use crate::database::Session;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
pub use correction::{Action, Signature, Write};

/// What will be written.
#[derive(Clone, Debug)]
pub struct Correction {
    /// Each line of the history that changes; nothing is to be done where there is none.
    pub writes: Vec<Write>,
    /// Whether something is rewritten that stood there, which the audit table keeps.
    pub audited: bool,
    table: Table,
    statements: Vec<String>,
}

impl Correction {
    fn of(table: Table) -> Self {
        Self { writes: Vec::new(), audited: false, table, statements: Vec::new() }
    }

    fn note(&mut self, write: Write) {
        self.audited |= write.before.is_some();
        self.writes.push(write);
    }
}

/// Plans to record a migration as applied without running it.
///
/// Settles what is indeterminate or divergent: the row is written as the shipped file says. In a
/// database without history everything up to this migration is recorded, because an application
/// that was set up by other means has them all.
pub fn marking(
    session: &mut Session,
    chain: &Chain,
    version: &str,
    product_version: &str,
) -> Result<Correction> {
    files_only(chain)?;
    let target = shipped(chain, version)?;
    let Seen { ground, rows, begun, comparison, .. } = see(session, chain)?;
    // Without a history of its own the plan is to give it one; what is foreign stays beside it.
    refuse_foreign(comparison, ground.history.is_some())?;
    let table = home(chain, &ground)?;
    refuse_assumed(chain, target, &rows, &begun)?;
    let mut correction = Correction::of(table.clone());
    if ground.history.is_none() {
        correction.statements.push(chain.tool.create_sql(&table));
    }
    if begun.iter().any(|row| row.key == target.key) {
        correction.statements.push(underway::drop_sql(&table));
    }
    let former: Vec<&AppliedRow> =
        rows.iter().chain(&begun).filter(|row| row.key == target.key).collect();
    correction.statements.extend(former.iter().map(|row| chain.remove_sql(&table, row)));
    let marked: Vec<&Migration> = if rows.is_empty() && begun.is_empty() {
        chain.migrations.iter().filter(|m| m.key <= target.key).collect()
    } else if chain.tool.newest_only() {
        let newest = rows.iter().chain(&begun).map(|row| &row.key).max();
        let above = |m: &&Migration| m.key <= target.key && Some(&m.key) > newest;
        let above: Vec<&Migration> = chain.migrations.iter().filter(above).collect();
        if above.is_empty() { vec![target] } else { above }
    } else {
        vec![target]
    };
    record(&mut correction, chain, &marked, product_version, |table, runs, origin| {
        chain.tool.record_sql(table, runs, origin)
    });
    if let (Some(row), Some(write)) = (former.first(), correction.writes.last_mut()) {
        write.before = Some(stood(row));
        correction.audited = true;
    }
    Ok(correction)
}

/// Records a migration as applied without running it; returns the versions.
pub fn mark_applied(
    session: &mut Session,
    chain: &Chain,
    version: &str,
    product_version: &str,
) -> Result<Vec<String>> {
    let correction = marking(session, chain, version, product_version)?;
    carry_out(session, &correction, None)?;
    Ok(correction.writes.into_iter().map(|write| write.version).collect())
}

/// Plans to record everything up to a migration as applied, in a database whose tables are there and
/// whose history is not.
pub fn baseline(
    session: &mut Session,
    chain: &Chain,
    version: &str,
    product_version: &str,
) -> Result<Correction> {
    files_only(chain)?;
    let target = shipped(chain, version)?;
    if matches!(target.key, Key::Repeatable(_)) {
        return Err(Error::new(Outcome::Usage, format!("{version} is no version to begin at"))
            .detail("it is a repeatable migration, and runs after all others")
            .state("nothing was changed")
            .hint("Name the newest migration with a version that the database has."));
    }
    let Seen { ground, rows, begun, comparison, .. } = see(session, chain)?;
    let refused = |what: String| Error::new(Outcome::Refused, what).state("nothing was changed");
    if let Some(row) = rows.iter().chain(&begun).next() {
        let known = format!("it has {} rows, such as {}", rows.len() + begun.len(), row.label());
        return Err(refused("the database has a migration history already".into())
            .detail(known)
            .hint(format!(
                "Run `openwatch migrate --mark-applied {version}` for a single migration."
            )));
    }
    refuse_foreign(comparison, true)?;
    if !ground.populated {
        return Err(refused("the database is empty: nothing in it could be of a migration".into())
            .hint("Run `openwatch migrate` to apply all of them."));
    }
    if let Some(schema) = ground.elsewhere.as_ref().filter(|_| ground.history.is_none()) {
        return Err(refused(format!("schema {schema} has a migration history"))
            .detail("it is not on the search path of the connection")
            .hint(
                "Set the role's search_path, or add `options=-csearch_path=…` to the connection.",
            ));
    }
    let table = home(chain, &ground)?;
    let mut correction = Correction::of(table.clone());
    if ground.history.is_none() {
        correction.statements.push(chain.tool.create_sql(&table));
    }
    let all: Vec<&Migration> = chain.migrations.iter().filter(|m| m.key <= target.key).collect();
    record(&mut correction, chain, &all, product_version, |table, runs, origin| {
        chain.tool.baseline_sql(table, runs, origin)
    });
    Ok(correction)
}

/// Plans to make the history agree with the shipped files again: checksums of changed files become
/// those of the files, marks of what was begun go away. `only` names versions; without it all.
pub fn repair(
    session: &mut Session,
    chain: &Chain,
    only: &[String],
    product_version: &str,
) -> Result<Correction> {
    files_only(chain)?;
    let Seen { ground, rows, begun, comparison, .. } = see(session, chain)?;
    refuse_foreign(comparison, true)?;
    let table = home(chain, &ground)?;
    let mut wanted = Vec::new();
    for version in only {
        let known = chain.find(version).map(|file| file.key.clone());
        let known = known.or_else(|| {
            rows.iter().chain(&begun).find(|row| row.version == *version).map(|row| row.key.clone())
        });
        wanted.push(known.ok_or_else(|| unknown(version))?);
    }
    let mut correction = Correction::of(table.clone());
    let meant = |row: &&AppliedRow| only.is_empty() || wanted.contains(&row.key);
    for row in rows.iter().chain(&begun).filter(meant) {
        if row.state == RowState::Started {
            if correction.writes.iter().any(|write| write.version == row.version) {
                continue;
            }
            correction.statements.push(chain.forget_sql(&table, &row.version));
            correction.note(Write {
                version: row.version.to_string(),
                migration: row.label(),
                action: Action::Forget,
                before: Some("begun".to_owned()),
                after: None,
            });
            continue;
        }
        let file = chain.migrations.iter().find(|file| file.key == row.key);
        let Some(file) = file.filter(|file| !matches!(file.key, Key::Repeatable(_))) else {
            continue;
        };
        if !is_other(chain, file, row) {
            continue;
        }
        match chain.tool.repair_sql(&table, row, file) {
            Some(sql) => correction.statements.push(sql),
            None => {
                correction.statements.push(chain.tool.remove_sql(&table, row));
                let runs = [Run { migration: file, duration: Duration::ZERO }];
                let record = chain.tool.record_sql(&table, &runs, &origin(product_version));
                correction.statements.push(record);
            }
        }
        let before = row.checksum.as_ref().map(ToString::to_string);
        correction.note(Write { before, ..Write::new(file, Action::Checksum) });
    }
    Ok(correction)
}

/// Writes what was planned, in one transaction; `signed` goes with what is rewritten.
pub fn carry_out(
    session: &mut Session,
    correction: &Correction,
    signed: Option<&Signature>,
) -> Result<()> {
    if correction.writes.is_empty() {
        return Ok(());
    }
    let mut sql = format!("begin;{}", correction.statements.join(";"));
    if let Some(signed) = signed.filter(|_| correction.audited) {
        sql.push(';');
        sql.push_str(&audit::note_sql(&correction.table, &correction.writes, signed));
    }
    sql.push_str(";commit");
    session.run(&sql).map_err(|error| {
        Error::failed(format!("cannot write to the migration history {}", correction.table.name))
            .source(error)
            .state("nothing was changed")
    })
}

/// Returns the advisory locks that the tool takes while it migrates; see [`crate::database::DatabaseLock::also`].
pub fn tool_locks(session: &mut Session, chain: &Chain) -> Result<Vec<i64>> {
    let seen = see(session, chain)?;
    let table = home(chain, &seen.ground)?;
    Ok(chain.tool.lock_keys(LockGround { dbname: &seen.ground.dbname, table: &table }))
}

fn record(
    correction: &mut Correction,
    chain: &Chain,
    marked: &[&Migration],
    product_version: &str,
    sql: impl Fn(&Table, &[Run<'_>], &Origin) -> String,
) {
    let runs: Vec<Run<'_>> =
        marked.iter().map(|migration| Run { migration, duration: Duration::ZERO }).collect();
    let statement = sql(&correction.table, &runs, &origin(product_version));
    correction.statements.push(statement);
    let last = marked.len().saturating_sub(1);
    for (at, migration) in marked.iter().enumerate() {
        let assumed = chain.tool.newest_only() && at < last;
        let action = if assumed { Action::Assume } else { Action::Record };
        correction.note(Write::new(migration, action));
    }
}

fn origin(product_version: &str) -> Origin {
    Origin { product_version: product_version.to_owned(), restore_point: None }
}

fn stood(row: &AppliedRow) -> String {
    match (row.state, &row.checksum) {
        (RowState::Started, _) => "begun".to_owned(),
        (RowState::Applied, Some(checksum)) => checksum.to_string(),
        (RowState::Applied, None) => "applied".to_owned(),
    }
}

/// A tool that keeps one row can neither record what lies below it, nor leave out what is unfinished.
fn refuse_assumed(
    chain: &Chain,
    target: &Migration,
    rows: &[AppliedRow],
    begun: &[AppliedRow],
) -> Result<()> {
    if !chain.tool.newest_only() {
        return Ok(());
    }
    let all = || rows.iter().chain(begun);
    if let Some(row) = all().find(|r| r.state == RowState::Started && r.key != target.key) {
        let (version, named) = (&row.version, label(&row.version, &row.name));
        return Err(Error::new(
            Outcome::Refused,
            format!("migration {named} {}", chain.tool.begun()),
        )
        .state("nothing was changed")
        .hint(format!(
            "If it took effect, run `openwatch migrate --mark-applied {version}` first; \
             else `openwatch migrate repair {version}`."
        )));
    }
    let newest = all().filter(|row| row.evidence == Evidence::Recorded).max_by_key(|row| &row.key);
    match newest.filter(|newest| target.key < newest.key) {
        None => Ok(()),
        Some(newest) => Err(Error::new(
            Outcome::Refused,
            format!("migration {} counts as applied already", target.label()),
        )
        .detail(format!(
            "{} records only the newest version, which is {}",
            chain.format().word(),
            newest.version
        ))
        .state("nothing was changed")),
    }
}

/// A history of another tool is not ours to write into, nor to write beside.
fn refuse_foreign(comparison: Comparison, counts: bool) -> Result<()> {
    let is_foreign = |problem: &super::Problem| problem.kind == ProblemKind::Foreign;
    match comparison.problems.into_iter().find(is_foreign).filter(|_| counts) {
        None => Ok(()),
        Some(problem) => Err(Error::new(Outcome::Refused, &problem.what)
            .detail(&problem.detail)
            .state("nothing was changed")
            .hint(&problem.hint)),
    }
}

/// A command of the application keeps a history that only it may write.
fn files_only(chain: &Chain) -> Result<()> {
    chain.command.as_ref().map_or(Ok(()), |command| Err(command.history_is_its_own()))
}

fn shipped<'c>(chain: &'c Chain, version: &str) -> Result<&'c Migration> {
    chain.find(version).ok_or_else(|| unknown(version))
}

fn unknown(version: &str) -> Error {
    Error::new(Outcome::Usage, format!("there is no migration {version}"))
        .state("nothing was changed")
        .hint("List them with `openwatch migrate --status`.")
}

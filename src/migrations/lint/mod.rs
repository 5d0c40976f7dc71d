//! What a release would do to the databases of operators, read from the files alone.
//!
//! The statements are taken apart by squawk's parser of PostgreSQL's grammar; the rules are ours,
//! because they have to know what the engine does: all pending files in one transaction, a restore
//! point before it, and a dump by the same role after it. No database is asked.

mod alter;
mod dump;
mod ignore;
mod known;
mod literal;
mod rule;
mod statement;
mod tree;
mod types;

use std::ops::Range;
use std::path::PathBuf;

use serde::Serialize;
use squawk_syntax::SourceFile;
use squawk_syntax::ast::AstNode as _;

pub use rule::{About, Level, Rule};

use self::ignore::Ignores;
use self::known::Known;
use self::statement::{Looker, Raw, RawLock};
use super::script;
use super::{Chain, Migration};
use crate::error::Result;

/// How long a lock is held, in kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cost {
    /// Only the catalogue changes.
    Instant,
    /// Every row is read.
    Scan,
    /// Every row is written anew.
    Rewrite,
}

impl Cost {
    /// Returns the word used in JSON and on the terminal.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::Scan => "scan",
            Self::Rewrite => "rewrite",
        }
    }
}

/// One thing that a packager should know before the release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// The file.
    pub file: PathBuf,
    /// Line in the file, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The beginning of the statement.
    pub statement: String,
    /// What the statement does, in one line.
    pub what: String,
}

/// A lock on a table that is there before the migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lock {
    /// The file.
    pub file: PathBuf,
    /// Line in the file, from 1.
    pub line: usize,
    /// The table.
    pub table: String,
    /// The mode, as the manual of PostgreSQL names it.
    pub mode: &'static str,
    /// How long it is held, in kind; in one transaction all are held until its end.
    pub cost: Cost,
}

/// What was found in all files.
#[derive(Debug, Default)]
pub struct Report {
    /// How many migrations were looked at.
    pub migrations: usize,
    /// In the order of files and lines.
    pub findings: Vec<Finding>,
    /// In the order of files and lines.
    pub locks: Vec<Lock>,
    /// How many findings a comment hid.
    pub ignored: usize,
}

impl Report {
    /// Returns how many findings have this weight.
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.rule.about().level == level).count()
    }
}

/// Looks at migrations in their order.
///
/// The first `applied` ones are taken as applied everywhere: they are read, because later ones build
/// on them, and nothing is reported about them. What follows is then one step, in which a table that
/// an earlier file makes is as empty as one of the same file. With 0 every file is a step of its own,
/// because nobody knows which release a machine comes from.
pub fn lint(chain: &Chain, applied: usize) -> Result<Report> {
    let mut known = Known::default();
    let mut report = Report::default();
    for (at, migration) in chain.migrations.iter().enumerate() {
        let first_of_step = at == applied;
        known.next_file(applied > 0 && at > applied);
        if first_of_step {
            known.forget_values();
        }
        let file = File { migration, path: chain.path(migration), text: &chain.sql(migration)? };
        let looked = look(&file, &mut known);
        if at >= applied {
            report.migrations += 1;
            report.findings.extend(looked.findings);
            report.locks.extend(looked.locks);
            report.ignored += looked.ignored;
        }
    }
    Ok(report)
}

/// One migration while it is looked at.
struct File<'a> {
    migration: &'a Migration,
    path: PathBuf,
    text: &'a str,
}

fn look(file: &File<'_>, known: &mut Known) -> Report {
    let File { migration, path, text } = file;
    let parsed = SourceFile::parse(text);
    let nodes: Vec<_> = parsed.tree().stmts().map(|s| s.syntax().clone()).collect();
    let statements: Vec<Range<usize>> = nodes.iter().map(tree::range).collect();
    let ignores = Ignores::read(&parsed.syntax_node(), text, &statements);
    let mut looker = Looker {
        known,
        label: migration.label(),
        transactional: migration.transactional,
        found: Vec::new(),
        locks: Vec::new(),
        statement: 0..0,
        at: 0,
        inside_do: false,
    };
    if !migration.transactional {
        looker.statement = statements.first().cloned().unwrap_or(0..0);
        looker.at = looker.statement.start;
        looker.report(Rule::OutsideTransaction, "runs outside a transaction");
    }
    for (node, range) in nodes.iter().zip(&statements) {
        looker.statement = range.clone();
        looker.at = range.start;
        looker.look(node);
    }
    let (mut found, locks) = (looker.found, looker.locks);
    let errors: Vec<_> = parsed
        .errors()
        .iter()
        .map(|e| (usize::from(e.range().start()), e.message().to_owned()))
        .collect();
    found.extend(unreadable(text, &errors, &statements));
    let mut report = Report::default();
    let mut keep: Vec<Raw> = Vec::new();
    for raw in found {
        if ignores.hide(raw.rule, &raw.statement) {
            report.ignored += 1;
        } else {
            keep.push(raw);
        }
    }
    let about =
        |rule: Rule, at: usize, what: &str| Raw { rule, at, what: what.into(), statement: at..at };
    keep.extend(ignores.wrong.iter().map(|(at, rule, what)| about(*rule, *at, what)));
    keep.extend(ignores.unused().map(|(at, what)| about(Rule::UnusedIgnore, at, &what)));
    keep.sort_by_key(|raw| raw.at);
    report.findings = keep.into_iter().map(|raw| finding(file, raw)).collect();
    report.findings.dedup();
    let lock = |raw: RawLock| Lock {
        file: path.clone(),
        line: script::place_of_byte(text, raw.at).line,
        table: raw.table,
        mode: raw.mode,
        cost: raw.cost,
    };
    report.locks = locks.into_iter().map(lock).collect();
    report.locks.dedup();
    report
}

fn finding(File { path, text, .. }: &File<'_>, raw: Raw) -> Finding {
    let place = script::place_of_byte(text, raw.at);
    let rest = text.get(raw.at..).unwrap_or_default();
    let statement = match text.get(raw.statement) {
        Some(statement) if !statement.is_empty() => statement,
        _ => rest.lines().next().unwrap_or_default(),
    };
    Finding {
        rule: raw.rule,
        file: path.clone(),
        line: place.line,
        column: place.column,
        statement: script::head(statement),
        what: raw.what,
    }
}

/// Says what was not understood: a command of psql, and each statement that is no SQL of ours.
fn unreadable(text: &str, errors: &[(usize, String)], statements: &[Range<usize>]) -> Vec<Raw> {
    let mut found = Vec::new();
    let mut until = text.len();
    if let Some((at, what)) = script::scan(text).obstacle {
        // What follows it is data, or belongs to another program.
        until = at;
        if text[at..].starts_with('\\') {
            found.push(Raw { rule: Rule::PsqlCommand, at, what, statement: at..at });
        }
    }
    let mut told: Option<Range<usize>> = None;
    for (at, message) in errors.iter().filter(|(at, _)| *at < until) {
        let around = statements.iter().find(|range| range.start <= *at && *at <= range.end);
        let statement = around.cloned().unwrap_or(*at..*at);
        // One mistake makes the parser stumble several times.
        if told.as_ref() != Some(&statement) {
            found.push(Raw {
                rule: Rule::Unreadable,
                at: *at,
                what: message.clone(),
                statement: statement.clone(),
            });
            told = Some(statement);
        }
    }
    found
}

//! `openwatch migrate lint`: what a release would do to the databases of operators.

use std::path::Path;

use serde_json::{Value, json};

use crate::config::{Config, FilesSpec, Format, MigrationsSpec};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::migrations::lint::{Finding, Level, Lock, Report, lint};
use crate::migrations::{self, Chain};
use crate::outcome::Outcome;
use crate::upgrade::looked_into;

use super::Reply;

/// Looks at the migrations of a directory.
pub fn directory(dir: &Path, format: &str, since: Option<&str>) -> Result<Reply> {
    let Some(format) = Format::ALL.iter().copied().find(|known| known.word() == format) else {
        let words: Vec<&str> = Format::ALL.iter().map(|known| known.word()).collect();
        return Err(Error::new(Outcome::Usage, format!("there is no format {format}"))
            .detail(format!("known are {}", words.join(", ")))
            .state("nothing was changed"));
    };
    let chain = migrations::load(&MigrationsSpec::Files(FilesSpec::new(format, dir)))?;
    Ok(reply(&[(String::new(), look(&chain, since)?)]))
}

/// Looks at the migrations of the installed package.
pub fn installed(
    layout: &Layout,
    operator_file: Option<&Path>,
    since: Option<&str>,
) -> Result<Reply> {
    let config = Config::load(layout, operator_file)?;
    let chains = config.databases.iter().map(|database| {
        Ok((database.name.clone(), look(&migrations::load(&database.migrations)?, since)?))
    });
    Ok(reply(&chains.collect::<Result<Vec<_>>>()?))
}

/// Looks at the migrations of a package file.
pub fn package(
    layout: &Layout,
    operator_file: Option<&Path>,
    file: &Path,
    since: Option<&str>,
) -> Result<Reply> {
    let chains = looked_into::migrations_of(layout, operator_file, file)?;
    let reports = chains.into_iter().map(|(name, chain)| Ok((name, look(&chain, since)?)));
    let mut reply = reply(&reports.collect::<Result<Vec<_>>>()?);
    reply.json["package_file"] = file.display().to_string().into();
    Ok(reply)
}

fn look(chain: &Chain, since: Option<&str>) -> Result<Report> {
    let shipped = &chain.migrations;
    let Some(version) = since else { return lint(chain, 0) };
    let found = chain.find(version);
    let at = found.and_then(|found| shipped.iter().position(|m| m.key == found.key));
    let at = at.ok_or_else(|| {
        let last = shipped.last().map_or("none", |m| m.version.as_str());
        Error::new(Outcome::Usage, format!("there is no migration {version}"))
            .detail(format!("the last one is {last}"))
            .state("nothing was changed")
    })?;
    lint(chain, at + 1)
}

fn reply(reports: &[(String, Report)]) -> Reply {
    let sum = |of: &dyn Fn(&Report) -> usize| reports.iter().map(|(_, r)| of(r)).sum::<usize>();
    let errors = sum(&|report| report.count(Level::Error));
    let warnings = sum(&|report| report.count(Level::Warning));
    let (ignored, looked) = (sum(&|report| report.ignored), sum(&|report| report.migrations));
    let mut lines: Vec<String> = Vec::new();
    let (mut findings, mut locks) = (Vec::new(), Vec::new());
    for (database, report) in reports {
        lines.extend(report.findings.iter().map(spoken));
        lines.extend(report.locks.iter().map(lock_line));
        findings.extend(report.findings.iter().map(|f| finding_json(f, database)));
        locks.extend(report.locks.iter().map(|lock| {
            let mut json = json!(lock);
            json["file"] = lock.file.display().to_string().into();
            json["database"] = database.as_str().into();
            json
        }));
    }
    let hidden = if ignored == 0 { String::new() } else { format!(", {ignored} ignored") };
    lines.push(format!(
        "{}, {} in {}{hidden}",
        counted(errors, "error"),
        counted(warnings, "warning"),
        counted(looked, "migration")
    ));
    let json = json!({
        "migrations": looked,
        "errors": errors,
        "warnings": warnings,
        "ignored": ignored,
        "findings": findings,
        "locks": locks,
    });
    let outcome = if errors == 0 { Outcome::Ok } else { Outcome::Refused };
    Reply { outcome, text: lines.join("\n"), json }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// One finding as compilers print it, so that editors find the place.
fn spoken(finding: &Finding) -> String {
    let about = finding.rule.about();
    let Finding { file, line, column, statement, what, .. } = finding;
    format!(
        "{}:{line}:{column}: {}: {}: {what}\n  {statement}\n  why: {}\n  instead: {}",
        file.display(),
        about.level.word(),
        about.id,
        about.why,
        about.instead
    )
}

fn lock_line(lock: &Lock) -> String {
    let Lock { file, line, table, mode, cost } = lock;
    format!("{}:{line}: lock: {table} {mode} {}", file.display(), cost.word())
}

fn finding_json(finding: &Finding, database: &str) -> Value {
    let about = finding.rule.about();
    json!({
        "rule": about.id,
        "level": about.level,
        "database": database,
        "file": finding.file.display().to_string(),
        "line": finding.line,
        "column": finding.column,
        "statement": finding.statement,
        "what": finding.what,
        "why": about.why,
        "instead": about.instead,
    })
}

//! `openwatch init`: what the package of another application needs, written into a new directory.

mod recipe;

use std::io::Write as _;
use std::path::Path;

use serde_json::json;

use crate::config::{Config, Format};
use crate::error::{Context, Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::fs;

use super::Reply;
use recipe::Item;

/// What is known about the application.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// Its name.
    pub app: &'w str,
    /// Its units, in the order in which they are stopped.
    pub services: &'w [String],
    /// The variable with the connection string.
    pub database_env: &'w str,
    /// Where its migrations will be installed.
    pub migrations: &'w str,
    /// How they are named and recorded.
    pub format: &'w str,
    /// An address that answers 200 once it is up.
    pub health: Option<&'w str>,
    /// The directory to make.
    pub dir: &'w Path,
}

/// Writes the files; nothing that is there is changed.
pub fn run(wanted: &Wanted<'_>) -> Result<Reply> {
    check(wanted)?;
    let items = recipe::all(wanted);
    fs::make_new_dir(wanted.dir, 0o755).map_err(|error| {
        error
            .outcome_as(Outcome::Refused)
            .state("nothing was written")
            .hint("Name a directory that is not there yet, in one that is.")
    })?;
    for item in &items {
        write(wanted.dir, item)?;
    }
    understood(wanted)?;
    let mut lines = vec![format!("{}: {} files", wanted.dir.display(), items.len())];
    lines.extend(items.iter().map(|item| format!("  {}", item.path)));
    lines.push("README.md says where each goes".into());
    let files: Vec<&str> = items.iter().map(|item| item.path.as_str()).collect();
    Ok(Reply::ok(
        lines.join("\n"),
        json!({"dir": wanted.dir.display().to_string(), "files": files}),
    ))
}

fn check(wanted: &Wanted<'_>) -> Result<()> {
    let usage = |message: String, hint: &str| {
        Err(Error::new(Outcome::Usage, message).state("nothing was written").hint(hint))
    };
    if wanted.app == "openwatch" {
        let hint = "Name the application: `openwatch --app NAME init ...`.";
        return usage("openwatch has its packaging already".into(), hint);
    }
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let variable = wanted.database_env;
    if variable.is_empty()
        || !variable.chars().all(name)
        || variable.starts_with(|c: char| c.is_ascii_digit())
    {
        let hint = "Write letters, digits and `_`, such as `SHOP_DATABASE_URL`.";
        return usage(format!("{variable:?} is not the name of a variable"), hint);
    }
    if !wanted.migrations.starts_with('/') {
        let hint = "Name the directory on the machine that the package is installed on.";
        return usage(format!("{} is not an absolute path", wanted.migrations), hint);
    }
    let known: Vec<&str> = Format::ALL.iter().map(|format| format.word()).collect();
    if !known.contains(&wanted.format) && wanted.format != "auto" {
        let hint = format!("Take one of {}.", known.join(", "));
        return usage(format!("{:?} is not a format of migrations", wanted.format), &hint);
    }
    Ok(())
}

fn write(dir: &Path, item: &Item) -> Result<()> {
    let path = dir.join(&item.path);
    if let Some(parent) = path.parent() {
        fs::make_dir(parent, 0o755)?;
    }
    let mut file = fs::create_new(&path, item.mode).context(|| cannot(&path))?;
    file.write_all(item.text.as_bytes()).context(|| cannot(&path))
}

fn cannot(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

/// Reads what was written as an upgrade will: units and addresses are checked there.
fn understood(wanted: &Wanted<'_>) -> Result<()> {
    let layout = Layout::new(wanted.dir.join("files"), wanted.app);
    let config = Config::load(&layout, None).map_err(|error| {
        error
            .outcome_as(Outcome::Usage)
            .state(format!("{} was written", wanted.dir.display()))
            .hint(format!("Run `rm -r {}`, and give other answers.", wanted.dir.display()))
    })?;
    match config.warnings.first() {
        None => Ok(()),
        Some(warning) => Err(Error::failed(warning.clone())),
    }
}

//! `[source]`: where versions come from that no package tool installs.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::command::{arguments, optional};
use super::notes::{Notes, shown};
use super::packager::word;
use super::section::{Section, Value};
use super::values::{Zero, duration, path};
use super::{Config, MigrationsSpec, Side, sides};
use crate::layout::Layout;

/// How long a command may take where the file does not say it.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// How many versions are kept beside the running one where the file does not say it.
const KEEP: u32 = 3;

/// The place of a version within an argument.
pub(super) const VERSION: &str = "{version}";

/// `[source]`: a link to the running version, and how another one is brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeSpec {
    /// The link that the units run from.
    pub link: PathBuf,
    /// The directory that holds a directory for each version.
    pub versions: PathBuf,
    /// Brings a version into its directory, which is there and empty.
    pub fetch: Vec<String>,
    /// Makes it ready to run.
    pub build: Option<Vec<String>>,
    /// Does what has to be done beside moving the link, with the services down.
    pub switch: Option<Vec<String>>,
    /// The file within a version that names it.
    pub version_file: Option<String>,
    /// System user that fetches and builds.
    pub user: Option<String>,
    /// How long each of the commands may take.
    pub timeout: Duration,
    /// How many versions are kept beside the running one.
    pub keep: u32,
    /// Two sets of units of which one serves; empty where all units run the same version.
    pub sides: Vec<Side>,
}

impl Config {
    /// Takes the migrations from the directory of a version instead of through the link, which may
    /// point to another one.
    pub fn take_from_tree(&mut self, tree: &Path) {
        let Some(spec) = &self.tree else { return };
        let specs = self.databases.iter_mut().map(|database| &mut database.migrations);
        specs.for_each(|migrations: &mut MigrationsSpec| migrations.move_into(&spec.link, tree));
    }
}

/// Reads `[source]`.
pub(super) fn read(
    mut table: Section<'_>,
    layout: &Layout,
    services: &[String],
    notes: &mut Notes,
) -> Option<TreeSpec> {
    let place = table.place().clone();
    let home = Path::new("/srv").join(layout.app());
    let example = home.join("current");
    let link = match table.take("tree") {
        Some(value) => path(value, &example, notes),
        None => {
            let fix = format!("write `tree = \"{}\"` below it", example.display());
            notes.problem(&place, "source.tree is missing: the link to the running version", &fix);
            None
        }
    };
    let versions = optional(&mut table, "versions", notes, |value, notes| {
        path(value, &home.join("versions"), notes)
    });
    let fetch = match table.take("fetch") {
        Some(value) => fetch(value, notes),
        None => {
            let fix = "write `fetch = [\"git\", \"clone\", \"--branch\", \"{version}\", \"URL\", \
                       \"{tree}\"]` below it";
            notes.problem(&place, "source.fetch is missing: it brings a version", fix);
            None
        }
    };
    let build = optional(&mut table, "build", notes, command);
    let switch = optional(&mut table, "switch", notes, command);
    let version_file = optional(&mut table, "version_file", notes, inner_file);
    let user = optional(&mut table, "user", notes, |value, notes| word(value, "\"app\"", notes));
    let timeout = optional(&mut table, "timeout", notes, |value, notes| {
        duration(value, Zero::Refused, "30m", notes)
    });
    let keep = optional(&mut table, "keep", notes, keep);
    let sides =
        optional(&mut table, "sides", notes, |value, notes| sides::read(value, services, notes));
    table.finish(notes);
    let link = link?;
    let beside = link.parent().unwrap_or(Path::new("/")).join("versions");
    let versions = versions?.unwrap_or(beside);
    if versions.starts_with(&link) {
        let message = "source.versions lies behind the link source.tree, which moves";
        notes.problem(&place, message, "name a directory beside the link");
        return None;
    }
    Some(TreeSpec {
        link,
        versions,
        fetch: fetch?,
        build: build?,
        switch: switch?,
        version_file: version_file?,
        user: user?,
        timeout: timeout?.unwrap_or(TIMEOUT),
        keep: keep?.unwrap_or(KEEP),
        sides: sides?.unwrap_or_default(),
    })
}

fn command(value: Value<'_>, notes: &mut Notes) -> Option<Vec<String>> {
    arguments(value, "[\"make\", \"-C\", \"{tree}\"]", "{tree}/", notes)
}

/// Whoever fetches without a version brings the same one for each.
fn fetch(value: Value<'_>, notes: &mut Notes) -> Option<Vec<String>> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let words = command(value, notes)?;
    if words.iter().any(|word| word.contains(VERSION)) {
        return Some(words);
    }
    let message = format!("{name} brings the same for every version: it has no {VERSION}");
    notes.problem(&place, message, &format!("write {VERSION} where the version belongs"));
    None
}

/// A path within the tree of a version.
fn inner_file(value: Value<'_>, notes: &mut Notes) -> Option<String> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let text = value.text("\"VERSION\"", notes)?;
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if !text.is_empty() && Path::new(&text).components().all(plain) {
        return Some(text);
    }
    let message = format!("{name} {} is no path within the tree", shown(&text));
    notes.problem(&place, message, "write a relative path such as \"VERSION\"");
    None
}

fn keep(value: Value<'_>, notes: &mut Notes) -> Option<u32> {
    let found = value.as_integer().and_then(|number| u32::try_from(number).ok());
    let found = found.filter(|number| *number >= 1);
    if found.is_none() {
        let message = format!("{} must be a whole number of at least 1", value.name);
        notes.write_instead(&value.place, message, &format!("keep = {KEEP}"));
    }
    found
}

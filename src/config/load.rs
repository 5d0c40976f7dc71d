//! Which files are read, in which order, and what is made of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::keys::Half;
use super::notes::Notes;
use super::operator::Wishes;
use super::packager;
use super::source::Source;
use super::{App, Appliance, Config, OnFailure};
use crate::error::{Error, Result};
use crate::layout::Layout;

impl Config {
    /// Reads the packager's half, then the operator's: `/etc/APP/upgrade.conf` and its drop-ins, or
    /// `operator_file` alone where one is named.
    ///
    /// Every file is read even where an early one has errors, so that a refusal lists all of them.
    pub fn load(layout: &Layout, operator_file: Option<&Path>) -> Result<Self> {
        let mut notes = Notes::default();
        let (packager_conf, operator_conf) = (layout.packager_conf(), layout.operator_conf());
        let Some(packaged) = Source::read(&packager_conf, Half::Packager, &operator_conf)? else {
            return Err(not_installed(layout, &packager_conf));
        };
        let operators = operator_sources(layout, operator_file)?;

        let packaged =
            packaged.parse(&mut notes).map(|top| packager::read(top, layout, &mut notes));
        let appliance = packaged.as_ref().and_then(|packaged| packaged.appliance.as_ref());
        let backup_dir =
            appliance.map_or(layout.backup_dir(), |appliance| appliance.backup_dir(layout));
        let mut wishes = Wishes::defaults(backup_dir.clone());
        if appliance.is_some() {
            // Nobody is there when an image boots, and what it leaves half done the next one finds.
            wishes.policy.on_failure = OnFailure::Restore;
        }
        for source in &operators {
            if let Some(top) = source.parse(&mut notes) {
                wishes.read(top, &backup_dir, &mut notes);
            }
        }
        wishes.check(&mut notes);
        let warnings = notes.finish()?;
        // Notes without errors mean that the packager's half was parsed.
        let Some(packaged) = packaged else { return Err(not_installed(layout, &packager_conf)) };
        Ok(Self {
            app: packaged.app,
            appliance: packaged.appliance,
            policy: wishes.policy,
            databases: packaged.databases,
            tree: packaged.tree,
            require: packaged.require,
            probes: packaged.probes,
            expect: packaged.expect,
            settings: packaged.settings,
            notify: wishes.notify,
            warnings,
        })
    }
}

/// What the packager's half alone says of an appliance: its units and its disk. The operator's half may
/// be wrong, and the services are still held back without the disk.
pub fn appliance_of(layout: &Layout) -> Result<Option<(App, Appliance)>> {
    let mut notes = Notes::default();
    let path = layout.packager_conf();
    let source = Source::read(&path, Half::Packager, &layout.operator_conf())?;
    let packaged = source.and_then(|source| {
        source.parse(&mut notes).map(|top| packager::read(top, layout, &mut notes))
    });
    notes.finish()?;
    Ok(packaged.and_then(|packaged| Some((packaged.app, packaged.appliance?))))
}

/// Reads the operator's files in the order in which they override each other.
fn operator_sources(layout: &Layout, operator_file: Option<&Path>) -> Result<Vec<Source>> {
    let packager_conf = layout.packager_conf();
    // A file that was named is the whole of the operator's half: a drop-in that silently overrides
    // what was asked for on the command line would be a surprise.
    if let Some(path) = operator_file {
        return match Source::read(path, Half::Operator, &packager_conf)? {
            Some(source) => Ok(vec![source]),
            None => Err(Error::config(format!("{} does not exist", path.display()))
                .detail("it was named with --config or OPENWATCH_UPGRADE_CONF")
                .state("nothing was changed")
                .hint(format!(
                    "Write the file, or leave the option out to use {}.",
                    layout.operator_conf().display()
                ))),
        };
    }
    let mut sources = Vec::new();
    sources.extend(Source::read(&layout.operator_conf(), Half::Operator, &packager_conf)?);
    for path in drop_ins(&layout.drop_in_dir())? {
        sources.extend(Source::read(&path, Half::Operator, &packager_conf)?);
    }
    Ok(sources)
}

/// Lists `*.conf` in the order of their names; hidden files are editors' and package tools' own.
fn drop_ins(dir: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error: io::Error| {
        Error::config(format!("cannot read the directory {}", dir.display()))
            .source(error)
            .state("nothing was changed")
            .hint(format!("Look at `ls -ld {}`.", dir.display()))
    };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
        Ok(entries) => entries,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        if !hidden && path.extension().is_some_and(|extension| extension == "conf") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn not_installed(layout: &Layout, path: &Path) -> Error {
    let app = layout.app();
    let dpkg = layout.root().join("var/lib/dpkg/status").exists();
    let install = if dpkg { "apt-get install" } else { "dnf install" };
    Error::config(format!("the package {app} is not installed: {} is missing", path.display()))
        .state("nothing was changed")
        .hint(format!("Run `{install} {app}`."))
}

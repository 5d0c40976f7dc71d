//! A machine as it would be with a package that is not installed yet.
//!
//! The packager's half, the version and the migrations come out of the package file; the operator's
//! half, secrets, restore points and databases are those of the running machine.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::config::{Config, SettingSpec};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::migrations::{self, Chain};
use crate::package::{self, PackageFile, Wanted};
use crate::progress::Progress;
use crate::system::scratch::ScratchDir;
use crate::version::Version;

use super::machine::{Connecting, Machine};

/// The package file that a machine was built from.
pub struct LookedInto {
    /// The file as messages name it: the path that was named, or the name of a fetched file.
    pub shown: String,
    /// Version of the package that is installed now, where one is.
    pub installed: Option<Version>,
    /// What the package sources say of it, where it came from them.
    pub candidate: Option<Offered>,
}

/// A package that the package sources offer.
pub struct Offered {
    /// Its version, as they write it.
    pub version: Version,
    /// Whether the operator holds the installed version.
    pub held: bool,
}

impl Machine {
    /// Reads the packager's half and the migrations out of a package file, and the rest from this
    /// machine; connects to nothing and runs nothing of the package.
    pub fn look_into(
        layout: Layout,
        operator_file: Option<&Path>,
        progress: Arc<dyn Progress>,
        file: &Path,
    ) -> Result<Self> {
        let mut package = PackageFile::open(file)?;
        // Gone at the end of this function, however it ends: by then everything was read.
        let tree = ScratchDir::new("openwatch-package-")?;
        let installed = package::installed_version(&layout, None);
        let trees = Trees::below(tree.path(), file);
        let mut machine =
            trees.told(|| read(&layout, operator_file, progress, &mut package, &trees))?;
        for warning in &mut machine.config.warnings {
            *warning = trees.tell(warning);
        }
        for database in &mut machine.databases {
            trees.take_out(&mut database.migrations)?;
        }
        // What the package brings is not on this machine, or is the tool of another version.
        machine.databases.iter_mut().for_each(|database| database.migrations.not_installed());
        machine.layout = layout;
        machine.looked_into =
            Some(LookedInto { shown: file.display().to_string(), installed, candidate: None });
        Ok(machine)
    }
}

/// Reads the migrations out of a package file, by the name of their database; asks nothing of this
/// machine but a place for a moment.
pub fn migrations_of(
    layout: &Layout,
    operator_file: Option<&Path>,
    file: &Path,
) -> Result<Vec<(String, Chain)>> {
    let mut package = PackageFile::open(file)?;
    let tree = ScratchDir::new("openwatch-package-")?;
    let trees = Trees::below(tree.path(), file);
    trees.told(|| {
        let (_, config) = unpacked(layout, operator_file, &mut package, &trees)?;
        let read = config.databases.into_iter().map(|database| {
            let mut chain = migrations::load(&database.migrations)?;
            trees.take_out(&mut chain)?;
            Ok((database.name, chain))
        });
        read.collect()
    })
}

/// Reads what the version in a package file needs of the application's own configuration; asks
/// nothing of this machine but a place for a moment.
pub fn settings_of(
    layout: &Layout,
    operator_file: Option<&Path>,
    file: &Path,
) -> Result<Vec<SettingSpec>> {
    let mut package = PackageFile::open(file)?;
    let tree = ScratchDir::new("openwatch-package-")?;
    let trees = Trees::below(tree.path(), file);
    trees.told(|| Ok(unpacked(layout, operator_file, &mut package, &trees)?.1.settings))
}

/// Where a package lies for a moment.
struct Trees {
    settings: PathBuf,
    content: PathBuf,
    /// What stands before a path of the package in messages.
    shown: String,
}

impl Trees {
    fn below(dir: &Path, file: &Path) -> Self {
        let (settings, content) = (dir.join("settings"), dir.join("content"));
        Self { settings, content, shown: format!("{}:", file.display()) }
    }

    /// Names a file of the package as FILE:/path, not where it lay for a moment.
    fn tell(&self, text: &str) -> String {
        let gone = [&self.settings, &self.content].map(|tree| tree.display().to_string());
        gone.iter().fold(text.to_owned(), |text, gone| text.replace(gone, &self.shown))
    }

    /// Does something with the trees; what it says of them is told as of the package.
    fn told<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let gone = [&self.settings, &self.content].map(|tree| tree.display().to_string());
        act().map_err(|error| {
            gone.iter().fold(error, |error, gone| error.instead_of(gone, &self.shown))
        })
    }

    /// Takes the texts of migrations along, which are named as in the package from now on.
    fn take_out(&self, chain: &mut Chain) -> Result<()> {
        let inside =
            chain.dir.strip_prefix(&self.content).map(|inside| Path::new("/").join(inside));
        inside.map_or(Ok(()), |inside| self.told(|| chain.hold_as_of(inside)))
    }
}

fn read(
    layout: &Layout,
    operator_file: Option<&Path>,
    progress: Arc<dyn Progress>,
    package: &mut PackageFile,
    trees: &Trees,
) -> Result<Machine> {
    let (layout, config) = unpacked(layout, operator_file, package, trees)?;
    let machine = Machine::assemble(layout, config, progress, Connecting::Later)?;
    // The text comes from a file that nobody has vouched for, and is printed.
    if machine.version.to_string().contains(char::is_control) {
        return Err(Error::config(format!(
            "the version of the package {} is no version",
            package.path().display()
        ))
        .state("nothing was changed")
        .hint("Do not install it; get the package from its packager again."));
    }
    Ok(machine)
}

/// Unpacks the packager's half and the migrations, and reads the former.
fn unpacked(
    layout: &Layout,
    operator_file: Option<&Path>,
    package: &mut PackageFile,
    Trees { settings, content, .. }: &Trees,
) -> Result<(Layout, Config)> {
    let own = layout.shipped_path();
    let halves =
        Wanted { files: vec![own.join("upgrade.conf"), own.join("version")], dirs: Vec::new() };
    let apps = package.unpack(&halves, settings)?;
    let layout = layout.clone().with_shipped(settings);
    if !layout.packager_conf().is_file() {
        return Err(other_package(&layout, package, &apps));
    }
    let mut config = Config::load(&layout, operator_file)?;
    config.app.version.get_or_insert_with(|| package.identity().version.clone());
    let mut wanted = Wanted::default();
    for database in &mut config.databases {
        let Some(dir) = database.migrations.dir_mut() else { continue };
        let inside = inside(dir, settings, &database.name)?;
        *dir = content.join(&inside);
        wanted.dirs.push(inside);
    }
    package.unpack(&wanted, content)?;
    let dirs = config.databases.iter().filter_map(|d| Some((d, d.migrations.dir()?)));
    for ((database, dir), inside) in dirs.zip(&wanted.dirs) {
        if !dir.is_dir() {
            let (name, inside) = (package.path().display(), inside.display());
            return Err(Error::config(format!("the package {name} does not hold /{inside}"))
                .detail(format!("its upgrade.conf names it for the database {}", database.name))
                .state("nothing was changed")
                .hint("Ask its packager for a package that is complete."));
        }
    }
    Ok((layout, config))
}

/// Returns where a directory lies within the package, relative to the root.
fn inside(dir: &Path, tree: &Path, database: &str) -> Result<PathBuf> {
    let named = dir.strip_prefix(tree).or_else(|_| dir.strip_prefix("/")).unwrap_or(dir);
    let plain = named.components().all(|part| matches!(part, Component::Normal(_)));
    // The whole tree is no directory of migrations, and would be unpacked as one.
    if plain && named.components().count() > 1 {
        return Ok(named.to_owned());
    }
    Err(Error::config(format!(
        "the migrations directory {} of the database {database} is not one of a package",
        dir.display()
    ))
    .state("nothing was changed")
    .hint("Ask the packager to name one below /usr/share."))
}

fn other_package(layout: &Layout, package: &PackageFile, apps: &[String]) -> Error {
    let (app, file) = (layout.app(), package.path().display());
    let identity = package.identity();
    let error = Error::config(format!("the package {file} brings nothing for {app}"))
        .detail(format!(
            "it is {} {}, without /usr/share/{app}/upgrade.conf",
            identity.name, identity.version
        ))
        .state("nothing was changed");
    match apps.first() {
        Some(other) => error.hint(format!(
            "Run `openwatch --app {other} migrate --status --package {file}` for the application that it brings."
        )),
        None => error.hint(format!("Name a package of {app} that openwatch can upgrade.")),
    }
}

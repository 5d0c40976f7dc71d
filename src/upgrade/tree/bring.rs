//! Fetches and builds a version while the services run: what fails here has changed nothing.

use crate::config::TreeSpec;
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::fs;
use crate::system::identity::Identity;
use crate::version::Version;

use super::super::gate::Pending;
use super::super::machine::Machine;
use super::super::{Again, requirements, rollback, run_log};
use super::call::{self, Command};
use super::note::{Note, State};
use super::{Tree, current, find, switch, version_of};

/// Brings a version, unless it is there; returns it, and the one that is linked now.
pub fn bring(machine: &Machine, tag: &str) -> Result<(Tree, Version)> {
    let spec = switch::spec(machine)?;
    check_name(tag)?;
    let version = version_of(tag);
    let _lock = machine.lock("upgrade")?;
    run_log::begin(&machine.layout, &*machine.progress);
    rollback::stand_aside(machine, Again::Yes)?;
    let now = current(spec)?;
    refuse_other(machine, &now, &version)?;
    if version.order(&now.version).is_eq() {
        return Ok((now.clone(), now.version));
    }
    let state = format!("nothing was changed; version {} is in place", now.version);
    requirements::check(machine).map_err(|error| error.state(&state))?;
    if let Some(tree) = find(&machine.layout, spec, &version) {
        machine.progress.note(&format!("version {version} is built already"));
        return Ok((tree, now.version));
    }
    let again = machine.command(&format!("upgrade --to {tag}"));
    let tree = build(machine, spec, tag, version).map_err(|error| {
        let is_config = error.outcome() == Outcome::Config;
        let outcome = if is_config { Outcome::Config } else { Outcome::Refused };
        let hint = format!("Mend the cause, then run `{again}`.");
        error.outcome_as(outcome).state(state).or_hint(hint)
    })?;
    Ok((tree, now.version))
}

/// The name becomes part of a path and of arguments.
fn check_name(tag: &str) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || ".+-~_".contains(c);
    if tag.starts_with(|c: char| c.is_ascii_alphanumeric()) && tag.chars().all(legal) {
        return Ok(());
    }
    Err(Error::new(Outcome::Usage, format!("{tag:?} is not a version"))
        .state("nothing was changed")
        .hint("Name a version such as `v2.4.0`."))
}

fn refuse_other(machine: &Machine, now: &Tree, version: &Version) -> Result<()> {
    let refused =
        |message: String| Error::new(Outcome::Refused, message).state("nothing was changed");
    if let Some(mark) = Pending::read(&machine.layout)?
        && !mark.to.order(version).is_eq()
    {
        let (on, back) = (machine.command("upgrade --retry"), machine.command("rollback"));
        return Err(refused(format!("an upgrade to {} is not done yet", mark.to))
            .hint(format!("Finish it with `{on}`, or go back with `{back}`.")));
    }
    if version.order(&now.version).is_lt() {
        let back = machine.command(&format!("rollback --to {version}"));
        return Err(refused(format!(
            "version {version} is older than {}, which is in place",
            now.version
        ))
        .hint(format!("Data and program go back together with `{back}`.")));
    }
    Ok(())
}

fn build(machine: &Machine, spec: &TreeSpec, tag: &str, version: Version) -> Result<Tree> {
    let layout = &machine.layout;
    fs::make_dir(&spec.versions, 0o755)?;
    fs::check_trusted_dir(&spec.versions)?;
    let name = version.as_str().to_owned();
    let dir = spec.versions.join(&name);
    if dir.exists() && Note::read(layout, &name).is_none() {
        let message = format!("{} is there, and is not version {version}", dir.display());
        return Err(Error::new(Outcome::Refused, message)
            .hint(format!("Move it away: `mv {0} {0}.old`.", dir.display())));
    }
    // Noted before anything is there: what a kill leaves is known as unfinished, and made anew.
    let note = Note { tag: tag.to_owned(), state: State::Unfinished };
    note.write(layout, &name)?;
    fs::remove_tree(&dir)?;
    let tree = Tree { version, dir };
    let done = fill(machine, spec, tag, &tree);
    if let Err(error) = done {
        return Err(match fs::remove_tree(&tree.dir).and_then(|()| Note::forget(layout, &name)) {
            Ok(()) => error,
            Err(left) => error.detail(left.message()),
        });
    }
    Note { state: State::Whole, ..note }.write(layout, &name)?;
    machine.progress.note(&format!("version {} is built in {}", tree.version, tree.dir.display()));
    Ok(tree)
}

fn fill(machine: &Machine, spec: &TreeSpec, tag: &str, tree: &Tree) -> Result<()> {
    let identity = spec.user.as_deref().map(Identity::of).transpose()?;
    let identity = identity.filter(|user| user.uid != rustix::process::geteuid().as_raw());
    fs::make_new_dir(&tree.dir, 0o755)?;
    if let Some(user) = &identity {
        fs::give(&tree.dir, user.uid, user.gid)?;
    }
    let commands = [("fetch", Some(&spec.fetch)), ("build", spec.build.as_ref())];
    for (name, words) in commands {
        let Some(words) = words else { continue };
        let (dir, identity) = (tree.dir.as_path(), identity.clone());
        call::run(machine, Command { name, words, tree, tag, dir, identity, side: None })?;
    }
    if let Some(file) = &spec.version_file {
        let path = tree.dir.join(file);
        let found = fs::read_text(&path, super::MOST_BYTES).map_err(|error| {
            Error::failed(format!("version {} does not say so", tree.version))
                .detail(format!("cannot read {}", path.display()))
                .source(error)
        })?;
        let found = version_of(found.lines().next().unwrap_or_default());
        if !found.order(&tree.version).is_eq() {
            let message = format!("what was fetched as {tag} says that it is another version");
            return Err(Error::failed(message).detail(format!(
                "{} says {:?}",
                path.display(),
                found.as_str()
            )));
        }
    }
    fs::sync_file_system(&tree.dir)
}

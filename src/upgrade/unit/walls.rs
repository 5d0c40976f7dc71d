//! The walls around our own units: shut unless the configuration names something behind them.
//!
//! The units are shipped shut. The generator of systemd, which runs at boot and at each reload, opens them
//! where the configuration needs more; whatever starts a unit looks first whether that is still so.

use std::path::{Path, PathBuf};

use crate::config::{Config, Question, Requirement};
use crate::error::Result;
use crate::layout::Layout;
use crate::system::fs;

use super::super::machine::Machine;

/// What a shut unit may write to, and `/tmp` of its own.
const WRITABLE: [&str; 2] = ["/var", "/run"];
const OWN_TMP: [&str; 2] = ["/tmp", "/var/tmp"];
const MOST_BYTES: u64 = 64 << 10;

/// What makes the machine's own places there to be written to.
const OPEN: &str = "ProtectSystem=yes\nProtectHome=no\nPrivateTmp=no\n";
/// What root has at a prompt: devices, modules, namespaces, rights, calls, sockets. A snapshot needs
/// most of them, and a hook may.
///
/// Each of the last three keeps one thing out that nobody needs, and that is what it is for: a later
/// line, such as `CapabilityBoundingSet=CAP_SYS_ADMIN` in a drop-in of the operator, adds to a set that is
/// short of something, and takes the place of a full one or of none.
const ANYTHING: &str = "PrivateDevices=no\nProtectClock=no\nDevicePolicy=auto\nProtectKernelModules=no\n\
    RestrictNamespaces=no\nProcSubset=all\n\
    CapabilityBoundingSet=~\nCapabilityBoundingSet=~CAP_WAKE_ALARM\n\
    SystemCallFilter=\nSystemCallFilter=~@obsolete\n\
    RestrictAddressFamilies=\nRestrictAddressFamilies=~AF_X25\n";
/// What shows who has a database file open, and who has locked it: without it nobody seems to have.
/// The line adds to the rights that the unit has.
const SEEING: &str = "CapabilityBoundingSet=CAP_SYS_PTRACE\nProcSubset=all\n";

/// Returns the drop-ins of this application's units, by path below the generator's directory; none
/// where the units are right as they are shipped.
pub fn drop_ins(machine: &Machine) -> Vec<(PathBuf, String)> {
    let opened = match of_the_operator(machine) {
        Some(why) => Some((why, vec![OPEN, ANYTHING])),
        None => needs_more(machine).map(|why| (why, vec![OPEN])),
    };
    let seeing = looks_around(machine).map(|why| (why, vec![SEEING]));
    let gaps: Vec<_> = opened.into_iter().chain(seeing).collect();
    if gaps.is_empty() {
        return Vec::new();
    }
    let why: Vec<&str> = gaps.iter().map(|(why, _)| why.as_str()).collect();
    let why = why.join("; ");
    let lines: String = gaps.iter().flat_map(|(_, lines)| lines).copied().collect();
    let text = format!("# Written by openwatch at boot and reload: {why}.\n[Service]\n{lines}");
    places(&machine.layout).into_iter().map(|place| (place, text.clone())).collect()
}

/// Has systemd read its units again where they stand otherwise than the configuration needs them now.
///
/// It acts on what is spawned next, so that this is a command of its own in front of the unit's. A
/// machine whose generator does not run keeps the walls it has.
pub fn renew(machine: &Machine) -> Result<()> {
    if !machine.services.is_present() || stand_right(machine) {
        return Ok(());
    }
    machine.services.reload()?;
    if !stand_right(machine) {
        machine.progress.warn("the generator of systemd does not run; the walls stay as they are");
    }
    Ok(())
}

fn stand_right(machine: &Machine) -> bool {
    let generated = machine.layout.root().join("run/systemd/generator");
    let wanted = drop_ins(machine);
    places(&machine.layout).into_iter().all(|place| {
        let wanted = wanted.iter().find(|(path, _)| *path == place).map(|(_, text)| text.as_str());
        fs::read_text(&generated.join(place), MOST_BYTES).ok().as_deref() == wanted
    })
}

fn places(layout: &Layout) -> Vec<PathBuf> {
    let app = layout.app();
    let mut units = vec![layout.upgrade_unit(), format!("{app}-backup-cleanup.service")];
    if app == "openwatch" {
        units.push("openwatch-asked.service".to_owned());
    }
    units.iter().map(|unit| PathBuf::from(format!("{unit}.d/40-{app}-walls.conf"))).collect()
}

/// Says what was named here that is tried at a prompt first, and expected to do the same in the unit.
fn of_the_operator(machine: &Machine) -> Option<String> {
    if let Some(hook) = machine.layout.hook_dirs().iter().find_map(|dir| hook_in(dir)) {
        return Some(format!("{} may do anything", hook.display()));
    }
    let point = &machine.config.policy.restore_point;
    (point.command.is_some() || point.restore_command.is_some())
        .then(|| "the restore point is a command of its own".to_owned())
}

/// Says the first reason for which shut units would not do.
fn needs_more(machine: &Machine) -> Option<String> {
    let config = &machine.config;
    if config.tree.is_some() || config.appliance.is_some() {
        return Some("versions or data lie in a place of their own".to_owned());
    }
    if let Some(what) = own_command(config) {
        return Some(format!("{what} is a command of its own"));
    }
    let databases = machine.databases.iter().map(|shipped| &shipped.database);
    if let Some(database) = databases.clone().find(|one| one.has_socket_below(&OWN_TMP)) {
        return Some(format!("the socket of database {} is below /tmp", database.name()));
    }
    let files = databases.filter_map(|one| one.file().map(|_| PathBuf::from(one.dbname())));
    let policy = &config.policy;
    let named = [Some(&policy.backup_dir), policy.maintenance_file.as_ref()];
    let named = named.into_iter().chain([policy.metrics_textfile.as_ref()]).flatten().cloned();
    let travelling = machine.travelling().keep;
    files
        .chain(named)
        .chain(travelling)
        .find(|path| !is_inside(path))
        .map(|path| format!("{} is written to", path.display()))
}

/// Says which database is a file, of which only the kernel knows who has it open.
fn looks_around(machine: &Machine) -> Option<String> {
    let databases = machine.databases.iter().map(|shipped| &shipped.database);
    let file = databases.filter_map(crate::database::Database::file).next()?;
    Some(format!("who has {} open is looked for", file.path().display()))
}

fn hook_in(dir: &Path) -> Option<PathBuf> {
    fs::files_below(dir).ok()?.into_iter().min()
}

/// Returns what of the configuration is a program of the application or the operator.
fn own_command(config: &Config) -> Option<&'static str> {
    let policy = &config.policy;
    let migrates = config.databases.iter().any(|spec| spec.migrations.dir().is_none());
    let asks = config.probes.iter().any(|probe| matches!(probe.question, Question::Command(_)));
    let needs = config.require.iter().any(|one| matches!(one.what, Requirement::Program { .. }));
    [
        (migrates, "`migrations`"),
        (asks, "a probe"),
        (needs, "`[[require]]`"),
        (!policy.checks.is_empty(), "`checks`"),
        (policy.verify_image.is_some(), "`verify_image`"),
    ]
    .into_iter()
    .find_map(|(is, what)| is.then_some(what))
}

/// Returns whether a shut unit may write there; a link counts for where it leads.
fn is_inside(path: &Path) -> bool {
    let there = path.ancestors().find_map(|at| std::fs::canonicalize(at).ok().map(|to| (at, to)));
    let real = there.map_or_else(
        || path.to_owned(),
        |(at, to)| path.strip_prefix(at).map_or(to.clone(), |rest| to.join(rest)),
    );
    WRITABLE.iter().any(|dir| real.starts_with(dir))
        && !OWN_TMP.iter().any(|dir| real.starts_with(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_inside_the_walls_by_where_it_leads() {
        for (path, inside) in [
            ("/var/lib/shop/backups", true),
            ("/run/shop/maintenance", true),
            ("/var/tmp/points", false),
            ("/tmp/points", false),
            ("/home/keep/points", false),
            ("/data/points", false),
            ("/variable/points", false),
        ] {
            assert_eq!(is_inside(Path::new(path)), inside, "{path}");
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/var/lib", dir.path().join("link")).unwrap();
        assert!(is_inside(&dir.path().join("link/not-there-yet/points")));
    }
}

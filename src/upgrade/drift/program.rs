//! Programs that run against those installed.

use std::os::unix::fs::MetadataExt as _;

use crate::config::{ProbeSpec, Question};
use crate::services::Unit;
use crate::upgrade::check_health;
use crate::upgrade::machine::Machine;

use super::{Area, Report};

/// What the link to a process's program ends with once its file was replaced.
const DELETED: &str = " (deleted)";

pub(super) fn look(machine: &Machine, report: &mut Report) {
    let units = match machine.services.look(&machine.config.app.services) {
        Ok(_) if !machine.services.is_present() => {
            report.not_compared(Area::Program, "there is no service manager");
            Vec::new()
        }
        Ok(units) => units,
        Err(error) => return report.not_compared(Area::Program, error.message()),
    };
    for unit in units.iter().filter(|unit| unit.is_up()) {
        let Some(pid) = unit.main_pid else { continue };
        match of_process(pid) {
            Ok(Program::OfDisk) => {}
            Ok(Program::Other { path, why }) => report.drifted(
                Area::Program,
                &unit.name,
                &format!("runs {path} as it is on disk"),
                &format!("process {pid} runs an older one: {why}"),
                format!("Run `systemctl restart {}`.", unit.name),
            ),
            Err(error) => report.not_compared(
                Area::Program,
                format!("{}: the program of process {pid} cannot be seen: {error}", unit.name),
            ),
        }
    }
    answers(machine, &units, report);
}

enum Program {
    OfDisk,
    Other { path: String, why: &'static str },
}

/// Of another user's process only root can tell.
fn of_process(pid: u32) -> std::io::Result<Program> {
    let link = format!("/proc/{pid}/exe");
    let target = std::fs::read_link(&link)?.to_string_lossy().into_owned();
    if let Some(path) = target.strip_suffix(DELETED) {
        return Ok(Program::Other { path: path.to_owned(), why: "its file was replaced" });
    }
    let runs = std::fs::metadata(&link)?;
    // A path of another mount namespace says nothing about ours.
    let Ok(disk) = std::fs::metadata(&target) else { return Ok(Program::OfDisk) };
    match (runs.dev(), runs.ino()) == (disk.dev(), disk.ino()) {
        true => Ok(Program::OfDisk),
        false => Ok(Program::Other { path: target, why: "another file has its name now" }),
    }
}

/// Asks the probes that demand a version: a program that is interpreted is the same file before and after.
fn answers(machine: &Machine, units: &[Unit], report: &mut Report) {
    let demanding = |probe: &&ProbeSpec| matches!(probe.question, Question::Http { expect_version, .. } if expect_version);
    let up: Vec<&str> = units.iter().filter(|u| u.is_up()).map(|u| u.name.as_str()).collect();
    // Nobody answers for a unit that does not run.
    let answered =
        |probe: &&ProbeSpec| probe.answered_by.as_ref().is_none_or(|u| up.contains(&u.as_str()));
    let asked: Vec<ProbeSpec> =
        machine.config.probes.iter().filter(demanding).filter(answered).cloned().collect();
    for looked in check_health::glance(machine, &asked) {
        let said = looked.seen.as_ref().and_then(|seen| seen.version.as_deref());
        let installed = machine.version.upstream();
        match said {
            Some(version) if version == installed || version == machine.version.as_str() => {}
            Some(version) => report.drifted(
                Area::Program,
                &looked.answer.probe,
                &format!("answers as version {installed}"),
                &format!("answers as version {version}"),
                match up.as_slice() {
                    [] => "Stop whoever answers there: no unit of the application runs.".to_owned(),
                    names => format!("Run `systemctl restart {}`.", names.join(" ")),
                },
            ),
            None => {
                let why = match looked.seen {
                    Some(_) => "it names no version as \"version\" in a JSON body".to_owned(),
                    None => looked.answer.last.clone(),
                };
                report.not_compared(Area::Program, format!("{}: {why}", looked.answer.probe));
            }
        }
    }
}

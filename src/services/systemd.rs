//! systemd through `systemctl`: one way in, on every version from 247 on, also without a bus.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::system::clock::{self, Deadline};
use crate::system::fs;
use crate::system::process::{self, Call, Failure};

use super::{Activity, Load, ServiceManager, Standing, Unit};

/// How long processes may outlive their unit's stop before the stop counts as failed.
const LINGER: Duration = Duration::from_secs(10);

/// Where control groups are mounted: pure v2, hybrid, v1.
const CGROUP_ROOTS: [&str; 3] =
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];

/// What is asked about a unit.
const LOOKED_AT: &str = "Id,LoadState,ActiveState,SubState,MainPID,NRestarts";

/// The systemd that is process 1.
#[derive(Debug, Default)]
pub struct Systemd;

impl Systemd {
    /// Returns the systemd that is process 1.
    pub fn new() -> Self {
        Self
    }

    fn systemctl(&self) -> Result<Call> {
        let path = process::find("systemctl")
            .ok_or_else(|| Error::failed("systemctl is not in PATH although systemd runs"))?;
        Ok(Call::new(path))
    }

    /// Returns properties of each unit; `systemctl show` answers for unknown units too.
    fn show(&self, names: &[String], properties: &str) -> Result<Vec<BTreeMap<String, String>>> {
        let output = self
            .systemctl()?
            .args(["show", "--no-pager", "--property", properties, "--"])
            .args(names)
            .run()
            .map_err(|failure| cannot("look at the units", names, &failure))?;
        let text = output.text();
        let blocks = text.split("\n\n").map(|block| {
            let pair = |line: &str| {
                line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
            };
            block.lines().filter_map(pair).collect()
        });
        Ok(blocks.collect())
    }

    /// Says that a unit did not come up.
    fn not_up(&self, what: &str, name: &str, failure: &Failure) -> Error {
        let error = cannot(what, &[name.to_owned()], failure).outcome_as(Outcome::Unhealthy);
        self.unless_going_down(error)
    }

    /// Waits until no process of the unit is left in its control group.
    fn prove_stopped(&self, name: &str) -> Result<()> {
        let deadline = Deadline::after(LINGER);
        loop {
            let names = [name.to_owned()];
            let shown = self.show(&names, "ActiveState,ControlGroup")?.pop().unwrap_or_default();
            let state = shown.get("ActiveState").map_or("", String::as_str);
            let group = shown.get("ControlGroup").map_or("", String::as_str);
            let left = processes_in(group);
            if matches!(state, "inactive" | "failed") && left.is_empty() {
                return Ok(());
            }
            if deadline.passed() {
                return Err(Error::failed(format!("{name} did not stop"))
                    .detail(format!("state {state}, processes still running: {}", list(&left))));
            }
            clock::pause(Duration::from_millis(50));
        }
    }
}

impl ServiceManager for Systemd {
    fn look(&self, names: &[String]) -> Result<Vec<Unit>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let shown = self.show(names, LOOKED_AT)?;
        Ok(names.iter().zip(shown).map(|(name, properties)| unit(name, &properties)).collect())
    }

    fn standing(&self, names: &[String]) -> Result<Vec<Standing>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let more = "UnitFileState,UnitFilePreset,FragmentPath,DropInPaths,NeedDaemonReload,Result";
        let shown = self.show(names, &format!("{LOOKED_AT},{more}"))?;
        Ok(names.iter().zip(shown).map(|(name, properties)| standing(name, &properties)).collect())
    }

    fn stop(&self, name: &str, progress: &dyn Progress) -> Result<()> {
        let watch = |_: Option<&str>| progress.alive(&format!("stopping {name}"), 0, None);
        self.systemctl()?
            .args(["stop", "--", name])
            .run_watched(watch)
            .map_err(|failure| cannot("stop", &[name.to_owned()], &failure))?;
        self.prove_stopped(name)
    }

    fn start(&self, name: &str) -> Result<()> {
        // A unit that failed too often refuses to start until its counter is cleared.
        let _ = self.systemctl()?.args(["reset-failed", "--", name]).run();
        let started = self.systemctl()?.args(["start", "--", name]).run();
        started.map(drop).map_err(|failure| self.not_up("start", name, &failure))
    }

    fn schedule(&self, name: &str) -> Result<()> {
        let _ = self.systemctl()?.args(["reset-failed", "--", name]).run();
        self.systemctl()?
            .args(["start", "--no-block", "--", name])
            .run()
            .map_err(|failure| cannot("start", &[name.to_owned()], &failure))?;
        Ok(())
    }

    fn restart(&self, name: &str) -> Result<()> {
        let _ = self.systemctl()?.args(["reset-failed", "--", name]).run();
        let started = self.systemctl()?.args(["restart", "--", name]).run();
        started.map(drop).map_err(|failure| self.not_up("restart", name, &failure))
    }

    fn reload(&self) -> Result<()> {
        // NeedDaemonReload says "no" after rpm replaced a unit file (measured): reload always.
        self.systemctl()?
            .arg("daemon-reload")
            .run()
            .map_err(|failure| cannot("reload", &["unit files".into()], &failure))?;
        Ok(())
    }

    fn is_going_down(&self) -> bool {
        // Not `is-system-running`: until 252 at least it says "starting" of a machine that goes down
        // before its boot is complete, and that is when we start units after an interruption.
        let jobs = self.systemctl().map(|call| {
            call.args(["list-jobs", "--full", "--no-pager", "--no-legend"]).deadline(LINGER).run()
        });
        matches!(jobs, Ok(Ok(jobs)) if brings_down(&jobs.text()))
    }

    fn is_present(&self) -> bool {
        true
    }
}

/// Whether one of these jobs, each a line, takes the machine down.
fn brings_down(jobs: &str) -> bool {
    jobs.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words.as_slice(), [_, "shutdown.target", "start", ..])
    })
}

fn unit(name: &str, properties: &BTreeMap<String, String>) -> Unit {
    let value = |key: &str| properties.get(key).map_or("", String::as_str);
    Unit {
        name: name.to_owned(),
        load: match value("LoadState") {
            "loaded" => Load::Loaded,
            "masked" => Load::Masked,
            _ => Load::Unusable,
        },
        active: match value("ActiveState") {
            "active" => Activity::Up,
            "activating" | "reloading" | "refreshing" | "deactivating" => Activity::Changing,
            "failed" => Activity::Failed,
            _ => Activity::Down,
        },
        words: format!("{} ({})", value("ActiveState"), value("SubState")),
        main_pid: value("MainPID").parse().ok().filter(|pid| *pid != 0),
        restarts: value("NRestarts").parse().unwrap_or(0),
    }
}

fn standing(name: &str, properties: &BTreeMap<String, String>) -> Standing {
    let value = |key: &str| properties.get(key).cloned().unwrap_or_default();
    Standing {
        unit: unit(name, properties),
        enabled: value("UnitFileState"),
        preset: value("UnitFilePreset"),
        fragment: Some(value("FragmentPath")).filter(|path| !path.is_empty()).map(PathBuf::from),
        drop_ins: value("DropInPaths").split_whitespace().map(PathBuf::from).collect(),
        needs_reload: value("NeedDaemonReload") == "yes",
        result: value("Result"),
    }
}

fn processes_in(group: &str) -> Vec<String> {
    if group.is_empty() || group == "/" {
        return Vec::new();
    }
    let mut found = Vec::new();
    for root in CGROUP_ROOTS {
        let dir = Path::new(root).join(group.trim_start_matches('/'));
        collect_processes(&dir, &mut found);
    }
    found.sort();
    found.dedup();
    found
}

fn collect_processes(dir: &Path, found: &mut Vec<String>) {
    let Ok(text) = fs::read_text(&dir.join("cgroup.procs"), 1 << 20) else { return };
    found.extend(text.lines().map(str::to_owned));
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let below: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    for dir in below {
        collect_processes(&dir, found);
    }
}

fn list(pids: &[String]) -> String {
    if pids.is_empty() { "none".into() } else { pids.join(", ") }
}

fn cannot(what: &str, names: &[String], failure: &Failure) -> Error {
    let error = Error::failed(format!("cannot {what} {}: systemctl {failure}", names.join(" ")));
    match failure.stderr() {
        "" => error,
        text => error.detail(text.lines().collect::<Vec<_>>().join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_is_coming_up_counts_as_running() {
        let properties: BTreeMap<String, String> = [
            ("LoadState", "loaded"),
            ("ActiveState", "activating"),
            ("MainPID", "0"),
            ("NRestarts", "3"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        let unit = unit("a.service", &properties);
        assert!(unit.is_up());
        assert_eq!((unit.main_pid, unit.restarts), (None, 3));
    }

    #[test]
    fn only_a_start_of_the_shutdown_target_takes_the_machine_down() {
        let up = " 90 shutdown.target stop waiting\n 91 web.service start running";
        assert!(!brings_down(up) && !brings_down("") && !brings_down("No jobs running."));
        assert!(brings_down("  92 web.service stop running\n1093 shutdown.target start waiting"));
    }

    #[test]
    fn the_root_group_is_never_searched_for_processes() {
        assert!(processes_in("").is_empty());
        assert!(processes_in("/").is_empty());
    }
}

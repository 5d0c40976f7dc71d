//! Puts an older package in the place of the installed one, by the machine's own package tool.

use std::path::Path;
use std::time::Duration;

use super::Family;
use super::candidate::{self, Installed};
use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::process::{Call, Failure, find};
use crate::version::Version;

/// How long a package tool may take: scripts of this and of other packages run in it.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// How long apt waits for another run of itself, in seconds.
const LOCK_WAIT: &str = "DPkg::Lock::Timeout=600";

/// Lines of a failed tool that are told.
const LAST_LINES: usize = 6;

/// Asks the package tool whether it would do it, and nothing else: changes nothing.
pub fn rehearse(installed: &Installed, file: &Path) -> Result<()> {
    let call = match installed.family {
        Family::Deb => match find("apt-get") {
            Some(apt) => by_apt(&apt, file).arg("--simulate"),
            None => dpkg()?.arg("--dry-run").args(["--install", "--"]).arg(file),
        },
        Family::Rpm => {
            rpm()?.args(["--upgrade", "--oldpackage", "--replacepkgs", "--test"]).arg(file)
        }
    };
    call.deadline(LIMIT).run().map(drop).map_err(|failure| {
        told(&format!("{} does not go back to {}", installed.name, file.display()), &failure)
            .outcome_as(Outcome::Refused)
            .state("nothing was changed")
            .hint("Mend what the package tool names, then try again.")
    })
}

/// Puts the package of this file in the place of the installed one, and proves by the package
/// database that it is there; `watch` sees what the tools say, as it comes.
pub fn run(
    installed: &Installed,
    file: &Path,
    version: &Version,
    watch: &mut dyn FnMut(Option<&str>),
) -> Result<()> {
    let mut tries = tries(installed.family, file)?.into_iter();
    let mut failed = None;
    loop {
        if is_there(installed, version) {
            return Ok(());
        }
        let Some(call) = tries.next() else { break };
        let shown = call.shown();
        if let Err(failure) = call.deadline(LIMIT).run_watched(&mut *watch) {
            let stopped = matches!(failure, Failure::Interrupted(_));
            failed = Some(told(&format!("{shown} failed"), &failure));
            if stopped {
                break;
            }
        }
    }
    let name = &installed.name;
    let otherwise = || Error::failed(format!("{name} {version} is not what is installed"));
    Err(failed.unwrap_or_else(otherwise))
}

/// What is tried in turn, until the package is there. A tool that was killed leaves its database in a
/// state from which the plainer tool leads out.
fn tries(family: Family, file: &Path) -> Result<Vec<Call>> {
    let mut calls = Vec::new();
    match family {
        Family::Deb => {
            if let Some(apt) = find("apt-get") {
                calls.push(by_apt(&apt, file));
            }
            calls.push(dpkg()?.args(["--install", "--"]).arg(file));
            // What a killed run left half done, this package among it.
            calls.push(dpkg()?.args(["--configure", "--pending"]));
        }
        Family::Rpm => {
            if let Some(dnf) = find("dnf").or_else(|| find("dnf5")) {
                calls.push(candidate::call(&dnf).args(["-y", "downgrade"]).arg(file));
            }
            // Where both versions are registered, this leaves one.
            calls.push(rpm()?.args(["--upgrade", "--oldpackage", "--replacepkgs"]).arg(file));
        }
    }
    Ok(calls)
}

/// No question is ever asked: the operator's edited files stay, nothing else is removed.
fn by_apt(apt: &Path, file: &Path) -> Call {
    let call = candidate::call(apt)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("APT_LISTCHANGES_FRONTEND", "none")
        .env("NEEDRESTART_SUSPEND", "1")
        .args(["-y", "-q", "--allow-downgrades", "--allow-change-held-packages", "--no-remove"])
        .args(["--no-install-recommends", "-o", LOCK_WAIT])
        .args(["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]);
    call.arg("install").arg(file)
}

fn dpkg() -> Result<Call> {
    let program = find("dpkg").ok_or_else(|| missing("dpkg"))?;
    let call = candidate::call(&program).env("DEBIAN_FRONTEND", "noninteractive");
    Ok(call.args(["--force-confdef", "--force-confold"]))
}

fn rpm() -> Result<Call> {
    find("rpm").map(|program| candidate::call(&program)).ok_or_else(|| missing("rpm"))
}

fn missing(name: &str) -> Error {
    Error::new(Outcome::Refused, format!("there is no {name} to change the package with"))
        .state("nothing was changed")
}

/// Returns whether the package database says that this version, and no other, is installed whole.
pub fn is_there(installed: &Installed, version: &Version) -> bool {
    let name = &installed.name;
    let call = match installed.family {
        Family::Deb => find("dpkg-query").map(|program| {
            let format = "--showformat=${db:Status-Status} ${Version}\\n";
            Call::new(program).args(["--show", format, name])
        }),
        Family::Rpm => find("rpm").map(|program| {
            let format = "--queryformat=installed %{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n";
            Call::new(program).args(["--query", format, name])
        }),
    };
    let text = call.and_then(|call| call.deadline(LIMIT).run().ok()).map(|output| output.text());
    text.is_some_and(|text| says_there(&text, version))
}

fn says_there(text: &str, version: &Version) -> bool {
    let mut lines = text.lines().filter(|line| !line.starts_with("not-installed"));
    let whole = |line: &str| {
        let Some((state, found)) = line.split_once(' ') else { return false };
        let settled = matches!(state, "installed" | "triggers-awaited" | "triggers-pending");
        settled && Version::new(found).order(version).is_eq()
    };
    matches!((lines.next(), lines.next()), (Some(line), None) if whole(line))
}

fn told(attempt: &str, failure: &Failure) -> Error {
    let stdout = match failure {
        Failure::Ended { stdout, .. } => String::from_utf8_lossy(stdout).into_owned(),
        Failure::NotStarted(_) | Failure::TimedOut(_) | Failure::Interrupted(_) => String::new(),
    };
    let all: Vec<&str> = stdout.lines().chain(failure.stderr().lines()).collect();
    let lines: Vec<&&str> = all.iter().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    let error = Error::failed(format!("{attempt}: the tool {failure}"));
    last.iter().fold(error, |error, line| error.detail(line.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 57.
    #[test]
    fn only_one_whole_version_counts_as_there() {
        let wanted = Version::new("1.0.0");
        for (text, there) in [
            ("installed 1.0.0-1\n", true),
            ("triggers-pending 1.0.0-1\n", true),
            ("installed 0:1.0.0-1\n", true),
            ("half-configured 1.0.0-1\n", false),
            ("unpacked 1.0.0-1\n", false),
            ("installed 2.0.0-1\n", false),
            ("installed 0:1.0.0-1\ninstalled 0:2.0.0-1\n", false),
            ("", false),
        ] {
            assert_eq!(says_there(text, &wanted), there, "{text}");
        }
    }
}

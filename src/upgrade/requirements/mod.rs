//! What the packager says that the machine must have: programs of a version, and free space.

use std::path::Path;
use std::time::Duration;

use crate::config::{RequireSpec, Requirement};
use crate::disk;
use crate::error::Result;
use crate::system::process::{self, Call};
use crate::version::Version;

use super::machine::Machine;
use super::preflight::{Finding, Severity, refusal};

/// How long a program may take to say its version.
const LIMIT: Duration = Duration::from_secs(60);

/// Where programs without a path are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Looks at every requirement; what is not met is told, all of it.
pub fn findings(machine: &Machine, found: &mut Vec<Finding>) {
    found.extend(machine.config.require.iter().filter_map(finding));
}

/// Refuses where a requirement is not met; others are told.
pub fn check(machine: &Machine) -> Result<()> {
    let mut found = Vec::new();
    findings(machine, &mut found);
    for finding in found.iter().filter(|found| found.severity == Severity::Advisory) {
        machine.progress.warn(&finding.message);
    }
    refusal(&found).map_or(Ok(()), Err)
}

fn finding(spec: &RequireSpec) -> Option<Finding> {
    let lack = match &spec.what {
        Requirement::Program { command, at_least } => program(command, at_least.as_ref()),
        Requirement::Free { bytes, path } => free(*bytes, path),
    };
    let (message, remedy) = lack?;
    let severity = if spec.required { Severity::Required } else { Severity::Advisory };
    Some(Finding { severity, message, hint: Some(spec.hint.clone().unwrap_or(remedy)) })
}

fn program(command: &[String], at_least: Option<&Version>) -> Option<(String, String)> {
    let (first, arguments) = command.split_first()?;
    let wanted = at_least.map_or(String::new(), |version| format!(" {version} or newer"));
    let Some(path) = process::find_in(first, PATH) else {
        let message = format!("{first}{wanted} is needed, and there is no program {first}");
        return Some((message, format!("Install {first}{wanted}.")));
    };
    let shown = command.join(" ");
    let output = match Call::new(path).args(arguments).deadline(LIMIT).run() {
        Ok(output) => output,
        Err(failure) => {
            let message = format!("{first}{wanted} is needed, and {shown} {failure}");
            return Some((message, format!("Look at what `{shown}` says.")));
        }
    };
    let wanted_version = at_least?;
    let said = format!("{}\n{}", output.text(), output.stderr);
    match version_in(&said) {
        Some(found) if found.order(wanted_version).is_ge() => None,
        Some(found) => Some((
            format!("{first}{wanted} is needed, and {first} is {found}"),
            format!("Install {first}{wanted}."),
        )),
        None => Some((
            format!("{first}{wanted} is needed, and {shown} names no version"),
            format!("Look at what `{shown}` says."),
        )),
    }
}

/// The first number with dots in what a program prints, such as 3.11.2 in `Python 3.11.2`.
fn version_in(text: &str) -> Option<Version> {
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let parts = text.split(|c: char| !is_part(c)).map(|part| part.trim_matches('.'));
    let numbers = parts.filter(|part| part.starts_with(|c: char| c.is_ascii_digit()));
    let all: Vec<&str> = numbers.collect();
    let dotted = all.iter().find(|part| part.contains('.'));
    dotted.or(all.first()).map(Version::new)
}

fn free(bytes: u64, path: &Path) -> Option<(String, String)> {
    let shown = path.display();
    match disk::free(path) {
        Ok(free) if free.bytes >= bytes => None,
        Ok(free) => Some((
            format!(
                "{} are needed below {shown}, and {} are free",
                disk::spoken(bytes),
                disk::spoken(free.bytes)
            ),
            format!("Free some space; look at `df {shown}`."),
        )),
        Err(error) => Some((
            format!("the free space below {shown} is not known: {error}"),
            format!("Look at `df {shown}`."),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_version_is_the_first_number_with_dots() {
        for (said, version) in [
            ("Python 3.11.2\n", Some("3.11.2")),
            ("v18.19.0", Some("18.19.0")),
            ("git version 2.39.5 (2025)", Some("2.39.5")),
            ("openjdk 17", Some("17")),
            ("psql (PostgreSQL) 15.8 (Debian 15.8-1)", Some("15.8")),
            ("none", None),
        ] {
            assert_eq!(version_in(said), version.map(Version::new), "{said}");
        }
    }

    #[test]
    fn what_is_missing_or_too_old_is_told_with_what_is_needed() {
        let say = |version: &str| words(&["sh", "-c", &format!("echo tool {version}")]);
        let wanted = Version::new("3.8");
        assert_eq!(program(&say("3.11.2"), Some(&wanted)), None);
        let (old, hint) = program(&say("3.7.9"), Some(&wanted)).unwrap();
        assert_eq!(old, "sh 3.8 or newer is needed, and sh is 3.7.9");
        assert_eq!(hint, "Install sh 3.8 or newer.");
        let (none, _) = program(&words(&["no-such-program", "-v"]), Some(&wanted)).unwrap();
        assert!(none.ends_with("there is no program no-such-program"), "{none}");
        let (silent, _) = program(&words(&["true"]), Some(&wanted)).unwrap();
        assert!(silent.ends_with("names no version"), "{silent}");
        assert_eq!(program(&words(&["true"]), None), None);
        let (fails, _) = program(&words(&["false"]), None).unwrap();
        assert!(fails.ends_with("false exited with status 1"), "{fails}");
    }

    #[test]
    fn space_that_is_not_there_is_told_in_numbers() {
        assert_eq!(free(1, Path::new("/")), None);
        let (told, _) = free(u64::MAX, Path::new("/no/such/place")).unwrap();
        assert!(told.contains("are needed below /no/such/place"), "{told}");
    }
}

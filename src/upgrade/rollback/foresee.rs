//! Before an upgrade: whether its package could come back too, told while there is time to keep it.

use crate::package::candidate;
use crate::version::Version;

use super::super::machine::Machine;
use super::super::preflight::{Finding, Severity};
use super::super::survey::Survey;
use super::source::{self, Lack, Source};

/// Looks for the package of the version that the next upgrade leaves behind; changes nothing. Where no
/// package tool knows the application there is no package to go back to, and nothing to tell.
pub fn look(machine: &Machine, survey: &Survey<'_>, found: &mut Vec<Finding>) {
    let Some(old) = left_behind(machine, survey) else { return };
    let Ok(installed) = candidate::installed(&machine.layout) else { return };
    let looked = source::look(&machine.layout, &installed, &old);
    found.extend(match looked {
        Ok(looked) => told(&installed.name, &old, &looked),
        Err(error) => Some(Finding {
            severity: Severity::Advisory,
            message: error.message(),
            hint: error.hint_line().map(str::to_owned),
        }),
    });
}

fn left_behind(machine: &Machine, survey: &Survey<'_>) -> Option<Version> {
    if let Some(looked_into) = &machine.looked_into {
        return looked_into.installed.clone();
    }
    let from = survey.pending.as_ref().and_then(|mark| mark.from.clone());
    Some(from.unwrap_or_else(|| machine.version.clone()))
}

fn told(
    package: &str,
    old: &Version,
    looked: &std::result::Result<Source, Lack>,
) -> Option<Finding> {
    let why = match looked {
        Ok(Source::Named(_) | Source::Kept(_) | Source::Cached(_) | Source::Offered(_)) => {
            return None;
        }
        Err(Lack::NotOffered) => "no package source offers it any more".to_owned(),
        Err(Lack::NotAsked(why)) => format!("the package sources cannot be asked ({why})"),
    };
    let message = format!(
        "a rollback would bring back the data only: the package {package} {old} is neither kept nor \
         in a cache, and {why}"
    );
    let hint = "Keep its file somewhere; `openwatch rollback --package FILE` takes it.".to_owned();
    Some(Finding { severity: Severity::Advisory, message, hint: Some(hint) })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Row 58.
    #[test]
    fn a_package_that_is_nowhere_is_told_before_the_upgrade_and_stops_nothing() {
        let old = Version::new("1.0.0");
        let told = |looked| told("openwatch", &old, &looked);
        for at_hand in [
            Source::Kept(PathBuf::from("/k")),
            Source::Cached(PathBuf::from("/c")),
            Source::Offered(Version::new("1.0.0-1")),
        ] {
            assert_eq!(told(Ok(at_hand)), None);
        }
        for lack in [Lack::NotOffered, Lack::NotAsked("away".into())] {
            let finding = told(Err(lack)).unwrap();
            assert_eq!(finding.severity, Severity::Advisory);
            assert!(finding.message.contains("data only"), "{}", finding.message);
        }
    }
}

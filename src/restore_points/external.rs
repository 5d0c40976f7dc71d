//! Restore points that a command of the operator makes, such as a snapshot of the storage.
//!
//! We cannot read what it made, so that all we know is the identifier it printed; a command that ends
//! in any other way than well and with one identifier has made no restore point.

use std::time::Duration;

use super::archive::{contents_name, of_no_file};
use super::create::{Request, no_point};
use super::digest::{self, Sums};
use super::manifest::{Contents, Kind, Proof};
use super::store::{RestorePoint, Store};
use crate::database::facts;
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::system::fs;
use crate::system::process::{Call, Failure, Stream};

/// The most characters of an identifier.
const LONGEST: usize = 200;

/// The most lines of the command's own words in a message.
const SAID: usize = 5;

/// A command of the operator: an argument list, run without a shell, and the time it has.
#[derive(Clone, Copy, Debug)]
pub struct Hook<'a> {
    /// The program's absolute path and its arguments.
    pub command: &'a [String],
    /// How long it may take.
    pub limit: Duration,
}

/// What a command printed.
#[derive(Default)]
struct Said {
    lines: Vec<String>,
    errors: Vec<String>,
}

impl Store {
    /// Has a command make a restore point of these databases and publishes its identifier.
    pub fn create_external(
        &self,
        request: &Request<'_>,
        hook: Hook<'_>,
        progress: &dyn Progress,
    ) -> Result<RestorePoint> {
        let version = |version: &Option<crate::version::Version>| {
            version.as_ref().map_or_else(String::new, ToString::to_string)
        };
        let attempt = || {
            let mut draft = self.draft(request, Kind::External, Proof::Stated)?;
            let archives = request
                .databases
                .iter()
                .map(|target| Ok(of_no_file(target, &facts::of(target.database)?)))
                .collect::<Result<Vec<_>>>()?;
            let call = call(hook)?
                .env("OPENWATCH_APP", self.app())
                .env("OPENWATCH_RESTORE_POINT", &draft.id)
                .env("OPENWATCH_FROM_VERSION", version(&request.from_version))
                .env("OPENWATCH_TO_VERSION", version(&request.to_version));
            let said = run(hook, call, "the restore point", progress)?;
            let identifier = identifier(&said.lines).map_err(|why| {
                Error::failed(format!("{} printed no identifier: {why}", hook.command[0])).hint(
                    "It must print one line, the identifier of what it made, and nothing else.",
                )
            })?;
            let made = |error: Error| {
                error
                    .detail(format!("{} made {identifier}, which nobody uses now", hook.command[0]))
            };
            draft.identifier = Some(identifier.clone());
            let partial = self.partial(&draft).map_err(made)?;
            let mut sums = Sums::default();
            for archive in &archives {
                let text = serde_json::to_vec(&Contents::default())
                    .context(|| "cannot write the contents".into())?;
                let file = contents_name(&archive.name);
                fs::replace(&partial.dir.join(&file), &text, 0o600).map_err(made)?;
                sums.0.push((file, digest::of_bytes(&text)));
            }
            self.finish(partial, draft, request, archives, &sums).map_err(made)
        };
        attempt().map_err(no_point)
    }
}

impl RestorePoint {
    /// Returns the identifier of what a command made; none of a dump or a clone.
    pub fn identifier(&self) -> Option<&str> {
        self.manifest().identifier.as_deref()
    }

    /// Has a command put back what another one made; the identifier is its last argument.
    ///
    /// The services are down, the gate is closed, and what the data is afterwards is to be looked at.
    pub fn put_back_by(&self, hook: Hook<'_>, progress: &dyn Progress) -> Result<()> {
        let identifier = self.identifier().ok_or_else(|| {
            Error::failed(format!("restore point {} has no identifier", self.id()))
        })?;
        let call = call(hook)?
            .arg(identifier)
            .env("OPENWATCH_APP", &self.app)
            .env("OPENWATCH_RESTORE_POINT", self.id());
        run(hook, call, identifier, progress).map(drop).map_err(|error| {
            error.state(format!("what {identifier} holds may be put back in part"))
        })
    }
}

fn call(hook: Hook<'_>) -> Result<Call> {
    let (program, arguments) =
        hook.command.split_first().ok_or_else(|| Error::config("a command is an empty list"))?;
    Ok(Call::new(program).args(arguments).deadline(hook.limit))
}

fn run(hook: Hook<'_>, call: Call, what: &str, progress: &dyn Progress) -> Result<Said> {
    let program = &hook.command[0];
    let mut said = Said::default();
    let ended = call.run_kept(|printed| match printed {
        Some(printed) => {
            let list = match printed.stream {
                Stream::Output => &mut said.lines,
                Stream::Error => &mut said.errors,
            };
            // One more than makes sense tells that there were more.
            if list.len() > SAID {
                list.remove(SAID - 1);
            }
            list.push(printed.line.clone());
        }
        None => progress.alive(&format!("waiting for {program} to end with {what}"), 0, None),
    });
    match ended {
        Ok(()) => Ok(said),
        Err(failure) => {
            let error = Error::failed(format!("{program} {failure}"));
            let error = said.errors.iter().fold(error, |error, line| error.detail(shown(line)));
            Err(match failure {
                Failure::NotStarted(_) => error.hint("Make it a program that root can run."),
                Failure::TimedOut(_) => {
                    error.hint("Make it faster, or give it more time in upgrade.conf(5).")
                }
                Failure::Ended { .. } | Failure::Interrupted(_) => error,
            })
        }
    }
}

/// Returns the identifier that was printed, or in words what was printed instead.
///
/// It is printed in messages and given to another command as an argument, so that it must not be taken
/// for an option of that.
fn identifier(lines: &[String]) -> std::result::Result<String, String> {
    match lines {
        [] => Err("it printed nothing".into()),
        [line] if line.trim().is_empty() => Err("its line is empty".into()),
        [line] if line.len() > LONGEST => Err(format!("its line is longer than {LONGEST} bytes")),
        [line] if line.starts_with('-') => Err("its line begins with a dash".into()),
        [line] if line.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(line.clone()),
        [line] => Err(format!("{:?} is not printable ASCII without blanks", shown(line))),
        _ => Err("it printed more than one line".into()),
    }
}

/// Keeps a line of somebody else's short and free of control characters.
fn shown(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_one_printable_line_that_is_no_option() {
        let of = |lines: &[&str]| {
            identifier(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
        };
        for good in ["tank/pg@openwatch-20261120T131502Z", "snap-0123456789abcdef0", "vg0/pg_1"] {
            assert_eq!(of(&[good]), Ok(good.into()));
        }
        let long = "x".repeat(LONGEST + 1);
        for bad in [
            &[][..],
            &[""],
            &["  "],
            &["a", "b"],
            &["a", ""],
            &["two words"],
            &["bell\u{7}"],
            &["tab\t"],
            &["café"],
            &["--all"],
            &[long.as_str()],
        ] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}

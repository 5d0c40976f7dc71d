//! Whether somebody can open the restore points: told before an upgrade, and noted when it was shown.

use serde::{Deserialize, Serialize};

use crate::config::OnFailure;
use crate::error::{Context, Result};
use crate::restore_points::RestorePoint;
use crate::system::clock;
use crate::system::fs;

use super::machine::{self, Machine};
use super::preflight::{Finding, Severity};

/// The most bytes of the note.
const LIMIT: u64 = 64 << 10;

/// When an identity last opened a restore point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// The public half of the identity.
    pub recipient: String,
    /// When, RFC 3339.
    pub at: String,
    /// Id of the restore point that it opened.
    pub point: String,
}

/// Notes that the identity of this recipient opened a restore point, every byte of it.
pub fn note(machine: &Machine, recipient: String, point: &str) -> Result<()> {
    let at = clock::rfc3339(machine.clock.now());
    let proven = Proven { recipient, at, point: point.to_owned() };
    let text = serde_json::to_vec(&proven).context(|| "cannot write the note".into())?;
    fs::make_dir(&machine.layout.upgrade_dir(), 0o755)?;
    fs::replace(&machine.layout.identity_proven(), &text, 0o600)
}

/// Returns when an identity of one of the present recipients was last proven; a note that cannot be
/// read proves nothing.
pub fn last_proven(machine: &Machine) -> Option<Proven> {
    let text = fs::read_text(&machine.layout.identity_proven(), LIMIT).ok()?;
    let proven: Proven = serde_json::from_str(&text).ok()?;
    let recipients = machine.keyring.recipients().ok()?;
    recipients.iter().any(|own| own.as_str() == proven.recipient).then_some(proven)
}

/// Returns the command that puts a restore point back, with what opens it.
pub fn restore_command(machine: &Machine, id: &str) -> String {
    machine.command(&format!("restore {id} --yes{}", to_be_named(machine)))
}

/// Returns the option that whoever puts data back has to add, where this machine cannot open its own
/// restore points.
pub fn to_be_named(machine: &Machine) -> &'static str {
    match machine.keyring.encrypts() && machine.keyring.identity_file().is_none() {
        true => " --identity FILE",
        false => "",
    }
}

/// Returns the identity that was named for this run, as it is typed again.
pub fn named(machine: &Machine) -> String {
    let file = machine.keyring.named_identity();
    file.map_or(String::new(), |file| format!(" --identity {}", machine::typed(file)))
}

/// Refuses where a restore point cannot be opened, with the command that names the identity.
///
/// `words` is what was asked for, as it would be typed.
pub fn must_open(machine: &Machine, point: &RestorePoint, words: &str) -> Result<()> {
    if !point.is_encrypted() {
        return Ok(());
    }
    let command = machine.command(&format!("{words} --identity FILE"));
    let hint = || format!("Run `{command}`, where FILE holds that identity.");
    let opened = point.opening_keys().map(drop);
    match machine.keyring.identity_file() {
        None => opened.map_err(|error| error.hint(hint())),
        Some(_) => opened.map_err(|error| error.or_hint(hint())),
    }
}

/// Says before an upgrade what would only be noticed when the restore point is needed.
pub(super) fn findings(machine: &Machine, found: &mut Vec<Finding>) {
    if !machine.keyring.encrypts() {
        return;
    }
    let mut add = |severity, message: String, hint: Option<String>| {
        found.push(Finding { severity, message, hint });
    };
    let recipients = match machine.keyring.recipients() {
        Ok(recipients) => recipients,
        Err(error) => {
            return add(Severity::Required, error.message(), error.hint_line().map(str::to_owned));
        }
    };
    let names = recipients.iter().map(|own| own.as_str());
    match machine.keyring.identities() {
        Err(error) => {
            add(Severity::Required, error.message(), error.hint_line().map(str::to_owned));
        }
        Ok(Some(identities)) if identities.first_of(names.clone()).is_none() => {
            let file = machine.keyring.identity_file().unwrap_or(std::path::Path::new(""));
            add(
                Severity::Required,
                format!(
                    "the identity in {} belongs to none of the recipients {}: it could not open \
                     what is encrypted to them",
                    file.display(),
                    names.collect::<Vec<_>>().join(", ")
                ),
                Some(
                    "Name the right file in backup_identity_file, or add the recipient of this \
                     identity to backup_recipients."
                        .into(),
                ),
            );
        }
        Ok(Some(_)) => {}
        Ok(None) => without_identity(machine, &names.collect::<Vec<_>>(), &mut add),
    }
}

fn without_identity(
    machine: &Machine,
    names: &[&str],
    add: &mut impl FnMut(Severity, String, Option<String>),
) {
    if last_proven(machine).is_none() {
        let command = machine.command("backup verify latest --identity FILE");
        add(
            Severity::Advisory,
            format!(
                "restore points are encrypted to {}, and nobody has shown on this machine that the \
                 identity exists: `{command}` does, and notes it",
                names.join(", ")
            ),
            None,
        );
    }
    if machine.config.policy.on_failure == OnFailure::Restore {
        add(
            Severity::Advisory,
            "on_failure is \"restore\" and no identity is on this machine: the data is put back by \
             itself only by the run that took the restore point, not after it was killed"
                .into(),
            None,
        );
    }
}

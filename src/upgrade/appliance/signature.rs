//! The signature of a system image: checked by a program that the operator names.

use std::path::Path;
use std::time::Duration;

use crate::restore_points::sha256_of_file;
use crate::system::process::{Call, Failure};
use crate::upgrade::machine::Machine;
use crate::upgrade::preflight::{Finding, required};

/// What stands for the image's path in the arguments.
const IMAGE: &str = "{image}";

/// How long the check of one image may take.
const LIMIT: Duration = Duration::from_secs(1800);

/// Checks the signature of an image; returns its name and SHA-256 for the state, or why it is refused.
///
/// Where the operator has named a program, an image must be named too: no signature is no proof.
pub fn check(machine: &Machine, image: Option<&Path>) -> Result<Option<String>, Finding> {
    const SET: &str = "Set `verify_image` in the operator's upgrade.conf, such as \
                       `verify_image = [\"/usr/bin/gpgv\", \"--keyring\", \"/etc/app/image.gpg\", \
                       \"{image}.sig\", \"{image}\"]`.";
    let (image, command) = match (image, &machine.config.policy.verify_image) {
        (None, None) => return Ok(None),
        (None, Some(_)) => {
            let message = "no image was named, so its signature cannot be verified";
            return Err(required(message, "Name it with `--image FILE`."));
        }
        (Some(image), None) => {
            let message = format!("nothing can verify the signature of {}", image.display());
            return Err(required(message, SET));
        }
        (Some(image), Some(command)) => (image, command),
    };
    let hashed = sha256_of_file(image).map_err(|error| {
        let message = format!("the image {} cannot be read: {error}", image.display());
        required(message, "Name the file of the image.")
    })?;
    let Some((program, arguments)) = command.split_first() else { return Ok(None) };
    let mut call = Call::new(program).deadline(LIMIT);
    for argument in arguments {
        call = call.arg(argument.replace(IMAGE, &image.to_string_lossy()));
    }
    if !arguments.iter().any(|argument| argument.contains(IMAGE)) {
        call = call.arg(image);
    }
    if let Err(failure) = call.run() {
        // Only a program that ended by itself has said something about the image.
        let (found, hint) = match (&failure, failure.code()) {
            (_, Some(_)) => ("does not verify", "Fetch the image again; do not boot this one."),
            (Failure::NotStarted(_), None) => {
                ("was not checked", "Install the program, or name another in `verify_image`.")
            }
            (Failure::Ended { .. } | Failure::TimedOut(_) | Failure::Interrupted(_), None) => {
                ("was not checked", "Run this again; do not boot the image before.")
            }
        };
        let said =
            failure.stderr().lines().last().map_or(String::new(), |line| format!(": {line}"));
        let shown = image.display();
        let message = format!("the signature of {shown} {found}: {program} {failure}{said}");
        return Err(required(message, hint));
    }
    let name = image.file_name().unwrap_or(image.as_os_str()).to_string_lossy();
    Ok(Some(format!("{name} sha256:{hashed}")))
}

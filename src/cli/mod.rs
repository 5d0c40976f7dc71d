//! Parsing, dispatch, printing, exit code.

pub mod args;
mod asked;
mod dispatch;
mod migrating;
pub mod printer;
mod showing;
mod upgrading;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use clap::error::ErrorKind;
use serde_json::{Value, json};

use crate::commands::Reply;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::system::process::keeper;
use crate::system::signals;

use args::{Arguments, Global};
use printer::{Printer, Volume};

/// Runs the program: parses, dispatches, prints, and returns the exit status.
pub fn main() -> ExitCode {
    if let Some(rest) = as_keeper() {
        return keeper::main(rest, |line| {
            Printer::new("", Volume::Normal, true).relay(line);
        });
    }
    let arguments = match Arguments::try_parse_from(words(std::env::args_os())) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers; everything else is wrong usage. clap prints both.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(Outcome::Usage.exit_code()),
            };
        }
    };
    let global = &arguments.global;
    let printer =
        Arc::new(Printer::new(&global.app, volume(global), global.no_color || global.json));
    let result = signals::install().and_then(|()| dispatch::run(&arguments, &printer));
    let outcome = match result {
        Ok(reply) => answered(global, &printer, reply),
        Err(error) => failed(global, &printer, &error),
    };
    ExitCode::from(outcome.exit_code())
}

/// Under the keeper's name this program keeps a tool of the application; see [`keeper`].
fn as_keeper() -> Option<impl Iterator<Item = OsString>> {
    let mut all = std::env::args_os();
    (all.next()? == keeper::NAME).then_some(all)
}

/// `/usr/libexec/openwatch/migrate` is this program under another name: `openwatch migrate`.
fn words(mut all: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let program = all.next().unwrap_or_default();
    let is_migrate = Path::new(&program).file_name().is_some_and(|name| name == "migrate");
    let verb = is_migrate.then(|| OsString::from("migrate"));
    [OsString::from("openwatch")].into_iter().chain(verb).chain(all).collect()
}

fn volume(global: &Global) -> Volume {
    match (global.quiet, global.verbose) {
        (true, _) => Volume::Quiet,
        (false, true) => Volume::Verbose,
        (false, false) => Volume::Normal,
    }
}

fn answered(global: &Global, printer: &Printer, reply: Reply) -> Outcome {
    if global.json {
        printer.result(&complete(reply.json, &global.app, reply.outcome).to_string());
    } else if !reply.text.is_empty() {
        printer.result(&reply.text);
    }
    reply.outcome
}

fn failed(global: &Global, printer: &Printer, error: &Error) -> Outcome {
    if global.json {
        let json = complete(failure(error), &global.app, error.outcome());
        printer.result(&json.to_string());
    }
    printer.failure(error);
    error.outcome()
}

/// Returns what `--json` tells of a failure.
fn failure(error: &Error) -> Value {
    json!({"error": {
        "message": error.message(),
        "detail": error.details(),
        "state": error.state_line(),
        "hint": error.hint_line(),
    }})
}

/// Adds what every object of `--json` has, first.
fn complete(json: Value, app: &str, outcome: Outcome) -> Value {
    let mut all = json!({"outcome": outcome.word(), "app": app});
    if let (Some(all), Value::Object(rest)) = (all.as_object_mut(), json) {
        all.extend(rest);
    }
    all
}

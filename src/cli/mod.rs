//! Parsing, dispatch, printing, exit code.

use std::process::ExitCode;

/// Runs the program: parses, dispatches, prints, and returns the exit status.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}

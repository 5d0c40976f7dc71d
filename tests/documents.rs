//! What the documents print is what the program understands, and their links lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use openwatch::cli::args::Arguments;
use openwatch::outcome::Outcome;

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of all shell blocks of a document, and the commands in backticks of its text.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let line = line.trim();
        if let Some(kind) = line.strip_prefix("```") {
            inside = kind == "sh";
        } else if inside {
            found.push(line.split('#').next().unwrap().trim().to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found.retain(|command| command.starts_with("openwatch "));
    found
}

#[test]
fn every_openwatch_command_in_the_documents_is_understood() {
    let mut count = 0;
    for name in ["README.md", "docs/UPGRADING.md", "docs/PACKAGING.md", "packaging/README.md"] {
        for command in commands(&file(name)) {
            // Placeholders in capitals and ellipses stand for what a reader fills in.
            let words = command.replace(['…', '"'], "").replace("$@", "configure");
            let parsed = Arguments::try_parse_from(words.split_whitespace());
            assert!(parsed.is_ok(), "{name}: {command}: {}", parsed.unwrap_err());
            count += 1;
        }
    }
    assert!(count > 20, "only {count} commands were found");
}

#[test]
fn the_runbook_knows_every_exit_status_that_leaves_work() {
    let runbook = file("docs/UPGRADING.md");
    for outcome in [
        Outcome::Config,
        Outcome::Refused,
        Outcome::BackupFailed,
        Outcome::MigrationFailed,
        Outcome::Unhealthy,
        Outcome::RolledBack,
        Outcome::Busy,
    ] {
        let cell = format!("| {} |", outcome.exit_code());
        assert!(runbook.contains(&cell), "no row for {outcome}");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for name in ["README.md", "docs/UPGRADING.md", "docs/PACKAGING.md"] {
        let text = file(name);
        let here = PathBuf::from(name);
        let dir = here.parent().unwrap();
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap();
            if target.starts_with("http") {
                continue;
            }
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir).join(target);
            assert!(path.exists(), "{name} links to {target}");
        }
    }
}

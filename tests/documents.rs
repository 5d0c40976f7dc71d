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
    let documents = ["README.md", "docs/UPGRADING.md", "docs/PACKAGING.md", "packaging/README.md"];
    for name in documents.into_iter().chain(["docs/SECURITY.md", "docs/CONSOLE.md"]) {
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

/// A command that a document prints in a block of kind `sh`, with the block's line joins undone.
fn printed(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut inside, mut open) = (false, String::new());
    for line in text.lines().map(str::trim) {
        if let Some(kind) = line.strip_prefix("```") {
            inside = kind == "sh";
        } else if inside {
            match line.strip_suffix('\\') {
                Some(part) => open += part,
                None => found.extend(both_ways(&(std::mem::take(&mut open) + line))),
            }
        }
    }
    found
}

/// Takes the remark off; `# or: COMMAND` is the same for the other family.
fn both_ways(line: &str) -> Vec<String> {
    let (command, remark) = line.split_once(" #").unwrap_or((line, ""));
    let other = remark.trim().strip_prefix("or: ").unwrap_or_default();
    let mut all = vec![command.trim().to_owned(), other.trim().to_owned()];
    all.retain(|command| !command.is_empty() && !command.starts_with('#'));
    all
}

/// A row of tests/containers/documents.
struct Row {
    family: String,
    situation: String,
    document: String,
    command: String,
}

fn table() -> Vec<Row> {
    let text = file("tests/containers/documents");
    let rows = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|line| {
        let columns: Vec<&str> = line.splitn(5, '|').map(str::trim).collect();
        let [family, situation, status, document, command] = columns[..] else {
            panic!("tests/containers/documents: five columns are wanted: {line}");
        };
        let known = ["deb", "rpm", "both", "-"].contains(&family);
        let ends = status == "-" || status == "follows" || status.parse::<u8>().is_ok();
        assert!(known && ends && !situation.is_empty(), "tests/containers/documents: {line}");
        assert_eq!(family == "-", status == "-", "tests/containers/documents: {line}");
        let document = match document {
            "R" => "README.md",
            "U" => "docs/UPGRADING.md",
            "P" => "docs/PACKAGING.md",
            other => panic!("tests/containers/documents: unknown document {other}"),
        };
        let own = str::to_owned;
        let (family, situation) = (own(family), own(situation));
        Row { family, situation, document: own(document), command: own(command) }
    })
    .collect()
}

/// Row 91.
#[test]
fn every_printed_command_is_run_by_a_package_test_or_says_why_not() {
    let table = table();
    let mut faults = Vec::new();
    for name in ["README.md", "docs/UPGRADING.md", "docs/PACKAGING.md"] {
        let printed = printed(&file(name));
        let listed: Vec<&Row> = table.iter().filter(|row| row.document == name).collect();
        for command in &printed {
            if !listed.iter().any(|row| row.command == *command) {
                faults.push(format!("{name} prints a command without a row: {command}"));
            }
        }
        for row in listed.iter().filter(|row| !printed.contains(&row.command)) {
            faults.push(format!("{name} does not print the row's command: {}", row.command));
        }
    }
    let facts = ["documents.sh", "failure.sh"]
        .map(|name| file(&format!("tests/containers/topics/{name}")))
        .concat();
    for row in table.iter().filter(|row| row.family != "-") {
        let asked = [format!("documented \"{}\"", row.situation), {
            format!("documented {}", row.situation)
        }];
        if !asked.iter().any(|words| facts.contains(words.as_str())) {
            faults.push(format!("no fact runs the situation of {}", row.command));
        }
    }
    assert!(faults.is_empty(), "tests/containers/documents:\n{}", faults.join("\n"));
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

/// Every file below a directory with one of these endings, as one text.
fn all_below(dir: &str, endings: &[&str]) -> String {
    let mut text = String::new();
    let mut todo = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)];
    while let Some(dir) = todo.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            if path.is_dir() {
                todo.push(path);
            } else if endings.contains(&ending) {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    text
}

#[test]
fn every_test_that_the_threat_note_names_is_there() {
    let tests = all_below("tests", &["rs", "sh"]) + &all_below("src", &["rs"]);
    let note = file("docs/SECURITY.md");
    let mut count = 0;
    for name in note.lines().flat_map(|line| line.split('`').skip(1).step_by(2)) {
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if plain && name.matches('_').count() > 2 {
            assert!(tests.contains(&format!("{name}()")), "docs/SECURITY.md: no test {name}");
            count += 1;
        }
    }
    assert!(count > 40, "only {count} names were found");
    // Each row of a threat shows its test.
    let rows = note.split("## What the units may do").next().unwrap();
    for row in rows.lines().filter(|line| line.starts_with("| ") && !line.contains("Shown by")) {
        assert!(row.matches('`').count() >= 2, "docs/SECURITY.md: no test in: {row}");
    }
}

#[test]
fn the_catalog_explains_every_entry_of_the_journal_and_no_other() {
    use openwatch::notify::MessageId;
    let catalog = file("systemd/openwatch.catalog");
    let explained: Vec<&str> =
        catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    assert_eq!(explained, MessageId::ALL.map(MessageId::text));
}

#[test]
fn links_between_documents_lead_somewhere() {
    for name in ["README.md", "docs/UPGRADING.md", "docs/PACKAGING.md", "docs/CONSOLE.md"] {
        let text = file(name);
        let here = PathBuf::from(name);
        let dir = here.parent().unwrap();
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if target.starts_with("http") {
                continue;
            }
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir).join(target);
            assert!(path.exists(), "{name} links to {target}");
        }
    }
}

#[test]
fn the_tools_that_the_packagers_guide_names_are_understood() {
    let guide = file("docs/PACKAGING.md").replace("NAME", "shop");
    let blocks = guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let tools: Vec<&str> = blocks.filter(|text| text.contains("[database.migrations]")).collect();
    assert_eq!(tools.len(), 4);
    let root = tempfile::tempdir().unwrap();
    let share = root.path().join("usr/share/shop");
    fs::create_dir_all(&share).unwrap();
    for text in tools {
        let head = "[app]\nservices = [\"shop.service\"]\n[[database]]\nname = \"main\"\n";
        fs::write(share.join("upgrade.conf"), format!("{head}{text}")).unwrap();
        let layout = openwatch::layout::Layout::new(root.path(), "shop");
        let config = openwatch::config::Config::load(&layout, None).unwrap();
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}

/// What `openwatch init` writes is read by the engine itself and by the shell, and never overwrites.
#[test]
fn the_packaging_that_init_writes_is_understood_and_is_about_the_application_alone() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("packaging");
    let init = |more: &[&str]| {
        assert_cmd::Command::new(env!("CARGO_BIN_EXE_openwatch"))
            .args([
                "--app",
                "shop",
                "init",
                "--service",
                "shop-worker.service",
                "--service",
                "shop.socket",
            ])
            .args([
                "--database-env",
                "SHOP_URL",
                "--format",
                "goose",
                "--health",
                "http://127.0.0.1:9/h",
            ])
            .args(more)
            .arg(&dir)
            .assert()
    };
    init(&["--database-env", "1 2"]).code(2);
    assert!(!dir.exists());
    init(&[]).success();
    init(&[]).code(5);
    let layout = openwatch::layout::Layout::new(dir.join("files"), "shop");
    let config = openwatch::config::Config::load(&layout, None).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.app.services, ["shop-worker.service", "shop.socket"]);
    let mut scripts = 0;
    for (path, text) in below(&dir) {
        let ours = [
            "/usr/bin/openwatch",
            "openwatch(1)",
            "`openwatch --app shop",
            "(openwatch --app shop",
            "as: openwatch --app",
        ];
        let rest = ours.iter().fold(text.clone(), |text, kept| text.replace(kept, ""));
        let about_ours = path.ends_with("README.md");
        assert!(
            about_ours || !rest.to_lowercase().replace("openwatch_now", "").contains("openwatch"),
            "{path}: {rest}"
        );
        assert!(!text.contains("NAME"), "{path}");
        if text.starts_with("#!/bin/sh") {
            scripts += 1;
            let status =
                std::process::Command::new("sh").args(["-n"]).arg(dir.join(&path)).status();
            assert!(status.unwrap().success(), "{path}");
            assert!(!text.contains("shop.service"), "{path}: {text}");
            // Ours has them for every application; another package has no such files.
            for ours_alone in ["generator", "guard", "dnf-plugins"] {
                assert!(!text.contains(ours_alone), "{path}: {text}");
            }
        }
    }
    assert_eq!(scripts, 9);
    // Whoever has a spec file cannot follow "flagged critical", and is told what that means.
    let written = |path: &str| fs::read_to_string(dir.join(path)).unwrap();
    let readme = written("README.md");
    assert!(readme.contains("post_trans_script_flags = 4"), "{readme}");
    assert!(readme.contains("`openwatch --app shop status --json`"), "{readme}");
    assert!(written("rpm/posttrans.sh").contains("Where the header flags it critical"));
    let unit = dir.join("files/usr/lib/systemd/system/shop-upgrade.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/openwatch --app shop upgrade --unit"), "{unit}");
    let gate = dir.join("files/usr/lib/systemd/system/shop.socket.d/50-start-gate.conf");
    let gate = fs::read_to_string(gate).unwrap();
    assert!(gate.contains("AssertPathExists=|!/var/lib/shop/upgrade/pending"), "{gate}");
    assert!(!gate.contains("[Service]"), "{gate}");
}

/// Every file below a directory, by its path in it.
fn below(dir: &std::path::Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => todo.push(path),
                false => {
                    let name = path.strip_prefix(dir).unwrap().display().to_string();
                    found.push((name, fs::read_to_string(&path).unwrap()));
                }
            }
        }
    }
    found
}

//! upgrade.conf(5) says what the program does: the same keys, the same defaults, examples that load.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use openwatch::config::{Config, Half, KEYS};
use openwatch::layout::Layout;

fn file(below: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(below)).unwrap()
}

fn page() -> String {
    file("docs/man/upgrade.conf.5")
}

/// Keys with half, table and description, as the page has them.
fn documented(page: &str) -> Vec<(Half, String, String, String)> {
    let (mut half, mut table) = (None, String::new());
    let mut found: Vec<(Half, String, String, String)> = Vec::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix(".Sh ") {
            half = match title {
                "THE OPERATOR'S HALF" => Some(Half::Operator),
                "THE PACKAGER'S HALF" => Some(Half::Packager),
                _ => None,
            };
        } else if let Some(title) = line.strip_prefix(".Ss ") {
            let bare = title.trim_matches(['[', ']']);
            table = if bare == title { String::new() } else { bare.to_owned() };
        } else if let (Some(half), Some(key)) = (half, line.strip_prefix(".It Ic ")) {
            found.push((half, table.clone(), key.to_owned(), String::new()));
        } else if let Some((.., text)) = found.last_mut() {
            text.push_str(&line.replace("\\(dq", "\""));
            text.push('\n');
        }
    }
    found
}

#[test]
fn the_page_and_the_program_know_the_same_keys() {
    let page = page();
    let keys: Vec<_> = documented(&page);
    let written: BTreeSet<(bool, String, String)> = keys
        .iter()
        .map(|(half, table, key, _)| (*half == Half::Operator, table.clone(), key.clone()))
        .collect();
    let known: BTreeSet<(bool, String, String)> = KEYS
        .iter()
        .map(|key| (key.half == Half::Operator, key.section.to_owned(), key.name.to_owned()))
        .collect();
    assert_eq!(written, known);
    assert_eq!(keys.len(), KEYS.len(), "a key is described twice");
}

#[test]
fn the_page_and_the_shipped_file_show_the_same_defaults() {
    let shipped = file("etc/openwatch/upgrade.conf");
    let mut compared = 0;
    for (half, table, key, text) in documented(&page()) {
        if half != Half::Operator || !table.is_empty() {
            continue;
        }
        let start = format!("#{key} = ");
        let default = shipped.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
        let wanted = format!("Default:\n.Ql {default} .\n");
        assert!(text.contains(&wanted), "{key}: the page does not say {default}");
        compared += 1;
    }
    let top = |key: &&openwatch::config::Key| key.half == Half::Operator && key.section.is_empty();
    assert_eq!(compared, KEYS.iter().filter(top).count());
}

#[test]
fn the_examples_of_the_page_load_without_a_warning() {
    let page = page();
    let examples: Vec<&str> = page
        .split(".Bd -literal -offset indent\n")
        .skip(1)
        .map(|rest| rest.split(".Ed").next().unwrap())
        .collect();
    assert_eq!(examples.len(), 2);
    let root = tempfile::tempdir().unwrap();
    for (below, text) in ["usr/share/shop", "etc/shop"].into_iter().zip(examples) {
        fs::create_dir_all(root.path().join(below)).unwrap();
        fs::write(root.path().join(below).join("upgrade.conf"), text).unwrap();
    }
    let config = Config::load(&Layout::new(root.path(), "shop"), None).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.policy.retention.days, Some(90));
}

#[test]
fn the_page_formats_without_a_complaint() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/man/upgrade.conf.5");
    let Ok(output) = Command::new("groff").args(["-mandoc", "-ww", "-Tascii"]).arg(&path).output()
    else {
        eprintln!("SKIPPED: groff is not here to format the page with");
        return;
    };
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("backup_retention_days"));
}

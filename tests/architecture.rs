//! The house rules: imports point downward, one door each, rooms of a readable size.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Room name and layer; a file may import from lower layers and from its own room only.
const LAYERS: &[(&str, u8)] = &[
    ("main", 6),
    ("cli", 5),
    ("commands", 4),
    ("upgrade", 3),
    ("migrations", 2),
    ("restore_points", 2),
    ("services", 2),
    ("health", 2),
    ("notify", 2),
    ("config", 1),
    ("layout", 1),
    ("package", 1),
    ("version", 1),
    ("database", 1),
    ("sqlite", 1),
    ("disk", 1),
    ("system", 0),
    ("progress", 0),
    ("error", 0),
    ("outcome", 0),
];

/// Siblings that may know each other, with the reason.
const SIBLINGS: &[(&str, &str, &str)] = &[
    ("config", "layout", "configuration files lie at fixed paths"),
    ("config", "version", "a required stop is a version"),
    ("package", "version", "script arguments are versions"),
    ("package", "layout", "the installed version is a file"),
    ("database", "sqlite", "a database of the application may be a file"),
    ("error", "outcome", "a failure names how the run ends"),
    ("system", "error", "the doors report failures"),
    ("system", "outcome", "a lock that is held ends a run as busy"),
];

/// The most lines a file may have; beyond it a noun is missing.
const MOST_LINES: usize = 400;

fn sources() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    let mut todo = vec![root.clone()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.insert(path.strip_prefix(&root).unwrap().to_owned(), text);
            }
        }
    }
    files
}

fn room(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn layer(room: &str) -> u8 {
    LAYERS
        .iter()
        .find(|(name, _)| *name == room)
        .unwrap_or_else(|| panic!("{room} has no layer: add it to LAYERS"))
        .1
}

/// The part of a file that is compiled into the program.
fn product_code(text: &str) -> &str {
    // A file of tests beside the file that they test.
    if text.contains("#![cfg(test)]") {
        return "";
    }
    text.split("#[cfg(test)]").next().unwrap()
}

fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(inner) = rest.strip_prefix('{') {
            let group = inner.split('}').next().unwrap();
            found.extend(group.split(',').map(|part| {
                part.trim()
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap()
                    .to_owned()
            }));
        } else {
            found.push(
                rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned(),
            );
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

#[test]
fn imports_point_downward() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let own = room(&path);
        if own == "lib" {
            continue;
        }
        for other in imports(&text) {
            let sibling = SIBLINGS.iter().any(|(a, b, _)| *a == own && *b == other);
            if other != own && layer(&other) >= layer(&own) && !sibling {
                wrong.push(format!("src/{} imports {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rooms_have_a_readable_size() {
    let long: Vec<String> = sources()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(path, lines)| format!("src/{} has {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn there_is_one_door_each() {
    let doors = [
        ("println!", "cli/printer.rs"),
        ("eprintln!", "cli/printer.rs"),
        ("io::stdout", "cli/printer.rs"),
        ("io::stderr", "cli/printer.rs"),
        ("process::Command", "system/process.rs"),
        ("SystemTime::now", "system/clock.rs"),
        ("thread::sleep", "system/clock.rs"),
        ("std::fs::write(", "system/fs.rs"),
        ("std::fs::rename(", "system/fs.rs"),
        ("remove_dir_all", "system/fs.rs"),
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (call, door) in doors {
            // A door may be a room: what lies in the folder of its name belongs to it.
            let inside = path.starts_with(Path::new(door).with_extension(""));
            if product_code(&text).contains(call) && path != Path::new(door) && !inside {
                wrong.push(format!("src/{} uses {call}; the door is src/{door}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn postgresql_is_spoken_in_one_room() {
    let words =
        ["postgres::", "pg_dump", "pg_restore", "pg_catalog", "pg_stat_activity", "pg_class"];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if room(&path) == "database" {
            continue;
        }
        let code: String = product_code(&text)
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        for word in words {
            // Texts for people may name the tool; calls and catalogs may not leave the room.
            let outside_strings = code.lines().any(|line| {
                line.contains(word) && !line.contains(&format!("`{word}")) && !line.contains('"')
            });
            if outside_strings {
                wrong.push(format!("src/{} speaks PostgreSQL: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sqlite_is_spoken_in_one_room() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let code = product_code(&text);
        if room(&path) != "sqlite" && code.contains("rusqlite") {
            wrong.push(format!("src/{} speaks SQLite", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

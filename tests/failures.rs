//! Every way in which an upgrade goes wrong has a test, and docs/FAILURES.md says which.
//!
//! `UPDATE_EXPECTED=1 cargo test --test failures` writes the document anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

const ROWS: &str = "tests/failures/rows.toml";
const DOCUMENT: &str = "docs/FAILURES.md";

/// How many ways are known.
const ALL: usize = 94;

#[derive(Deserialize)]
struct Catalogue {
    missing: BTreeSet<u8>,
    part: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    name: String,
    row: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    number: u8,
    happens: String,
    seen: String,
}

impl Catalogue {
    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.part.iter().flat_map(|part| &part.row)
    }
}

/// Tests by row, each as its file and its name.
type Tests = BTreeMap<u8, BTreeSet<(String, String)>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn catalogue() -> Catalogue {
    toml::from_str(&fs::read_to_string(root().join(ROWS)).unwrap()).unwrap()
}

fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = ["src", "tests"].map(|dir| root().join(dir)).to_vec();
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|end| end == "rs" || end == "sh") {
                found.push(path);
            }
        }
    }
    found
}

/// The words of a comment line, without its sign.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    // Longest first: a sign is the beginning of another one.
    let signs = ["///", "//!", "//", "#!", "#"];
    signs.iter().find_map(|sign| line.strip_prefix(sign)).map(str::trim)
}

/// Reads `Row 57.` and `Rows 57, 58 and 61.`; nothing where a line is something else.
fn rows_of(words: &str) -> Option<Vec<u8>> {
    let (many, list) = match words.strip_prefix("Rows ") {
        Some(list) => (true, list),
        None => (false, words.strip_prefix("Row ")?),
    };
    let list = list.strip_suffix('.')?.replace(" and ", ", ");
    let rows: Vec<u8> = list.split(", ").map(str::parse).collect::<Result<_, _>>().ok()?;
    ((rows.len() > 1) == many && rows.is_sorted()).then_some(rows)
}

/// Whether a line of a comment is about rows of the catalogue, in whatever spelling.
fn means_rows(words: &str) -> bool {
    let words = words.to_lowercase();
    words.contains("catalogue row")
        || ["row ", "rows "].iter().any(|word| {
            let after = words.strip_prefix(word);
            after.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
}

/// The name of the test that a line begins: a function of a Rust file, a fact of a shell topic.
fn test_name(line: &str) -> Option<&str> {
    let name = match line.trim_start() {
        line if line.starts_with("fact ") || line.starts_with("whole_fact ") => {
            line.rsplit(' ').next()?
        }
        line => line.strip_prefix("fn ")?,
    };
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    Some(&name[..end])
}

/// Which tests name which row, and what is written in no form that is read.
fn mentions() -> (Tests, Vec<String>) {
    let (mut tests, mut wrong) = (Tests::new(), Vec::new());
    for path in files() {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        if name == "tests/failures.rs" {
            continue;
        }
        let mut open: Vec<u8> = Vec::new();
        for (at, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            if let Some(words) = comment(line)
                && means_rows(words)
            {
                match rows_of(words) {
                    Some(rows) if !line.trim_start().starts_with("//!") => open.extend(rows),
                    _ => wrong.push(format!("{name}:{}: {words}", at + 1)),
                }
            } else if let Some(test) = test_name(line) {
                for row in open.drain(..) {
                    tests.entry(row).or_default().insert((name.clone(), test.to_owned()));
                }
            }
        }
        wrong.extend(open.iter().map(|row| format!("{name}: no test follows row {row}")));
    }
    (tests, wrong)
}

fn document(catalogue: &Catalogue, tests: &Tests) -> String {
    let mut text = String::from(
        "# What goes wrong, and what is seen then\n\n\
         <!-- Written by `UPDATE_EXPECTED=1 cargo test --test failures` from tests/failures/rows.toml \
         and the comments of the tests. -->\n\n\
         Every way in which an upgrade is known to go wrong, what the operator sees when it does, and the \
         tests\nthat would fail if it were otherwise. Names that begin with `tests/containers` are facts about \
         whole\nmachines with systemd, dpkg or rpm, and a server.\n",
    );
    for part in &catalogue.part {
        write!(text, "\n## {}\n", part.name).unwrap();
        for row in &part.row {
            write!(text, "\n**{}. {}**\n{}\n\n", row.number, row.happens, row.seen).unwrap();
            let mut by_file: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (file, test) in tests.get(&row.number).into_iter().flatten() {
                by_file.entry(file).or_default().push(test);
            }
            if by_file.is_empty() {
                text.push_str("- no test yet\n");
            }
            for (file, names) in by_file {
                let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                writeln!(text, "- `{file}`: {}", names.join(", ")).unwrap();
            }
        }
    }
    text
}

fn updating() -> bool {
    std::env::var_os("UPDATE_EXPECTED").is_some()
}

#[test]
fn rows_are_named_in_one_form_above_a_test() {
    let (_, wrong) = mentions();
    assert!(
        wrong.is_empty(),
        "write `Row 57.` or `Rows 57 and 61.` on a line of its own:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_row_has_a_test_or_is_known_to_lack_one() {
    let (catalogue, (tests, _)) = (catalogue(), mentions());
    let numbers: Vec<usize> = catalogue.rows().map(|row| row.number.into()).collect();
    assert_eq!(numbers, (1..=ALL).collect::<Vec<_>>(), "{ROWS}");
    let known: BTreeSet<u8> = catalogue.rows().map(|row| row.number).collect();
    let strange: Vec<_> = tests.iter().filter(|(row, _)| !known.contains(*row)).collect();
    assert!(strange.is_empty(), "there is no such row: {strange:?}");
    let lacking: BTreeSet<u8> =
        known.iter().filter(|row| !tests.contains_key(*row)).copied().collect();
    let lost: Vec<_> = lacking.difference(&catalogue.missing).collect();
    assert!(lost.is_empty(), "rows without a test: {lost:?}");
    if updating() {
        let text = fs::read_to_string(root().join(ROWS)).unwrap();
        let old = text.lines().find(|line| line.starts_with("missing = ")).unwrap();
        let list: Vec<String> = lacking.iter().map(u8::to_string).collect();
        let new = format!("missing = [{}]", list.join(", "));
        return fs::write(root().join(ROWS), text.replacen(old, &new, 1)).unwrap();
    }
    let found: Vec<_> = catalogue.missing.difference(&lacking).collect();
    assert!(found.is_empty(), "these have a test now: take them out of `missing`: {found:?}");
}

#[test]
fn the_document_is_what_rows_and_tests_say() {
    let (tests, _) = mentions();
    let text = document(&catalogue(), &tests);
    if updating() {
        return fs::write(root().join(DOCUMENT), text).unwrap();
    }
    let there = fs::read_to_string(root().join(DOCUMENT)).unwrap_or_default();
    let differs = there.lines().zip(text.lines()).find(|(one, other)| one != other);
    assert!(
        there == text,
        "{DOCUMENT} is not what {ROWS} and the tests say, first at {differs:?}; \
         run `UPDATE_EXPECTED=1 cargo test --test failures`"
    );
}

#[test]
fn only_the_one_form_is_read() {
    assert_eq!(rows_of("Row 57."), Some(vec![57]));
    assert_eq!(rows_of("Rows 57 and 61."), Some(vec![57, 61]));
    assert_eq!(rows_of("Rows 36, 37 and 67."), Some(vec![36, 37, 67]));
    for other in
        ["Row 57", "Rows 57.", "Row 57 and 61.", "Rows 61 and 57.", "Row 6: line ends.", ""]
    {
        assert_eq!(rows_of(other), None, "{other:?}");
    }
    assert!(means_rows("Catalogue rows 35, 37.") && means_rows("row 3 is closed"));
    assert!(!means_rows("Rows written by others") && !means_rows("the row 3"));
}

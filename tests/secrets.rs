//! The credentials file, read as systemd reads an `EnvironmentFile`.
//!
//! `tests/containers/envfile-cases/` holds the cases; `tests/containers/envfile.sh` puts the same ones
//! through a unit under a booted systemd. Here they, and random files, go through systemd's library.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use openwatch::config::secrets::{Secrets, load, parse};
use openwatch::outcome::Outcome;
use proptest::prelude::*;

fn base() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cases() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(base().join("tests/containers/envfile-cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "env"))
        .collect();
    found.sort();
    assert!(found.len() >= 30, "the cases are gone");
    found
}

/// Variables as the expected files write them.
fn listed(values: &BTreeMap<String, String>) -> String {
    values
        .iter()
        .map(|(name, value)| {
            let value = value
                .replace('\\', "\\\\")
                .replace('\n', "\\n")
                .replace('\t', "\\t")
                .replace('\r', "\\r");
            format!("{name}={value}\n")
        })
        .collect()
}

fn read(bytes: &[u8]) -> Option<Secrets> {
    parse(Path::new("secrets.env"), bytes).ok()
}

fn answer(bytes: &[u8]) -> String {
    read(bytes).map_or_else(|| "!refused\n".to_owned(), |secrets| listed(&secrets.values))
}

/// systemd's own reader in a process beside us.
struct Systemd {
    child: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    version: u32,
}

impl Systemd {
    /// `None`, loudly, where the library is not here.
    fn here() -> Option<Self> {
        let started = Command::new("python3")
            .arg(base().join("tests/secrets/systemd_env.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = started else {
            eprintln!("SKIPPED: no python3 to ask systemd's library with");
            return None;
        };
        let ask = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        answers.read_line(&mut first).unwrap();
        let Ok(version) = first.trim().parse() else {
            eprintln!("SKIPPED: libsystemd-shared is not here to compare with");
            return None;
        };
        Some(Self { child, ask, answers, version })
    }

    fn read(&mut self, bytes: &[u8]) -> Option<BTreeMap<String, String>> {
        writeln!(self.ask.as_mut().unwrap(), "{}", hex::encode(bytes)).unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "systemd's reader died");
        let text = |digits: &str| String::from_utf8(hex::decode(digits).unwrap()).unwrap();
        match line.trim_end() {
            "refused" => None,
            pairs => Some(
                pairs
                    .split_ascii_whitespace()
                    .map(|pair| pair.split_once('=').unwrap())
                    .map(|(name, value)| (text(name), text(value)))
                    .collect(),
            ),
        }
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        self.ask = None;
        let _ = self.child.wait();
    }
}

#[test]
fn every_case_is_read_as_expected() {
    for case in cases() {
        let expected = fs::read_to_string(case.with_extension("expected")).unwrap();
        assert_eq!(answer(&fs::read(&case).unwrap()), expected, "{}", case.display());
    }
}

#[test]
fn the_expected_answers_are_those_of_systemd_itself() {
    let Some(mut systemd) = Systemd::here() else { return };
    for case in cases() {
        let older = case.with_extension("expected-before-254");
        let expected = if systemd.version < 254 && older.exists() {
            older
        } else {
            case.with_extension("expected")
        };
        let found = systemd
            .read(&fs::read(&case).unwrap())
            .map_or_else(|| "!refused\n".to_owned(), |values| listed(&values));
        assert_eq!(found, fs::read_to_string(expected).unwrap(), "{}", case.display());
    }
}

/// Bytes that make the reader change its mind, more often than chance would.
fn env_file() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => proptest::sample::select(vec![
            "=", "\n", " ", "\t", "\r", "\"", "'", "\\", "#", ";", "$", "`", "\\\n", "\r\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        6 => "[A-Za-z_0-9]{1,3}".prop_map(String::into_bytes),
        3 => "\n[A-C]=".prop_map(String::into_bytes),
        1 => any::<char>().prop_filter("NUL", |c| *c != '\0')
            .prop_map(|c| c.to_string().into_bytes()),
    ];
    let text = proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat());
    // Now and then one byte is damaged, so that the text is not UTF-8.
    (text, proptest::option::weighted(0.05, (any::<prop::sample::Index>(), 0x80..=0xffu8)))
        .prop_map(|(mut bytes, damage)| {
            if let (Some((at, byte)), false) = (damage, bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        })
}

#[test]
fn a_comment_continued_over_several_lines_is_warned_about() {
    let secrets = read(b"#\\\n\\\nA=\n").unwrap();
    assert!(secrets.warnings[0].contains("systemd before 254"), "{:?}", secrets.warnings);
    assert!(read(b"#\\\n\nA=\n").unwrap().warnings.is_empty());
}

#[test]
fn random_files_are_read_as_systemd_reads_them() {
    let Some(systemd) = Systemd::here() else { return };
    let old = systemd.version < 254;
    let systemd = std::cell::RefCell::new(systemd);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(4_000));
    runner
        .run(&env_file(), |bytes| {
            let own = read(&bytes);
            // The one known difference, in comments, which is warned about; what is refused has no warning.
            let differs = own.as_ref().is_some_and(|secrets| {
                secrets.warnings.iter().any(|line| line.contains("systemd before 254"))
            });
            let comments = bytes.iter().any(|byte| b"#;".contains(byte));
            prop_assume!(!(old && (differs || own.is_none() && comments)));
            prop_assert_eq!(own.map(|secrets| secrets.values), systemd.borrow_mut().read(&bytes));
            Ok(())
        })
        .unwrap();
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = answer(&bytes);
    }

    #[test]
    fn a_quoted_value_comes_back(value in "[^\0]{0,60}") {
        prop_assume!(!value.chars().any(|c| u32::from(c) & 0xFFFE == 0xFFFE
            || (0xFDD0..=0xFDEF).contains(&u32::from(c))));
        let mut quoted = String::new();
        for c in value.chars() {
            if "\"\\`$".contains(c) {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        let secrets = read(format!("A=1\nDSN=\"{quoted}\"\nB=2\n").as_bytes()).unwrap();
        prop_assert_eq!(&secrets.values["DSN"], &value);
        prop_assert_eq!(secrets.values.len(), 3);
        prop_assert!(secrets.warnings.is_empty());
    }

    #[test]
    fn no_message_shows_a_value_or_a_line_that_is_not_understood(
        before in "[ -~\n]{0,40}", after in "[ -~\n]{0,40}",
    ) {
        let planted = "PLANTED-7f3a";
        for text in [
            format!("{before}{planted}{after}"),
            format!("{before}\nDSN={planted}\n{after}"),
            format!("{before}\nDSN=\"{planted}"),
        ] {
            for bytes in [text.clone().into_bytes(), [text.as_bytes(), b"\nX=\xff\n"].concat()] {
                let told = match parse(Path::new("secrets.env"), &bytes) {
                    Ok(secrets) => format!("{secrets:?}"),
                    Err(error) => format!("{error:?}"),
                };
                prop_assert!(!told.contains(planted), "{told}");
            }
        }
    }
}

#[test]
fn what_systemd_passes_over_in_silence_is_warned_about() {
    let text =
        "OW_A\nexport OW_B=1\npostgresql://u:word@h/d?x=1\n# c \\\nOW_C=1\nOW_C=2\nOW_D=\"x\n";
    let secrets = read(text.as_bytes()).unwrap();
    assert_eq!(
        secrets.warnings,
        [
            "secrets.env:1: ignored, as by systemd: there is no `=` in this line",
            "secrets.env:2: ignored, as by systemd: remove the word export at its beginning",
            "secrets.env:3: ignored, as by systemd: what stands before `=` is no name of a variable",
            "secrets.env:4: the comment ends with a backslash: systemd before 254 ignores the next line",
            "secrets.env:6: OW_C is set again; this line counts",
            "secrets.env:7: a quote is never closed; the value goes on to the end of the file",
        ]
    );
}

fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secrets.env");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (dir, path)
}

#[test]
fn no_file_means_no_variables() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = load(&dir.path().join("secrets.env")).unwrap();
    assert!(secrets.values.is_empty() && secrets.warnings.is_empty());
}

#[test]
fn a_private_file_is_read_without_a_warning() {
    let (_dir, path) = file(b"DSN=postgresql:///app\n", 0o640);
    let secrets = load(&path).unwrap();
    assert_eq!(secrets.values["DSN"], "postgresql:///app");
    assert!(secrets.warnings.is_empty());
}

#[test]
fn a_file_that_every_user_can_read_is_warned_about() {
    let (_dir, path) = file(b"DSN=x\n", 0o644);
    let shown = path.display();
    assert_eq!(
        load(&path).unwrap().warnings,
        [format!("{shown} can be read by every user; run `chmod o-rwx {shown}`")]
    );
}

#[test]
fn a_file_that_every_user_can_change_is_refused() {
    let (_dir, path) = file(b"DSN=x\n", 0o646);
    let error = load(&path).unwrap_err();
    assert_eq!(error.message(), format!("{} can be changed by every user", path.display()));
    assert_eq!(error.outcome(), Outcome::Config);
    assert_eq!(error.state_line(), Some("nothing was changed"));
}

#[test]
fn a_link_is_refused_and_the_printed_command_replaces_it() {
    let (dir, path) = file(b"DSN=x\n", 0o600);
    let link = dir.path().join("link.env");
    symlink(&path, &link).unwrap();
    let error = load(&link).unwrap_err();
    assert_eq!(error.message(), format!("{} is a symbolic link, not a file", link.display()));
    let hint = error.hint_line().unwrap();
    let command = hint.strip_prefix("Run `").unwrap().strip_suffix("`.").unwrap();
    assert!(Command::new("sh").arg("-c").arg(command).status().unwrap().success());
    assert_eq!(load(&link).unwrap().values["DSN"], "x");
}

#[test]
fn a_directory_or_garbage_in_its_place_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = load(dir.path()).unwrap_err();
    assert_eq!(error.message(), format!("{} is a directory, not a file", dir.path().display()));
    let (_dir, path) = file(&vec![b'A'; 10 << 20], 0o600);
    let error = load(&path).unwrap_err();
    assert_eq!(error.message(), format!("{} is larger than 1 MiB", path.display()));
    let (_dir, path) = file(b"A=1\nDSN=\xff\n", 0o600);
    let error = load(&path).unwrap_err();
    assert_eq!(error.message(), format!("{}:2: the value of DSN is not UTF-8", path.display()));
}

//! The configuration files: what they mean together, and what is said about those that mean nothing.
//!
//! `tests/config/NN-name/` holds the files of one case as they lie below a root, and the whole answer
//! in `expected.txt`. The packager's half of `base/` stands in where a case has none of its own.
//! `UPDATE_EXPECTED=1 cargo test --test config` writes the answers anew; read them before committing.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use openwatch::config::{Config, Half, KEYS};
use openwatch::error::{Error, Result};
use openwatch::layout::Layout;
use openwatch::outcome::Outcome;
use proptest::prelude::*;

const PACKAGER: &str = "usr/share/openwatch/upgrade.conf";
const OPERATOR: &str = "etc/openwatch/upgrade.conf";

struct Root(tempfile::TempDir);

impl Root {
    /// A machine on which the package is installed and the operator has set nothing.
    fn new() -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        root.copy(&cases().join("base"));
        root
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn write(&self, below: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    fn copy(&self, from: &Path) {
        for file in files_below(from) {
            let below = file.strip_prefix(from).unwrap().to_str().unwrap().to_owned();
            self.write(&below, fs::read(&file).unwrap());
        }
    }

    fn load(&self) -> Result<Config> {
        Config::load(&Layout::new(self.0.path(), "openwatch"), None)
    }

    /// The text without the place of the root.
    fn plain(&self, text: &str) -> String {
        text.replace(self.0.path().to_str().unwrap(), "")
    }

    fn refusal(&self) -> String {
        let error = self.load().expect_err("must be refused");
        assert_eq!(error.outcome(), Outcome::Config);
        self.plain(&four_lines(&error))
    }
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn four_lines(error: &Error) -> String {
    let mut text = format!("openwatch: {}\n", error.message());
    for detail in error.details() {
        text.push_str(&format!("  detail: {detail}\n"));
    }
    text.push_str(&format!("  state:  {}\n", error.state_line().expect("a state")));
    text.push_str(&format!("  hint:   {}\n", error.hint_line().expect("a hint")));
    text
}

fn answer(root: &Root) -> String {
    let text = match root.load() {
        Ok(config) => {
            let warnings: String =
                config.warnings.iter().map(|line| format!("warning: {line}\n")).collect();
            format!("{}{warnings}", config.render())
        }
        Err(error) => {
            assert_eq!(error.outcome(), Outcome::Config);
            four_lines(&error)
        }
    };
    root.plain(&text)
}

fn golden() -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = fs::read_dir(cases())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && path.file_name().unwrap() != "base")
        .collect();
    dirs.sort();
    assert!(dirs.len() > 40, "the cases are gone");
    dirs
}

fn root_of(case: &Path) -> Root {
    let root = if case.join("without-base").exists() {
        Root(tempfile::tempdir().unwrap())
    } else {
        Root::new()
    };
    root.copy(case);
    root
}

#[test]
fn every_case_has_exactly_its_answer() {
    let mut wrong = Vec::new();
    for case in golden() {
        let found = answer(&root_of(&case));
        let expected = case.join("expected.txt");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &found).unwrap();
        }
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        if found != wanted {
            wrong.push(format!("{}\nwanted:\n{wanted}\nfound:\n{found}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_line_replaced_as_the_hint_says_is_accepted() {
    let mut followed = 0;
    for case in golden() {
        let root = root_of(&case);
        let Err(error) = root.load() else { continue };
        let Some((file, line, fix)) = replacement(error.hint_line().unwrap()) else { continue };
        let text = fs::read_to_string(&file).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        // A hint for a value inside a longer line names the value, not the line.
        if key_of(lines[line - 1]) != key_of(&fix) {
            continue;
        }
        lines[line - 1] = &fix;
        fs::write(&file, lines.join("\n")).unwrap();
        let place = format!("{file}:{line}:");
        if let Err(error) = root.load() {
            assert!(!error.message().starts_with(&place), "{} still: {error:?}", case.display());
        }
        followed += 1;
    }
    assert!(followed >= 12, "only {followed} hints could be followed");
}

fn key_of(line: &str) -> Option<String> {
    line.split_once('=').map(|(key, _)| key.trim().to_lowercase())
}

/// Reads "In FILE, line N, write `TEXT`."
fn replacement(hint: &str) -> Option<(String, usize, String)> {
    let (file, rest) = hint.strip_prefix("In ")?.split_once(", line ")?;
    let (line, rest) = rest.split_once(", write `")?;
    let fix = rest.strip_suffix("`.")?;
    Some((file.to_owned(), line.parse().ok()?, fix.to_owned()))
}

#[test]
fn no_answer_shows_a_planted_word() {
    for case in golden() {
        for file in files_below(&case) {
            let text = fs::read_to_string(&file).unwrap();
            if file.ends_with("expected.txt") {
                assert!(!text.contains("PLANTED") && !text.contains("hidden"), "{text}");
            }
        }
    }
}

#[test]
fn a_named_operator_file_is_the_whole_operator_half() {
    let root = Root::new();
    root.write(OPERATOR, "backup_keep = 4\n");
    root.write("etc/openwatch/upgrade.conf.d/a.conf", "backup_keep = 5\n");
    let named = root.write("root/mine.conf", "backup_retention_days = 7\n");
    let layout = Layout::new(root.0.path(), "openwatch");
    let config = Config::load(&layout, Some(&named)).unwrap();
    assert_eq!(config.policy.retention.days, Some(7));
    assert_eq!(config.policy.retention.keep, 3);
}

#[test]
fn a_named_operator_file_must_exist() {
    let root = Root::new();
    let layout = Layout::new(root.0.path(), "openwatch");
    let error = Config::load(&layout, Some(Path::new("/nowhere/mine.conf"))).unwrap_err();
    assert_eq!(error.message(), "/nowhere/mine.conf does not exist");
    assert_eq!(error.outcome(), Outcome::Config);
}

#[test]
fn dev_null_as_operator_file_means_all_defaults() {
    let root = Root::new();
    let layout = Layout::new(root.0.path(), "openwatch");
    let config = Config::load(&layout, Some(Path::new("/dev/null"))).unwrap();
    assert!(config.policy.auto_backup && config.warnings.is_empty());
}

#[test]
fn another_application_has_files_of_its_own() {
    let root = Root::new();
    root.write("usr/share/other/upgrade.conf", "[app]\nservices = [\"other.service\"]\n[[database]]\nname = \"main\"\nmigrations = { format = \"plain\", dir = \"/usr/share/other/migrations\" }\n");
    root.write("etc/other/upgrade.conf", "backup_keep = 9\n");
    let config = Config::load(&Layout::new(root.0.path(), "other"), None).unwrap();
    assert_eq!(config.app.services, ["other.service"]);
    assert_eq!(config.policy.retention.keep, 9);
    assert_eq!(config.policy.backup_dir, root.path("var/lib/other/backups"));
}

#[test]
fn a_directory_in_place_of_a_file_is_refused() {
    for place in [PACKAGER, OPERATOR, "etc/openwatch/upgrade.conf.d/a.conf"] {
        let root = Root::new();
        let _ = fs::remove_file(root.path(place));
        fs::create_dir_all(root.path(place)).unwrap();
        let first = format!("openwatch: /{place} is a directory, not a file\n");
        assert!(root.refusal().starts_with(&first), "{}", root.refusal());
    }
}

#[test]
fn a_file_in_place_of_the_drop_in_directory_is_refused() {
    let root = Root::new();
    root.write("etc/openwatch/upgrade.conf.d", "backup_keep = 3\n");
    let first = "openwatch: cannot read the directory /etc/openwatch/upgrade.conf.d: ";
    assert!(root.refusal().starts_with(first), "{}", root.refusal());
}

#[test]
fn a_pipe_in_place_of_a_file_is_refused_without_waiting() {
    let root = Root::new();
    let path = root.path(OPERATOR);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &name, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    let first = "openwatch: /etc/openwatch/upgrade.conf is not a regular file\n";
    assert!(root.refusal().starts_with(first), "{}", root.refusal());
}

#[test]
fn a_link_to_nothing_is_refused() {
    let root = Root::new();
    fs::create_dir_all(root.path("etc/openwatch")).unwrap();
    symlink("/nowhere/upgrade.conf", root.path(OPERATOR)).unwrap();
    let first = "openwatch: /etc/openwatch/upgrade.conf is a symbolic link to nothing\n";
    assert!(root.refusal().starts_with(first), "{}", root.refusal());
}

#[test]
fn ten_megabytes_of_garbage_are_refused() {
    let root = Root::new();
    root.write(OPERATOR, vec![b'['; 10 << 20]);
    let first =
        "openwatch: /etc/openwatch/upgrade.conf is larger than 1 MiB and no configuration\n";
    assert!(root.refusal().starts_with(first), "{}", root.refusal());
}

#[test]
fn nesting_to_the_limit_of_the_size_is_refused() {
    for text in
        ["[".repeat(1 << 20), format!("a = {}", "[".repeat((1 << 20) - 4)), "a.".repeat(1 << 19)]
    {
        let root = Root::new();
        root.write(OPERATOR, text);
        assert!(
            root.refusal()
                .starts_with("openwatch: /etc/openwatch/upgrade.conf:1: this is not TOML")
        );
    }
}

#[test]
fn a_byte_that_is_not_utf8_is_named_with_its_line() {
    let root = Root::new();
    root.write(OPERATOR, b"backup_keep = 3\n# caf\xe9\n");
    let first =
        "openwatch: /etc/openwatch/upgrade.conf:2: this line has a byte that is not UTF-8\n";
    assert!(root.refusal().starts_with(first), "{}", root.refusal());
}

#[test]
fn a_nul_byte_is_named_with_its_line() {
    let root = Root::new();
    root.write(OPERATOR, b"\n\n\0");
    let first = "openwatch: /etc/openwatch/upgrade.conf:3: this line has a NUL byte\n";
    assert!(root.refusal().starts_with(first), "{}", root.refusal());
}

#[test]
fn a_file_that_every_user_can_change_is_refused() {
    for place in [PACKAGER, OPERATOR] {
        let root = Root::new();
        let path = if place == PACKAGER { root.path(place) } else { root.write(place, "") };
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let first = format!("openwatch: /{place} can be changed by every user\n");
        assert!(root.refusal().starts_with(&first), "{}", root.refusal());
    }
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_are_read() {
    let root = Root::new();
    root.write(OPERATOR, "\u{feff}backup_keep = 4\r\nbackup_retention_days = 5\r\n");
    let config = root.load().unwrap();
    assert_eq!(config.policy.retention.keep, 4);
    assert_eq!(config.policy.retention.days, Some(5));
}

#[test]
fn the_configuration_that_we_ship_has_no_warnings() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = Root::new();
    root.write(PACKAGER, fs::read(base.join("packaging/upgrade.conf")).unwrap());
    root.write(OPERATOR, fs::read(base.join("etc/openwatch/upgrade.conf")).unwrap());
    let shipped = answer(&root);
    assert!(!shipped.contains("warning:") && !shipped.contains("openwatch: "), "{shipped}");
}

/// The lines of the shipped file with `#key = value` made real.
fn uncommented(text: &str) -> String {
    text.lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect()
}

#[test]
fn the_shipped_operator_file_shows_every_key_with_its_default() {
    let text = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/openwatch/upgrade.conf"),
    )
    .unwrap();
    let root = Root::new();
    let defaults = answer(&root);
    root.write(OPERATOR, uncommented(&text));
    let shown: String = answer(&root)
        .lines()
        .filter(|line| !line.starts_with("notify.") && !line.starts_with("retention."))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(shown, defaults);
    for key in KEYS.iter().filter(|key| key.half == Half::Operator) {
        let start = format!("#{} =", key.name);
        assert!(text.lines().any(|line| line.starts_with(&start)), "{key} is not shown");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_in_any_file_make_it_panic(
        packager in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
        operator in proptest::collection::vec(any::<u8>(), 0..200),
        drop_in in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let root = Root::new();
        if let Some(bytes) = packager {
            root.write(PACKAGER, bytes);
        }
        root.write(OPERATOR, operator);
        root.write("etc/openwatch/upgrade.conf.d/x.conf", drop_in);
        let _ = answer(&root);
    }

    #[test]
    fn no_value_of_a_known_key_makes_it_panic(
        key in proptest::sample::select(KEYS),
        value in toml_value(),
    ) {
        let root = Root::new();
        let heading = match key.section {
            "" => String::new(),
            "database" | "health" => format!("[[{}]]\n", key.section),
            "database.migrations" => "[[database]]\n[database.migrations]\n".to_owned(),
            other => format!("[{other}]\n"),
        };
        let place = if key.half == Half::Operator { OPERATOR } else { PACKAGER };
        root.write(place, format!("{heading}{} = {value}\n", key.name));
        let text = answer(&root);
        prop_assert!(!text.contains("unknown key"), "{text}");
    }

    #[test]
    fn no_garbage_key_passes_without_a_warning(name in "[a-zA-Z_-]{1,24}", value in toml_value()) {
        let known = KEYS.iter().any(|key| key.section.is_empty() && key.name == name);
        prop_assume!(!known && name != "notify");
        let root = Root::new();
        root.write(OPERATOR, format!("backup_keep = 3\n{name} = {value}\n"));
        let config = root.load().expect("unknown keys are no errors");
        prop_assert_eq!(config.warnings.len(), 1);
        let warning = root.plain(&config.warnings[0]);
        let start = "/etc/openwatch/upgrade.conf:2: ";
        prop_assert!(warning.starts_with(start) && warning.contains(&name), "{warning}");
    }
}

fn toml_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        any::<f32>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:?}")),
        "[ -!#-\\[\\]-~é]{0,20}".prop_map(|text| format!("\"{text}\"")),
        "[0-9]{1,22} ?(s|ms|min|days|GiB|TiB|years)?".prop_map(|text| format!("\"{text}\"")),
        Just("1979-05-27".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3)
                .prop_map(|list| format!("[{}]", list.join(", "))),
            inner.prop_map(|value| format!("{{ a = {value} }}")),
        ]
    })
}

//! Packages of version 3.0.0 that are made for a test, and a desk to look into them from.

use std::fs;
use std::path::Path;

use assert_cmd::assert::Assert;

use super::archives::{Item, What, file, item};
use super::machine::{TestMachine, program};

/// The packager's half of the package.
pub const SETTINGS: &str = "[app]\nservices = [\"openwatch.service\"]\n[[database]]\nname = \"main\"\n\
                        url_env = \"MAIN_DSN\"\nmigrations = { format = \"plain\", \
                        dir = \"/usr/share/openwatch/migrations\" }\n";

/// Returns the migrations of these fixture sets as entries of a package.
pub fn migrations(sets: &[&str]) -> Vec<Item> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/migrations");
    let mut found = vec![item("./usr/share/openwatch/migrations/", What::Dir)];
    for set in sets {
        for entry in fs::read_dir(root.join(set)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let place = format!("./usr/share/openwatch/migrations/{name}");
            found.push(file(&place, fs::read(&path).unwrap()));
        }
    }
    found
}

/// Returns the entries of a package of version 3.0.0 with these migrations.
pub fn content(sets: &[&str]) -> Vec<Item> {
    let mut all = vec![
        item("./", What::Dir),
        file("./usr/bin/openwatch", [0x7f; 3000]),
        item("./usr/lib/openwatch.so", What::Symlink("/etc/passwd".into())),
        file("./usr/share/openwatch/upgrade.conf", SETTINGS),
        file("./usr/share/openwatch/version", "3.0.0\n"),
    ];
    all.extend(migrations(sets));
    all
}

/// Replaces the entry of this name, or adds it.
pub fn with(mut items: Vec<Item>, new: Item) -> Vec<Item> {
    items.retain(|old| old.name != new.name);
    items.push(new);
    items
}

pub fn without(mut items: Vec<Item>, head: &str) -> Vec<Item> {
    items.retain(|item| !item.name.starts_with(head));
    items
}

/// Package files of a test, and the directory that the program may use for a moment.
pub struct Desk {
    pub dir: tempfile::TempDir,
}

impl Desk {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("ow-desk-").tempdir_in("/tmp").unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        Self { dir }
    }

    pub fn put(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs a verb on a machine; afterwards nothing of it may be different, and nothing left behind.
    #[track_caller]
    pub fn look(&self, machine: &TestMachine, words: &[&str]) -> Assert {
        let before = machine.tree();
        let assert = self.look_at(&machine.root(), words);
        assert_eq!(machine.tree(), before, "the machine was changed");
        machine.assert_orderly();
        assert_eq!(machine.acts(), [""; 0]);
        assert
    }

    #[track_caller]
    pub fn look_at(&self, root: &Path, words: &[&str]) -> Assert {
        let temp = self.dir.path().join("tmp");
        // The fake service manager of a machine lies beside its root.
        let path =
            format!("{}:{}", root.with_file_name("bin").display(), std::env::var("PATH").unwrap());
        let assert = assert_cmd::Command::new(program())
            .env_clear()
            .env("PATH", path)
            .env("TMPDIR", &temp)
            .arg("--root")
            .arg(root)
            .args(words)
            .assert();
        assert_eq!(fs::read_dir(&temp).unwrap().count(), 0, "something is left in TMPDIR");
        assert
    }
}

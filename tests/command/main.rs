//! Migrations by the application's own tool: real Django and Alembic projects, and tools that hang,
//! fork, leak, flood and die.

#[path = "../support/mod.rs"]
mod support;

mod alembic;
mod django;
mod faults;
mod imprint;
mod meaning;

use std::fs;
use std::path::{Path, PathBuf};

use support::copy_tree;
use support::machine::TestMachine;
use support::postgres::wait_for;

/// A project of `tests/fixtures` on a machine with an empty database.
struct Project {
    machine: TestMachine,
    dir: PathBuf,
    name: &'static str,
}

impl Project {
    /// Puts a release of the project on a machine.
    fn new(machine: TestMachine, name: &'static str, release: &str) -> Self {
        let dir = machine.dir().join(name);
        let project = Self { machine, dir, name };
        project.ship(release);
        project
    }

    /// Ships another release over the present one, as an update of the package does.
    fn ship(&self, release: &str) {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        copy_tree(&fixtures.join(self.name).join(release), &self.dir);
    }

    /// Takes files of a release away again.
    fn withdraw(&self, files: &[&str]) {
        for file in files {
            fs::remove_file(self.dir.join(file)).unwrap();
        }
    }
}

/// Waits until nothing works in this directory and no process has this text in its arguments.
fn wait_until_gone(text: &str) {
    wait_for(&format!("no process of {text}"), || processes_of(text).is_empty());
}

/// Returns every living process that has this text in its arguments or works in this directory.
fn processes_of(text: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let own = PathBuf::from(format!("/proc/{}", std::process::id()));
    let shown = entries.filter(|path| *path != own).filter_map(|path| {
        let words =
            String::from_utf8_lossy(&fs::read(path.join("cmdline")).ok()?).replace('\0', " ");
        let place = fs::read_link(path.join("cwd")).ok();
        let here = place.is_some_and(|place| place == Path::new(text));
        (here || words.contains(text)).then_some(words)
    });
    shown.collect()
}

/// Returns what the application's tool prints in the machine's log of the last run.
fn run_log(machine: &TestMachine) -> String {
    fs::read_to_string(machine.upgrade_dir().join("run.log")).unwrap()
}

//! What a power cut would leave: nothing is named before it is on the disk, and no act follows a
//! name that is not. Only the order of calls shows that; a kill leaves the kernel's memory as it is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::matrix::prepared_words;
use super::support::machine::TestMachine;
use super::tracer::{Kind, Point, run};
use super::{prune, restore, upgrade};

/// What is not on the disk yet.
#[derive(Default)]
struct Memory {
    /// Files with bytes that were written and not synced.
    files: BTreeSet<PathBuf>,
    /// Directories with names that were given or taken and not synced.
    dirs: BTreeSet<PathBuf>,
}

impl Memory {
    fn named(&mut self, path: &Path) {
        self.dirs.extend(path.parent().map(Path::to_owned));
    }

    fn below(&self, path: &Path) -> Vec<&PathBuf> {
        self.files.iter().chain(&self.dirs).filter(|unsynced| unsynced.starts_with(path)).collect()
    }
}

/// Files of which the last words may be lost: the run goes on without them.
fn may_be_lost(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("run.log") || name == "upgrade.lock" || name.starts_with(".probe")
}

/// Names that are settled with the next sync of their directory. Until then a power cut brings back what
/// was there before: a journal that says "about to" and not "done", which recovery judges by facts either
/// way, or a note without which another dump is taken, or another look.
fn may_come_late(point: &Point, to: &Path) -> bool {
    let name = to.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name != "journal.json" {
        return ["settled.json", "standstill.json"].contains(&name);
    }
    let text = point.content.as_deref().unwrap_or_default();
    let record: serde_json::Value = serde_json::from_str(text).unwrap();
    let last = record["marks"].as_array().and_then(|marks| marks.last());
    last.is_none_or(|mark| mark["when"] == "done")
}

/// Asserts the order for everything below the directories of state and of restore points.
fn is_in_order(machine: &TestMachine, points: &[Point]) {
    let (state, backups) = (machine.upgrade_dir(), machine.backups());
    let ours = |path: &Path| path.starts_with(&state) || path.starts_with(&backups);
    let mut memory = Memory::default();
    let mut renames = 0;
    for (index, point) in points.iter().enumerate() {
        let place = format!("point {}: {:?} {}", index + 1, point.kind, point.what);
        if point.refused || point.paths.iter().any(|path| !ours(path) || may_be_lost(path)) {
            continue;
        }
        match (point.kind, point.paths.as_slice()) {
            (Kind::Write, [file]) => drop(memory.files.insert(file.clone())),
            (Kind::Sync, [path]) => {
                memory.files.remove(path);
                memory.dirs.remove(path);
            }
            (Kind::Rename, [from, to]) => {
                // What has a name inside an unfinished point is synced with it, before it gets its own.
                let unfinished = to.components().any(|part| {
                    part.as_os_str().to_str().is_some_and(|part| part.starts_with(".partial-"))
                });
                let unsynced = memory.below(from);
                assert!(unfinished || unsynced.is_empty(), "{place}: not synced: {unsynced:?}");
                if memory.files.remove(from) {
                    memory.files.insert(to.clone());
                }
                if !may_come_late(point, to) {
                    memory.named(to);
                }
                renames += 1;
            }
            (Kind::Remove, [path]) => {
                memory.files.retain(|file| !file.starts_with(path));
                memory.dirs.retain(|dir| !dir.starts_with(path));
                // A whole tree goes after its manifest: what is left of it counts as nothing.
                if path.parent().is_some_and(|dir| dir == state) {
                    memory.named(path);
                }
            }
            (Kind::Spawn | Kind::Database, _) => {
                let loose: Vec<_> =
                    memory.dirs.iter().filter(|dir| **dir == state || **dir == backups).collect();
                assert!(loose.is_empty(), "{place}: a name in {loose:?} is not synced");
            }
            (Kind::Create | Kind::Write | Kind::Sync | Kind::Rename | Kind::Remove, _) => {}
        }
    }
    assert!(memory.dirs.iter().all(|dir| *dir != state && *dir != backups), "the last name");
    assert!(renames > 0 || points.iter().any(|point| point.kind == Kind::Remove));
}

fn whole(machine: &TestMachine, words: &[String]) -> Vec<Point> {
    let traced = run(&prepared_words(machine, words), None, &|| {});
    assert_eq!(traced.code, Some(0));
    traced.points
}

/// Row 68.
#[test]
fn an_upgrade_names_nothing_before_it_is_on_the_disk() {
    let machine = upgrade::begun(TestMachine::new().ship("good"));
    is_in_order(&machine, &whole(&machine, &upgrade::words(&machine)));
    let machine = TestMachine::new().operator("restore_point = \"clone\"").ship("good");
    let machine = upgrade::begun(machine);
    is_in_order(&machine, &whole(&machine, &upgrade::words(&machine)));
}

/// Row 68.
#[test]
fn a_restore_and_a_prune_name_nothing_before_it_is_on_the_disk() {
    let machine = restore::upgraded(TestMachine::new());
    is_in_order(&machine, &whole(&machine, &restore::words(&machine)));
    let machine = prune::full();
    is_in_order(&machine, &whole(&machine, &prune::words(&machine)));
}

//! Applications without a package: a directory for each version, and a link that is moved.

use std::fs;
use std::path::{Path, PathBuf};

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::json;

use super::rollback::write_order;
use super::support::copy_tree;
use super::support::machine::{TestMachine, message};

/// A machine whose application is 2.2 behind a link, with releases that can be fetched.
pub(super) struct Trees {
    pub(super) machine: TestMachine,
}

impl Trees {
    pub(super) fn new(more: &str) -> Self {
        Self::on(TestMachine::new(), more)
    }

    pub(super) fn on(machine: TestMachine, more: &str) -> Self {
        let home = machine.dir().join("srv");
        fs::create_dir_all(home.join("versions")).unwrap();
        let releases = machine.dir().join("releases");
        for (tag, sets) in [
            ("v2.2", &["base"][..]),
            ("v2.3", &["base"]),
            ("v2.4", &["base", "good"]),
            ("v2.5", &["base", "good"]),
        ] {
            let tree = releases.join(tag);
            fs::create_dir_all(tree.join("migrations")).unwrap();
            fs::write(tree.join("VERSION"), format!("{}\n", &tag[1..])).unwrap();
            sets.iter().for_each(|set| copy_set(set, &tree.join("migrations")));
        }
        copy_tree(&releases.join("v2.2"), &home.join("versions/v2.2"));
        std::os::unix::fs::symlink(home.join("versions/v2.2"), home.join("current")).unwrap();
        let link = home.join("current");
        let source = format!(
            "[source]\ntree = {link:?}\nversion_file = \"VERSION\"\n\
             fetch = [\"cp\", \"-rT\", \"{}/{{version}}\", \"{{tree}}\"]\n{more}\n\
             [[health]]\ncommand = [\"/bin/true\"]\n",
            releases.display(),
        );
        let machine = machine
            .migrated_by(&format!("format = \"plain\", dir = \"{}/migrations\"", link.display()))
            .health(&source);
        Self { machine }
    }

    /// This release starts and is never healthy.
    fn with_bad(tag: &str, machine: TestMachine) -> Self {
        let health = "[[health]]\ncommand = [\"/usr/bin/test\", \"!\", \"-e\", \"LINK/bad\"]\ndeadline = \"1s\"";
        let trees = Self::on(machine, health);
        let (link, conf) = (trees.home().join("current"), trees.machine.packager_conf());
        let text = fs::read_to_string(&conf).unwrap();
        fs::write(&conf, text.replace("LINK", link.to_str().unwrap())).unwrap();
        fs::write(trees.release(tag).join("bad"), "").unwrap();
        trees
    }

    pub(super) fn home(&self) -> PathBuf {
        self.machine.dir().join("srv")
    }

    pub(super) fn release(&self, tag: &str) -> PathBuf {
        self.machine.dir().join("releases").join(tag)
    }

    pub(super) fn linked(&self) -> String {
        let target = fs::read_link(self.home().join("current")).unwrap();
        target.file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn versions(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home().join("versions")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The last migration of this release fails.
    fn breaks(&self, tag: &str) {
        let broken = self.release(tag).join("migrations/0005_breaks.sql");
        fs::write(broken, "SELECT 1 / 0;\n").unwrap();
    }
}

fn copy_set(set: &str, to: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/migrations");
    copy_tree(&fixtures.join(set), to);
}

#[test]
fn a_version_is_built_first_and_the_link_moves_between_restore_point_and_migrations() {
    let trees = Trees::new("build = [\"touch\", \"{tree}/built-{version}\"]");
    let machine = &trees.machine;
    machine.run(["upgrade", "--to", "v2.4"]).success().stdout(contains("openwatch 2.4 is up"));
    assert_eq!(trees.linked(), "2.4");
    assert!(trees.home().join("current/built-v2.4").exists());
    assert_eq!(machine.schema(), "0004");
    let marks = machine.marks().join(", ");
    assert!(
        marks.contains("restore_point done, switch begun, switch done, migrate begun"),
        "{marks}"
    );
    machine.assert_clean();
    let (_, status) = machine.json(["status"]);
    assert_eq!(status["package_version"], "2.4");
    machine.run(["upgrade", "--to", "v2.4"]).success().stdout(contains("nothing to do"));

    // And back: the data and the version together.
    machine.run(["rollback", "--yes"]).success().stdout(contains("back at version 2.2"));
    assert_eq!((trees.linked().as_str(), machine.schema().as_str()), ("v2.2", "0002"));
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
    machine.run(["upgrade", "--to", "v2.4"]).success().stderr(contains("is built already"));
    assert_eq!((trees.linked().as_str(), machine.schema().as_str()), ("2.4", "0004"));
}

#[test]
fn a_version_without_migrations_is_switched_to_and_restarted() {
    let trees = Trees::new("");
    let machine = &trees.machine;
    machine.run(["upgrade", "--to", "v2.3"]).success().stdout(contains("no migration was pending"));
    assert_eq!(trees.linked(), "2.3");
    assert_eq!(machine.acts(), ["daemon-reload", "restart openwatch.service"]);
    assert_eq!(machine.points(), [""; 0]);
    machine.assert_clean();
    machine.run(["rollback"]).success();
    assert_eq!(trees.linked(), "v2.2");
    machine.assert_clean();
}

#[test]
fn a_build_that_fails_changes_nothing() {
    let trees = Trees::new("build = [\"sh\", \"-c\", \"echo no such module >&2; exit 3\"]");
    let machine = &trees.machine;
    let told = message(&machine.run(["upgrade", "--to", "v2.4"]).code(5));
    assert_eq!(told.first, "source.build exited with status 3 for version 2.4");
    assert_eq!(told.detail, "no such module");
    assert_eq!(told.state, "nothing was changed; version 2.2 is in place");
    assert_eq!(told.hint, "Mend the cause, then run `openwatch upgrade --to v2.4`.");
    assert_eq!((trees.versions(), machine.acts()), (vec!["v2.2".into()], Vec::new()));
    assert!(!machine.mark().exists() && machine.journal().is_null());
}

#[test]
fn what_says_that_it_is_another_version_is_not_taken() {
    let trees = Trees::new("");
    fs::write(trees.release("v2.4").join("VERSION"), "2.3\n").unwrap();
    let told = message(&trees.machine.run(["upgrade", "--to", "v2.4"]).code(5));
    assert!(told.first.contains("says that it is another version"), "{told:?}");
    assert_eq!(trees.versions(), ["v2.2"]);
}

#[test]
fn after_a_failed_migration_the_older_version_comes_back_by_itself_where_that_is_wanted() {
    let trees = Trees::on(TestMachine::new().operator("on_failure = \"restore\""), "");
    trees.breaks("v2.4");
    let machine = &trees.machine;
    let told = message(&machine.run(["upgrade", "--to", "v2.4"]).code(9));
    assert_eq!(told.state, "version 2.2 is back with its data, and healthy");
    assert_eq!(told.hint, "Mend the cause, then run `openwatch upgrade --to 2.4`.");
    assert_eq!((trees.linked().as_str(), machine.schema().as_str()), ("v2.2", "0002"));
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
}

#[test]
fn after_a_failed_migration_the_gate_stays_closed_and_one_command_leads_back() {
    let trees = Trees::new("");
    trees.breaks("v2.4");
    let machine = &trees.machine;
    let told = message(&machine.run(["upgrade", "--to", "v2.4"]).code(7));
    assert!(told.hint.ends_with("to go back, `openwatch rollback`."), "{told:?}");
    machine.assert_closed();
    let other = message(&machine.run(["upgrade", "--to", "v2.5"]).code(5));
    assert_eq!(other.first, "an upgrade to 2.4 is not done yet");
    machine.run(["rollback"]).success();
    assert_eq!((trees.linked().as_str(), machine.schema().as_str()), ("v2.2", "0002"));
    machine.assert_clean();
}

/// Upgraded under the protection of a clone to a version that started and is not healthy.
fn unhealthy() -> Trees {
    let trees = Trees::with_bad("v2.4", TestMachine::new().operator("restore_point = \"clone\""));
    trees.machine.run(["upgrade", "--to", "v2.4"]).code(8);
    trees
}

/// Before a rename that takes no time the new data was dumped, with the services down.
#[test]
fn a_rollback_to_a_clone_keeps_what_it_replaces_without_copying_it() {
    let trees = unhealthy();
    let machine = &trees.machine;
    machine.sql("insert into machines values (9001, 'by the new version')");
    let now = machine.data();
    machine.run(["rollback"]).code(5).stderr(contains("becomes a restore point as it is"));
    let told = machine.run(["rollback", "--yes"]).success();
    told.stdout(contains("what was there until now is restore point "))
        .stderr(contains(", a clone"));
    assert_eq!((trees.linked().as_str(), machine.schema().as_str()), ("v2.2", "0002"));
    machine.assert_clean();
    let (_, list) = machine.json(["backup", "list"]);
    let points = list["restore_points"].as_array().unwrap();
    assert_eq!(points.len(), 1, "{list}");
    assert_eq!(points[0]["reason"], "before restore");
    assert_eq!(
        (&points[0]["kind"], &points[0]["from_version"]),
        (&"clone".into(), &"2.4".into()),
        "{list}"
    );
    machine.run(["backup", "prune"]).success().stderr(contains("is a dump now"));
    let machine = trees.machine.with_unit("openwatch.service", "inactive");
    machine.run(["restore", points[0]["id"].as_str().unwrap(), "--yes", "--no-copy"]).success();
    assert_eq!(machine.data(), now);
}

/// Killed after the names were changed, it said of the new restore point that there was none.
#[test]
fn a_rollback_that_goes_on_after_what_it_replaced_is_a_restore_point_says_nothing_untrue() {
    let trees = unhealthy();
    let machine = &trees.machine;
    let point = machine.points().remove(0);
    machine.run(["rollback", "--yes"]).success();
    let kept = machine.points();
    let order = json!({
        "from": "2.4", "to": "2.2", "program": "tree", "point": point,
        "restored": "2026-01-01T00:00:00Z", "beside": true,
    });
    write_order(machine, order);
    let told = machine.run(["rollback"]).success();
    told.stderr(contains("no restore point").not());
    assert_eq!(machine.points(), kept);
    machine.assert_clean();
}

/// Nothing of it is lost: it stays what every database is that was replaced.
#[test]
fn what_cannot_become_a_restore_point_after_a_rollback_stays_under_its_other_name() {
    let trees = unhealthy();
    let machine = trees.machine.with_hook(
        "restart",
        "openwatch.service",
        "mv \"$root/var/lib/openwatch/backups\" \"$here/away\"; \
         ln -s /proc \"$root/var/lib/openwatch/backups\"",
    );
    let now = machine.data();
    let told = machine.run(["rollback", "--yes"]).success();
    told.stderr(contains("stays under its other name: "));
    machine.assert_clean();
    let sql =
        "select datname from pg_database where starts_with(datname, current_database() || '_')";
    let kept = machine.sql(sql);
    assert!(kept.starts_with(&format!("{}_replaced_", machine.dbname())), "{kept}");
    assert_eq!(machine.server().dump(&kept), now[0]);
}

#[test]
fn an_older_version_that_does_not_start_anew_is_put_back_too() {
    let trees = Trees::with_bad("v2.3", TestMachine::new().operator("on_failure = \"restore\""));
    let machine = &trees.machine;
    machine.run(["upgrade", "--to", "v2.3"]).code(9);
    assert_eq!(trees.linked(), "v2.2");
    assert_eq!(machine.unit("openwatch.service"), "active");
    machine.assert_clean();
}

/// Kills the run that the journal tells of, and waits to be killed with it.
const KILL: &str = "kill -9 $(grep -o '\\\"pid\\\":[0-9]*' JOURNAL | cut -d: -f2); sleep 600";

fn killed_while_switching() -> Trees {
    let once = "if [ -e ONCE ]; then exit 0; fi; touch ONCE; ";
    let trees = Trees::new(&format!("switch = [\"sh\", \"-c\", \"{once}{KILL}\"]"));
    let machine = &trees.machine;
    let conf = fs::read_to_string(machine.packager_conf()).unwrap();
    let journal = machine.upgrade_dir().join("journal.json");
    let conf = conf.replace("JOURNAL", journal.to_str().unwrap());
    let once = machine.dir().join("once");
    fs::write(machine.packager_conf(), conf.replace("ONCE", once.to_str().unwrap())).unwrap();
    machine.run(["upgrade", "--to", "v2.4"]).interrupted();
    assert_eq!(trees.linked(), "v2.2");
    machine.assert_closed();
    trees
}

#[test]
fn a_run_that_is_killed_while_it_switches_goes_on_or_back() {
    for (words, linked, schema) in
        [(["upgrade", "--resume"], "2.4", "0004"), (["upgrade", "--undo"], "v2.2", "0002")]
    {
        let trees = killed_while_switching();
        let machine = &trees.machine;
        machine.run(words).success();
        assert_eq!((trees.linked().as_str(), machine.schema().as_str()), (linked, schema));
        assert_eq!(machine.unit("openwatch.service"), "active");
        machine.assert_clean();
    }
}

#[test]
fn what_was_cut_off_while_it_was_built_is_built_anew() {
    let trees = Trees::new("");
    let machine = &trees.machine;
    let (dir, notes) = (trees.home().join("versions/2.4"), machine.upgrade_dir().join("trees"));
    fs::create_dir_all(&dir).unwrap();
    fs::create_dir_all(&notes).unwrap();
    fs::write(dir.join("VERSION"), "2.4\n").unwrap();
    let note = "{\"tag\":\"v2.4\",\"state\":\"unfinished\"}";
    fs::write(notes.join("2.4.json"), note).unwrap();
    machine.run(["upgrade", "--to", "v2.4"]).success();
    assert_eq!((trees.linked().as_str(), machine.schema().as_str()), ("2.4", "0004"));
}

#[test]
fn old_versions_are_pruned_and_the_one_before_stays() {
    let trees = Trees::new("keep = 1");
    let machine = &trees.machine;
    machine.run(["upgrade", "--to", "v2.3"]).success();
    machine.run(["upgrade", "--to", "v2.4"]).success();
    assert_eq!(trees.versions(), ["2.3", "2.4"]);
    machine.run(["upgrade", "--to", "v2.2"]).code(5).stderr(contains("rollback --to 2.2"));
    assert_eq!(trees.linked(), "2.4");
}

#[test]
fn everything_that_the_machine_lacks_is_told_before_anything_is_fetched() {
    let trees = Trees::new(
        "[[require]]\ncommand = [\"sh\", \"-c\", \"echo 3.7\"]\nat_least = \"3.8\"\n\
         [[require]]\nfree = \"9000 TB\"\npath = \"/srv\"\nhint = \"Buy a disk.\"\n\
         [[require]]\ncommand = [\"no-such-program\"]\nrequired = false",
    );
    let machine = &trees.machine;
    let run = machine.run(["upgrade", "--to", "v2.4"]).code(5);
    let told = message(&run);
    assert_eq!(told.first, "preflight found 2 reasons not to begin");
    assert!(told.detail.contains("sh 3.8 or newer is needed, and sh is 3.7"), "{told:?}");
    assert!(told.detail.contains("Buy a disk."), "{told:?}");
    run.stderr(contains("there is no program no-such-program"));
    assert_eq!(trees.versions(), ["v2.2"]);
}

#[test]
fn a_plan_for_a_version_brings_it_and_moves_nothing() {
    let trees = Trees::new("");
    let machine = &trees.machine;
    machine.run(["upgrade", "--to", "v2.4", "--plan"]).success().stdout(contains("0003 0004"));
    assert_eq!((trees.linked().as_str(), machine.acts()), ("v2.2", Vec::new()));
    assert!(!machine.mark().exists());
}

#[test]
fn a_name_that_could_be_an_option_or_a_path_is_no_version() {
    let trees = Trees::new("");
    for name in ["--upload-pack=x", "../x", "a b", ""] {
        trees.machine.run(["upgrade", &format!("--to={name}")]).code(2);
    }
    let without = TestMachine::new();
    without.run(["upgrade", "--to", "v2.4"]).code(3).stderr(contains("no table [source]"));
}

#[test]
fn a_version_comes_from_a_tag_of_git() {
    let trees = Trees::new("");
    let machine = &trees.machine;
    let source = machine.dir().join("source");
    fs::create_dir(&source).unwrap();
    let git = |words: &[&str]| {
        let done = std::process::Command::new("git")
            .current_dir(&source)
            .args(["-c", "user.name=test", "-c", "user.email=test@invalid"])
            .args(words)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    git(&["init", "-q"]);
    for tag in ["v2.3", "v2.4"] {
        copy_tree(&trees.release(tag), &source);
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", tag]);
        git(&["tag", tag]);
    }
    let conf = fs::read_to_string(machine.packager_conf()).unwrap();
    let fetch = conf.lines().find(|line| line.starts_with("fetch = ")).unwrap();
    let clone = format!(
        "fetch = [\"git\", \"clone\", \"-q\", \"--depth\", \"1\", \"--branch\", \"{{version}}\", \"file://{}\", \"{{tree}}\"]",
        source.display()
    );
    fs::write(machine.packager_conf(), conf.replace(fetch, &clone)).unwrap();
    machine.run(["upgrade", "--to", "v2.5"]).code(5).stderr(contains("v2.5 not found"));
    machine.run(["upgrade", "--to", "v2.3"]).success();
    assert_eq!((trees.linked().as_str(), machine.schema().as_str()), ("2.3", "0002"));
    machine.run(["upgrade", "--to", "v2.4"]).success();
    assert_eq!((trees.linked().as_str(), machine.schema().as_str()), ("2.4", "0004"));
    machine.run(["rollback", "--yes"]).success();
    assert_eq!((trees.linked().as_str(), machine.schema().as_str()), ("2.3", "0002"));
}

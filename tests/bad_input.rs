//! Bad input through the program: a message of four lines that names file, line, key and the fix, the
//! exit status of the table, and nothing changed.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use support::machine::{Message, TestMachine, message};

/// Runs the verbs that read everything; each must refuse alike and change nothing.
fn refused(machine: &TestMachine, code: i32) -> Message {
    let (tree, data) = (machine.tree(), machine.data());
    let mut last = None;
    for verb in ["migrate --status", "migrate", "upgrade --plan", "preflight", "backup create"] {
        let ended = machine.run(verb.split(' ')).code(code);
        let text = String::from_utf8_lossy(&ended.get_output().stderr).into_owned();
        let message = message(&ended);
        assert!(!message.first.is_empty() && !message.first.ends_with('.'), "{verb}: {text}");
        assert!(message.state.starts_with("nothing was changed"), "{verb}: {text}");
        assert!(!message.hint.is_empty(), "{verb}: {text}");
        assert!(text.lines().count() <= 4, "{verb} says more than four lines: {text}");
        assert!(text.len() < 4000, "{verb} says too much");
        let mut now = machine.tree();
        now.retain(|path, _| !path.starts_with(machine.root().join("run/openwatch")));
        assert_eq!(now, tree, "{verb}");
        last = Some(message);
    }
    assert_eq!(machine.data(), data);
    assert_eq!(machine.acts(), [""; 0]);
    last.unwrap()
}

fn has(message: &Message, words: &[&str]) {
    let all = format!("{}\n{}\n{}", message.first, message.detail, message.hint);
    for word in words {
        assert!(all.contains(word), "{word} is missing in {message:#?}");
    }
}

fn stopped() -> TestMachine {
    TestMachine::new().with_unit("openwatch.service", "inactive").ship("good")
}

#[test]
fn an_unknown_key_is_warned_of_with_the_nearest_known_one() {
    let machine = stopped().operator("auto_backups = false");
    let ended = machine.run(["migrate", "--status"]).success();
    let said = String::from_utf8_lossy(&ended.get_output().stderr).into_owned();
    let file = machine.operator_conf().display().to_string();
    for word in [file.as_str(), ":1", "auto_backups", "auto_backup"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_wrong_type_names_file_line_key_and_fix() {
    let machine = stopped().operator("auto_backup = \"perhaps\"");
    let file = format!("{}:1", machine.operator_conf().display());
    has(
        &refused(&machine, 3),
        &[&file, "auto_backup must be true or false", "write `auto_backup = true`"],
    );
}

#[test]
fn a_missing_packager_file_says_that_the_package_is_not_installed() {
    let machine = stopped();
    fs::remove_file(machine.packager_conf()).unwrap();
    has(&refused(&machine, 3), &["upgrade.conf is missing", "install openwatch"]);
}

#[test]
fn a_named_file_that_is_missing_is_told() {
    let machine = stopped();
    let ended =
        machine.run(["--config", "/nonexistent/upgrade.conf", "migrate", "--status"]).code(3);
    has(&message(&ended), &["/nonexistent/upgrade.conf does not exist", "--config"]);
}

#[test]
fn a_configuration_that_is_a_directory_is_told() {
    let machine = stopped();
    fs::remove_file(machine.operator_conf()).unwrap();
    fs::create_dir(machine.operator_conf()).unwrap();
    has(&refused(&machine, 3), &[&machine.operator_conf().display().to_string(), "directory"]);
}

#[test]
fn ten_megabytes_of_garbage_as_configuration_are_told_in_few_words() {
    let machine = stopped();
    fs::write(machine.operator_conf(), vec![0xa5; 10 << 20]).unwrap();
    has(&refused(&machine, 3), &[&machine.operator_conf().display().to_string(), "1 MiB"]);
}

#[test]
fn ten_megabytes_of_garbage_as_secrets_are_told_in_few_words() {
    let machine = stopped();
    fs::write(machine.secrets(), vec![0xa5; 10 << 20]).unwrap();
    has(&refused(&machine, 3), &["secrets.env is larger than 1 MiB"]);
}

#[test]
fn a_missing_connection_string_names_variable_and_file() {
    let machine = stopped();
    fs::write(machine.secrets(), "").unwrap();
    has(&refused(&machine, 3), &["MAIN_DSN is not set", "secrets.env"]);
}

#[test]
fn a_missing_migrations_directory_is_told() {
    let machine = stopped();
    fs::remove_dir_all(machine.migrations("main")).unwrap();
    has(&refused(&machine, 3), &[&machine.migrations("main").display().to_string()]);
}

#[test]
fn a_migrations_directory_that_is_a_file_is_told() {
    let machine = stopped();
    fs::remove_dir_all(machine.migrations("main")).unwrap();
    fs::write(machine.migrations("main"), "").unwrap();
    has(&refused(&machine, 3), &[&machine.migrations("main").display().to_string()]);
}

#[test]
fn an_empty_migration_is_told_by_its_file() {
    let machine = stopped().migration("0005_empty.sql", " \n");
    has(&refused(&machine, 3), &["0005_empty.sql is empty"]);
}

#[test]
fn a_migration_that_is_not_utf8_is_told_by_its_file() {
    let machine = stopped().migration("0005_latin.sql", b"select '\xe9';");
    has(&refused(&machine, 3), &["0005_latin.sql", "UTF-8"]);
}

#[test]
fn two_migrations_with_one_number_are_told_both() {
    let machine = stopped().migration("0004_again.sql", "select 1;");
    has(&refused(&machine, 3), &["number 0004", "0004_again.sql", "0004_index_readings.sql"]);
}

#[test]
fn a_migration_with_a_strange_name_is_told() {
    let machine = stopped().migration("hosts.sql", "select 1;");
    has(&refused(&machine, 3), &["hosts.sql is not named like a migration"]);
}

#[test]
fn stray_files_beside_migrations_change_nothing() {
    let machine = stopped();
    let dir = machine.migrations("main");
    for file in ["README", ".hidden.sql", "0003_owner.sql~", "0003_owner.sql.dpkg-new", "notes.txt"]
    {
        fs::write(dir.join(file), "not a migration").unwrap();
    }
    fs::create_dir(dir.join("old")).unwrap();
    machine.run(["migrate"]).success();
    assert_eq!(machine.schema(), "0004");
    machine.assert_clean();
}

#[test]
fn a_relative_backup_directory_names_file_line_and_key() {
    let machine = stopped().operator("backup_dir = \"backups\"");
    let file = format!("{}:1", machine.operator_conf().display());
    has(&refused(&machine, 3), &[&file, "backup_dir", "backups"]);
}

/// Verbs that need the backup directory; the others may go without it.
fn backup_refused(machine: &TestMachine, codes: &[i32]) -> Message {
    let (tree, data) = (machine.tree(), machine.data());
    let mut last = None;
    for verb in ["migrate", "backup create"] {
        let ended = machine.run(verb.split(' '));
        let code = ended.get_output().status.code().unwrap();
        let message = message(&ended);
        assert!(codes.contains(&code), "{verb}: {code}: {message:#?}");
        let mut now = machine.tree();
        now.retain(|path, _| !path.starts_with(machine.root().join("run/openwatch")));
        assert_eq!(now, tree, "{verb}: {message:#?}");
        last = Some(message);
    }
    assert_eq!(machine.data(), data);
    last.unwrap()
}

/// Row 81.
#[test]
fn a_backup_directory_that_is_a_link_is_refused() {
    let machine = stopped();
    fs::remove_dir(machine.backups()).unwrap();
    symlink(machine.root().join("var"), machine.backups()).unwrap();
    has(&backup_refused(&machine, &[3, 5]), &["backups is a symbolic link"]);
}

#[test]
fn a_backup_directory_that_is_a_file_is_refused() {
    let machine = stopped();
    fs::remove_dir(machine.backups()).unwrap();
    fs::write(machine.backups(), "").unwrap();
    has(&backup_refused(&machine, &[3, 5]), &["backups is not a directory"]);
}

/// Rows 23 and 81.
#[test]
fn a_backup_directory_that_others_may_write_to_is_refused_with_the_remedy() {
    let machine = stopped();
    fs::set_permissions(machine.backups(), fs::Permissions::from_mode(0o777)).unwrap();
    has(&backup_refused(&machine, &[3, 5]), &["can be changed by other users", "chmod 0700"]);
}

/// Row 9.
#[test]
fn a_backup_directory_where_nothing_can_be_made_is_refused() {
    let machine = stopped().operator("backup_dir = \"/proc/openwatch\"");
    has(&backup_refused(&machine, &[3, 5]), &["/proc/openwatch", "backup_dir"]);
}

/// Row 16.
#[test]
fn a_damaged_manifest_is_no_restore_point_and_stops_nothing() {
    let machine = stopped();
    machine.run(["backup", "create"]).success();
    let id = machine.points().remove(0);
    let manifest = machine.backups().join(&id).join("manifest.json");
    for garbage in [vec![0xa5; 10 << 20], b"{".to_vec(), b"{\"format\": 1}".to_vec(), Vec::new()] {
        fs::write(&manifest, garbage).unwrap();
        let (_, list) = machine.json(["backup", "list"]);
        assert_eq!(list["restore_points"][0]["state"], "damaged", "{list}");
        let ended = machine.run(["restore", &id, "--yes"]).code(5);
        has(&message(&ended), &["is not complete", "openwatch backup list"]);
    }
    machine.run(["migrate"]).success();
    assert_eq!(machine.points().len(), 2);
    machine.run(["backup", "prune"]).success();
    assert!(machine.points().len() <= 2);
}

/// Row 45.
#[test]
fn a_damaged_journal_never_blocks_the_next_run() {
    for garbage in [vec![0xa5; 4096], b"{".to_vec(), Vec::new()] {
        let machine = TestMachine::new().ship("good");
        fs::write(machine.upgrade_dir().join("journal.json"), garbage).unwrap();
        machine.run(["status"]).success();
        machine.run(["history"]).success();
        machine.run(["upgrade"]).success();
        machine.assert_clean();
    }
}

/// Row 45.
#[test]
fn a_damaged_mark_keeps_the_gate_closed_and_names_file_and_command() {
    let machine = stopped();
    fs::write(machine.mark(), "{").unwrap();
    let data = machine.data();
    for verb in ["upgrade", "gate"] {
        let message = message(&machine.run([verb]).code(12));
        has(&message, &["upgrade/pending is damaged", "`openwatch migrate --status`"]);
        assert!(message.state.contains("the gate is closed"), "{message:#?}");
    }
    assert_eq!(machine.data(), data);
    assert!(machine.mark().exists());
}

#[test]
fn a_wrong_database_name_is_corrected_where_it_is_written() {
    let machine = TestMachine::new().ship("good");
    let text = fs::read_to_string(machine.secrets()).unwrap();
    fs::write(machine.secrets(), text.replace("dbname=", "dbname=not_")).unwrap();
    let message = message(&machine.run(["migrate", "--status"]).code(3));
    let place = format!("Correct the name in MAIN_DSN in {}", machine.secrets().display());
    has(&message, &["does not exist", &place]);
}

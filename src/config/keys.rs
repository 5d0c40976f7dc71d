//! Every key that the configuration knows, and the nearest one to a key that it does not know.

use std::fmt;

/// Which of the two files a key belongs into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// `/usr/share/APP/upgrade.conf`: what the packager knows.
    Packager,
    /// `/etc/APP/upgrade.conf` and its drop-ins: what the operator wants.
    Operator,
}

/// One known key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The file that it belongs into.
    pub half: Half,
    /// The table that holds it; empty for keys at the top of the file.
    pub section: &'static str,
    /// Its name within the table.
    pub name: &'static str,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&qualified(self.section, self.name))
    }
}

const fn packager(section: &'static str, name: &'static str) -> Key {
    Key { half: Half::Packager, section, name }
}

const fn operator(section: &'static str, name: &'static str) -> Key {
    Key { half: Half::Operator, section, name }
}

/// Every known key; upgrade.conf(5) documents each of them, which a test proves.
pub const KEYS: &[Key] = &[
    packager("app", "services"),
    packager("app", "start_first"),
    packager("app", "restart"),
    packager("app", "restart_pause"),
    packager("app", "equal_versions"),
    packager("app", "version"),
    packager("app", "min_upgrade_from"),
    packager("app", "keep_files"),
    packager("app", "fingerprint_files"),
    packager("appliance", "data_disk"),
    packager("appliance", "units"),
    packager("database", "name"),
    packager("database", "kind"),
    packager("database", "path"),
    packager("database", "url_env"),
    packager("database", "service"),
    packager("database", "user"),
    packager("database", "migrations"),
    packager("database.migrations", "format"),
    packager("database.migrations", "dir"),
    packager("database.migrations", "table"),
    packager("database.migrations", "accepted_checksums"),
    packager("database.migrations", "removed"),
    packager("database.migrations", "command"),
    packager("database.migrations", "status_command"),
    packager("database.migrations", "pending_exit"),
    packager("database.migrations", "pending_lines"),
    packager("database.migrations", "applied_lines"),
    packager("database.migrations", "version_command"),
    packager("database.migrations", "user"),
    packager("database.migrations", "directory"),
    packager("database.migrations", "environment"),
    packager("database.migrations", "url_variable"),
    packager("database.migrations", "timeout"),
    packager("source", "tree"),
    packager("source", "versions"),
    packager("source", "fetch"),
    packager("source", "build"),
    packager("source", "switch"),
    packager("source", "version_file"),
    packager("source", "user"),
    packager("source", "timeout"),
    packager("source", "keep"),
    packager("source", "sides"),
    packager("require", "command"),
    packager("require", "at_least"),
    packager("require", "free"),
    packager("require", "path"),
    packager("require", "required"),
    packager("require", "hint"),
    packager("health", "http"),
    packager("health", "tcp"),
    packager("health", "unit"),
    packager("health", "sql"),
    packager("health", "command"),
    packager("health", "status"),
    packager("health", "body"),
    packager("health", "expect_version"),
    packager("health", "database"),
    packager("health", "required"),
    packager("health", "deadline"),
    packager("health", "compare"),
    packager("health", "websocket"),
    packager("health", "token_env"),
    packager("health", "token_file"),
    packager("health", "answered_by"),
    packager("expect", "gone"),
    packager("expect", "renamed"),
    packager("expect", "to"),
    packager("expect", "fewer_rows"),
    packager("expect", "changed"),
    packager("expect", "answer"),
    packager("expect", "database"),
    packager("expect", "migration"),
    packager("setting", "file"),
    packager("setting", "key"),
    packager("setting", "gone"),
    packager("setting", "needed"),
    packager("setting", "one_of"),
    operator("", "auto_backup"),
    operator("", "backup_dir"),
    operator("", "restore_point"),
    operator("", "restore_point_after"),
    operator("", "restore_point_command"),
    operator("", "restore_point_timeout"),
    operator("", "restore_command"),
    operator("", "restore_timeout"),
    operator("", "backup_recipients"),
    operator("", "backup_recipients_file"),
    operator("", "backup_identity_file"),
    operator("", "backup_retention_days"),
    operator("", "backup_keep"),
    operator("", "backup_max_bytes"),
    operator("", "on_failure"),
    operator("", "attempts"),
    operator("", "rollback_package"),
    operator("", "keep_packages"),
    operator("", "database_wait"),
    operator("", "lock_timeout"),
    operator("", "host_wait"),
    operator("", "foreign_sessions"),
    operator("", "reserve"),
    operator("", "verify"),
    operator("", "verify_limit"),
    operator("", "checks"),
    operator("", "hook_timeout"),
    operator("", "maintenance_file"),
    operator("", "window"),
    operator("", "data_disk_uuid"),
    operator("", "verify_image"),
    operator("", "guard"),
    operator("", "baseline_stop"),
    operator("", "keep_files"),
    operator("", "fingerprint_files"),
    operator("", "metrics_textfile"),
    operator("", "console_names"),
    operator("", "console_acts"),
    operator("notify", "report_url"),
    operator("notify", "success_url"),
    operator("notify", "failure_url"),
    operator("notify", "token_env"),
    operator("notify", "token_file"),
    operator("notify", "hmac_env"),
    operator("notify", "hmac_file"),
    operator("notify", "limit"),
    operator("retention.upgrade", "days"),
    operator("retention.upgrade", "keep"),
    operator("retention.manual", "days"),
    operator("retention.manual", "keep"),
    operator("retention.before_restore", "days"),
    operator("retention.before_restore", "keep"),
    operator("retention.after_step", "days"),
    operator("retention.after_step", "keep"),
];

/// Tables of the two halves, with the way in which their headings are written.
const SECTIONS: &[(Half, &str, &str)] = &[
    (Half::Packager, "app", "[app]"),
    (Half::Packager, "appliance", "[appliance]"),
    (Half::Packager, "database", "[[database]]"),
    (Half::Packager, "source", "[source]"),
    (Half::Packager, "require", "[[require]]"),
    (Half::Packager, "health", "[[health]]"),
    (Half::Packager, "expect", "[[expect]]"),
    (Half::Packager, "setting", "[[setting]]"),
    (Half::Operator, "notify", "[notify]"),
    (Half::Operator, "retention", "[retention.REASON]"),
];

/// Joins a table and a key as messages write them.
pub(super) fn qualified(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// What is known about a key that this place does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    /// The key or table belongs into the other file.
    OtherHalf,
    /// The key belongs into this file, at this place.
    Elsewhere(&'static str),
    /// The key is probably a misspelling of this one.
    Nearest(&'static str),
    /// Nothing resembles it.
    Nothing,
}

/// Finds what a key may have been meant to be.
///
/// Shell variables of older setups (`AUTO_BACKUP`) and dashes are read as the same words.
pub(super) fn guess(half: Half, section: &str, name: &str) -> Guess {
    let word = name.to_lowercase().replace('-', "_");
    let here = |key: &&Key| key.half == half && key.section == section;
    if section.is_empty() && word == name {
        if SECTIONS.iter().any(|(h, s, _)| *h != half && *s == word) {
            return Guess::OtherHalf;
        }
        if KEYS.iter().any(|key| key.half != half && key.section.is_empty() && key.name == word) {
            return Guess::OtherHalf;
        }
    }
    let mut names: Vec<&'static str> = KEYS.iter().filter(here).map(|key| key.name).collect();
    if section.is_empty() {
        names.extend(SECTIONS.iter().filter(|(h, ..)| *h == half).map(|(_, name, _)| *name));
    }
    let near = names
        .iter()
        .map(|known| (distance(&word, known), *known))
        .min()
        .filter(|(far, known)| *far <= 1 + known.len() / 4);
    if let Some((_, known)) = near {
        return Guess::Nearest(known);
    }
    if let Some((_, _, heading)) = KEYS
        .iter()
        .find(|key| key.half == half && key.section != section && key.name == word)
        .and_then(|key| SECTIONS.iter().find(|(_, name, _)| *name == key.section))
    {
        return Guess::Elsewhere(heading);
    }
    match KEYS.iter().find(|key| key.half != half && key.name == word) {
        Some(_) => Guess::OtherHalf,
        None => Guess::Nothing,
    }
}

/// Returns how many letters must be added, removed, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best =
                (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_named_with_its_nearest() {
        for (name, nearest) in [
            ("auto_bakup", "auto_backup"),
            ("AUTO_BACKUP", "auto_backup"),
            ("backup-dir", "backup_dir"),
            ("backup_retention", "backup_retention_days"),
            ("notfiy", "notify"),
        ] {
            assert_eq!(guess(Half::Operator, "", name), Guess::Nearest(nearest), "{name}");
        }
        assert_eq!(guess(Half::Packager, "health", "deadlin"), Guess::Nearest("deadline"));
        assert_eq!(guess(Half::Operator, "", "colour"), Guess::Nothing);
    }

    #[test]
    fn a_key_in_the_wrong_file_is_told_where_it_belongs() {
        assert_eq!(guess(Half::Packager, "", "auto_backup"), Guess::OtherHalf);
        assert_eq!(guess(Half::Packager, "app", "backup_dir"), Guess::OtherHalf);
        assert_eq!(guess(Half::Operator, "", "app"), Guess::OtherHalf);
        assert_eq!(guess(Half::Operator, "", "services"), Guess::OtherHalf);
        assert_eq!(guess(Half::Operator, "", "success_url"), Guess::Elsewhere("[notify]"));
        assert_eq!(guess(Half::Packager, "", "services"), Guess::Elsewhere("[app]"));
    }

    #[test]
    fn distances_count_single_changes() {
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}

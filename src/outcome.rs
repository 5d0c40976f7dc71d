//! How a run ended: one word and one exit code, the same everywhere.

use std::fmt;

/// The end of a run, as the exit status and the JSON key `outcome` tell it.
///
/// Words and numbers are a contract with configuration management; `tests/cli.rs` freezes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Done, or nothing to do.
    Ok,
    /// Something unexpected.
    Failed,
    /// Wrong arguments.
    Usage,
    /// Configuration or credentials are wrong.
    Config,
    /// The database cannot be reached; a scriptlet defers the upgrade.
    Unreachable,
    /// Preflight said no; nothing was changed.
    Refused,
    /// There is no restore point, therefore nothing was migrated.
    BackupFailed,
    /// A migration failed; the state line says where the data is.
    MigrationFailed,
    /// Migrated, but health was not proved.
    Unhealthy,
    /// Failed and put back.
    RolledBack,
    /// `migrate --check`: migrations are pending.
    Pending,
    /// The schema is ahead, divergent or has missing migrations.
    Mismatch,
    /// A person is needed; one file and one command are named.
    Stuck,
    /// Another run holds the lock.
    Busy,
}

impl Outcome {
    /// Every outcome, in the order of the table in openwatch(1).
    pub const ALL: [Self; 14] = [
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::Config,
        Self::Unreachable,
        Self::Refused,
        Self::BackupFailed,
        Self::MigrationFailed,
        Self::Unhealthy,
        Self::RolledBack,
        Self::Pending,
        Self::Mismatch,
        Self::Stuck,
        Self::Busy,
    ];

    /// Returns the process exit status.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::Unreachable => 4,
            Self::Refused => 5,
            Self::BackupFailed => 6,
            Self::MigrationFailed => 7,
            Self::Unhealthy => 8,
            Self::RolledBack => 9,
            Self::Pending => 10,
            Self::Mismatch => 11,
            Self::Stuck => 12,
            Self::Busy => 75,
        }
    }

    /// Returns the word used in JSON and in the journal.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Config => "config",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::BackupFailed => "backup_failed",
            Self::MigrationFailed => "migration_failed",
            Self::Unhealthy => "unhealthy",
            Self::RolledBack => "rolled_back",
            Self::Pending => "pending",
            Self::Mismatch => "mismatch",
            Self::Stuck => "stuck",
            Self::Busy => "busy",
        }
    }

    /// Returns what the outcome means, as the table in openwatch(1) says it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "Done, or nothing to do.",
            Self::Failed => "Something unexpected.",
            Self::Usage => "Wrong arguments.",
            Self::Config => "Configuration or credentials are wrong.",
            Self::Unreachable => "The database is away; a package script defers the upgrade.",
            Self::Refused => "A check said no; nothing was changed.",
            Self::BackupFailed => "There is no restore point, therefore nothing was migrated.",
            Self::MigrationFailed => "A migration failed; the state line says where the data is.",
            Self::Unhealthy => "Migrated, but health was not proved.",
            Self::RolledBack => "Failed and put back.",
            Self::Pending => "Migrations are pending (migrate --check, gate).",
            Self::Mismatch => {
                "The schema is ahead, divergent or has missing migrations; a comparison with a baseline failed."
            }
            Self::Stuck => "A person is needed; one file and one command are named.",
            Self::Busy => "Another run holds the lock.",
        }
    }

    /// Returns the outcome that a word of the journal stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.word() == word)
    }

    /// Returns the outcome that an exit status of this program stands for.
    pub fn from_exit_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| i32::from(outcome.exit_code()) == code)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

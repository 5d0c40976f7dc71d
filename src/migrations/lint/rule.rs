//! What is looked for: stable names, levels, the reason, and what to do instead.

use serde::Serialize;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing before a release: time, locks, what a later dump may meet.
    Warning,
    /// Fails, or loses data, on a machine of an operator.
    Error,
}

impl Level {
    /// Returns the word used in JSON and on the terminal.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What one rule says, always in the same words.
#[derive(Debug, PartialEq, Eq)]
pub struct About {
    /// The stable name, which comments in migrations use.
    pub id: &'static str,
    /// How much a finding weighs.
    pub level: Level,
    /// What goes wrong.
    pub why: &'static str,
    /// What to do instead.
    pub instead: &'static str,
    /// The names by which squawk knows it; comments for squawk are honoured.
    pub squawk: &'static [&'static str],
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $id:literal $level:ident [$($squawk:literal)*] $why:literal $instead:literal;)*) => {
        /// A thing that is looked for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Rule {
            $($(#[$doc])* $name,)*
        }

        impl Rule {
            /// Every rule, in the order of docs/PACKAGING.md.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns what the rule says.
            pub const fn about(self) -> &'static About {
                match self {
                    $(Self::$name => &About {
                        id: $id,
                        level: Level::$level,
                        why: $why,
                        instead: $instead,
                        squawk: &[$($squawk,)*],
                    },)*
                }
            }
        }
    };
}

rules! {
    /// A command of psql.
    PsqlCommand = "psql-command" Error []
        "only psql understands it, and migrations are sent to the server"
        "write it as SQL";
    /// COPY with data from or to the client.
    CopyStream = "copy-stream" Error []
        "the data of COPY FROM stdin follows the statement, which only psql can send"
        "write INSERT statements, or ship the data as a file that the program loads";
    /// BEGIN, COMMIT and their kin.
    TransactionControl = "transaction-control" Error
        ["transaction-nesting" "ban-uncommitted-transaction"]
        "it would end the transaction that holds the migration and its row in the history together"
        "leave it out: the migration runs in a transaction anyway";
    /// A statement that the server refuses inside a transaction.
    NeedsNoTransaction = "needs-no-transaction" Error
        ["ban-concurrent-index-creation-in-transaction"]
        "the server refuses it inside a transaction (SQLSTATE 25001)"
        "put it into a migration of its own that says it runs outside a transaction";
    /// An enum value that is used in the transaction that adds it.
    EnumValueUsed = "enum-value-used" Error []
        "a value added by ALTER TYPE cannot be used before it is committed (SQLSTATE 55P04)"
        "use it in the next migration";
    /// An enum value that a later migration of the same run uses.
    EnumValueSplitsBatch = "enum-value-splits-batch" Warning []
        "where both are pending the run falls back to one transaction each, and a failure leaves the former ones applied"
        "release the two in versions that are not upgraded in one step, or accept it";
    /// A migration that runs outside a transaction.
    OutsideTransaction = "outside-transaction" Warning []
        "when it fails in the middle nothing rolls it back: the restore point is the way back"
        "keep it to one statement that can be run again, such as CREATE INDEX CONCURRENTLY IF NOT EXISTS";
    /// An effect that a rollback does not undo.
    NotRolledBack = "not-rolled-back" Warning []
        "setval() keeps its effect when the transaction is rolled back"
        "use ALTER SEQUENCE ... RESTART, which is rolled back";
    /// DROP TABLE.
    DropTable = "drop-table" Error ["ban-drop-table"]
        "the rows are gone; only the restore point has them"
        "stop using it in this release and drop it in a later one, with a comment that says why it may go";
    /// DROP COLUMN.
    DropColumn = "drop-column" Error ["ban-drop-column"]
        "the values are gone; only the restore point has them"
        "stop using it in this release and drop it in a later one, with a comment that says why it may go";
    /// DROP SCHEMA, DROP OWNED, DROP DATABASE.
    DropSchema = "drop-schema" Error ["ban-drop-schema" "ban-drop-database"]
        "everything in it is gone; only the restore point has it"
        "drop what is meant by name";
    /// CASCADE.
    DropCascade = "drop-cascade" Warning []
        "it takes along what depends on it, also what operators have made"
        "drop what depends on it by name";
    /// TRUNCATE.
    Truncate = "truncate" Error ["ban-truncate-cascade"]
        "the rows are gone; only the restore point has them"
        "delete the rows that are meant, with a WHERE";
    /// DELETE without WHERE.
    DeleteAllRows = "delete-all-rows" Error []
        "every row is gone; only the restore point has them"
        "say with WHERE which rows are meant";
    /// UPDATE without WHERE.
    UpdateAllRows = "update-all-rows" Warning []
        "every row is written anew: time, and twice the space, grow with the table"
        "say with WHERE which rows need it, or set a default when the column is added";
    /// A column type that holds less than the former one.
    NarrowType = "narrow-type" Error ["changing-column-type"]
        "values that do not fit are cut, rounded, or fail the migration on an operator's data"
        "add a column of the new type, or a CHECK that says what is allowed";
    /// ADD COLUMN NOT NULL without a default.
    AddRequiredColumn = "add-required-column" Error ["adding-required-field"]
        "it fails on every table that has rows"
        "give it a DEFAULT, or add it without NOT NULL, fill it, and set NOT NULL then";
    /// A rewrite of a whole table.
    RewriteTable = "rewrite-table" Warning
        ["changing-column-type" "adding-field-with-default" "adding-serial-primary-key-field"
            "ban-alter-generated-expression" "prefer-repack"]
        "the whole table is written anew under ACCESS EXCLUSIVE: time and twice the space grow with it"
        "for a table that may be big: a new column without a default, filled in parts";
    /// A look at every row under a lock that stops writers.
    ScanTable = "scan-under-lock" Warning
        ["constraint-missing-not-valid" "adding-foreign-key-constraint" "adding-not-nullable-field"
            "ban-alter-domain-with-add-constraint"]
        "every row is read under a lock that keeps others out: time grows with the table"
        "for a table that may be big: a constraint NOT VALID now, VALIDATE CONSTRAINT in a later release";
    /// An index that is built while writers wait.
    IndexBlocksWrites = "index-blocks-writes" Warning
        ["require-concurrent-index-creation" "disallowed-unique-constraint"
            "adding-serial-primary-key-field" "require-concurrent-reindex"]
        "nobody can write to the table until the index is built: time grows with the table"
        "for a table that may be big: CONCURRENTLY in a migration outside a transaction; a constraint takes it by USING INDEX";
    /// A table that is not crash safe.
    UnloggedTable = "unlogged-table" Warning []
        "its rows are gone after a crash of the server, and a standby has none"
        "keep it logged unless the rows can be made again";
    /// An index, constraint or generated column whose function cannot run while a dump is restored.
    UnqualifiedInFunction = "unqualified-in-function" Error []
        "a dump is restored with an empty search_path: the function fails, and with it the restore"
        "give the function SET search_path, a BEGIN ATOMIC body, or write schema.name in it";
    /// A CHECK that reads tables.
    CheckReadsTable = "check-reads-table" Error []
        "a restore fills tables one by one: the check may run before the other table has its rows"
        "use a foreign key, or a trigger";
    /// REVOKE on what a dump reads.
    Revoke = "revoke" Warning ["ban-revoke"]
        "the next restore point fails when its role loses the right to read"
        "rehearse with the role that takes restore points, or grant it pg_read_all_data";
    /// Another owner.
    OwnerChange = "owner-change" Warning []
        "the role that takes restore points may no longer read it, and that role must exist on every machine"
        "rehearse with the role that takes restore points";
    /// Row level security switched on.
    RowSecurity = "row-security" Warning ["ban-alter-row-level-security"]
        "pg_dump stops at a table whose policies hide rows from its role, unless it owns the table or has BYPASSRLS"
        "take restore points as the owner of the table";
    /// Row level security also for the owner.
    ForceRowSecurity = "force-row-security" Error ["ban-alter-row-level-security"]
        "pg_dump stops at the table also as its owner: the next upgrade has no restore point"
        "leave the owner exempt, and let the program connect as another role";
    /// A statement that the grammar of the linter cannot read.
    Unreadable = "unreadable" Warning []
        "it was not checked; the server may know better than the linter, or refuse it"
        "run the migrations on an empty database, and look at this statement yourself";
    /// A comment that names an unknown rule.
    UnknownRule = "unknown-rule" Warning []
        "the comment has no effect"
        "use a name that `openwatch migrate lint` prints";
    /// A comment without a reason.
    IgnoreWithoutReason = "ignore-without-reason" Warning []
        "the comment has no effect: whoever reads it later has to know why"
        "write the reason behind the name of the rule";
    /// A comment that hides nothing.
    UnusedIgnore = "unused-ignore" Warning []
        "there is nothing that it hides"
        "remove the comment";
}

impl Rule {
    /// Returns the rule with this name.
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.about().id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_words_with_hyphens() {
        for (at, rule) in Rule::ALL.iter().enumerate() {
            let id = rule.about().id;
            assert!(id.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{id}");
            assert_eq!(Rule::from_id(id), Some(*rule));
            assert!(!Rule::ALL[..at].iter().any(|other| other.about().id == id), "{id} twice");
        }
    }
}

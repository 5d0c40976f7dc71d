//! One statement after another: what each locks, drops, and cannot do inside a transaction.

use std::ops::Range;

use squawk_syntax::ast::{self, AstNode as _};
use squawk_syntax::{SyntaxKind as K, SyntaxNode};

use super::known::Known;
use super::rule::Rule;
use super::{Cost, alter, dump, tree};

/// A finding before it is a line of the report.
pub(super) struct Raw {
    pub(super) rule: Rule,
    pub(super) at: usize,
    pub(super) what: String,
    pub(super) statement: Range<usize>,
}

/// A lock before it is a line of the report.
pub(super) struct RawLock {
    pub(super) at: usize,
    pub(super) table: String,
    pub(super) mode: &'static str,
    pub(super) cost: Cost,
}

/// Looks at the statements of one file.
pub(super) struct Looker<'a> {
    pub(super) known: &'a mut Known,
    /// The migration, as messages name it.
    pub(super) label: String,
    pub(super) transactional: bool,
    pub(super) found: Vec<Raw>,
    pub(super) locks: Vec<RawLock>,
    /// Byte range of the present statement in the file.
    pub(super) statement: Range<usize>,
    /// Where the part of it begins that is looked at.
    pub(super) at: usize,
    /// Whether the present statement was written into a DO block.
    pub(super) inside_do: bool,
}

impl Looker<'_> {
    /// Reports a finding about the present statement.
    pub(super) fn report(&mut self, rule: Rule, what: impl Into<String>) {
        let statement = self.statement.clone();
        self.found.push(Raw { rule, at: self.at, what: what.into(), statement });
    }

    /// Notes a lock, unless the table was made in the same step: nobody else sees it yet.
    pub(super) fn lock(&mut self, table: &str, mode: &'static str, cost: Cost) {
        if !self.known.is_fresh(table) {
            let lock = RawLock { at: self.at, table: table.to_owned(), mode, cost };
            self.locks.push(lock);
        }
    }

    /// Looks at one statement, which is at `self.statement` of the file.
    pub(super) fn look(&mut self, node: &SyntaxNode) {
        self.outside(node);
        self.values(node);
        match node.kind() {
            K::CREATE_TABLE => self.create_table(node),
            K::CREATE_TABLE_AS | K::SELECT_INTO => {
                if let Some(name) = tree::name_below(node, K::TABLE_NAME) {
                    self.known.create_table(name, false);
                }
            }
            K::CREATE_INDEX => self.create_index(node),
            K::CREATE_FUNCTION => {
                if let Some(function) = ast::CreateFunction::cast(node.clone()) {
                    self.known.create_function(&function);
                }
            }
            K::CREATE_TYPE => {
                if let Some(name) = tree::name_below(node, K::TYPE_NAME) {
                    self.known.create_type(name);
                }
            }
            K::CREATE_MATERIALIZED_VIEW => dump::expression(self, node, "the materialized view"),
            K::ALTER_TABLE | K::ALTER_MATERIALIZED_VIEW | K::ALTER_FOREIGN_TABLE => {
                alter::table(self, node);
            }
            K::ALTER_TYPE => self.alter_type(node),
            K::ALTER_DOMAIN => self.alter_domain(node),
            K::TRUNCATE => self.truncate(node),
            K::LOCK => self.lock_table(node),
            K::REINDEX => self.reindex(node),
            K::REFRESH => self.refresh(node),
            K::VACUUM | K::CLUSTER | K::REPACK => self.rewrite(node),
            K::COPY => self.copy(node),
            K::REVOKE => dump::revoke(self, node),
            K::REASSIGN => self.report(Rule::OwnerChange, "gives everything of a role to another"),
            K::DO => self.block(node),
            kind if transaction_control(kind) => {
                self.report(
                    Rule::TransactionControl,
                    tree::plain(node).trim_end_matches(';').to_uppercase(),
                );
            }
            _ => self.drops(node),
        }
        if !matches!(node.kind(), K::CREATE_FUNCTION | K::CREATE_PROCEDURE | K::CREATE_RULE) {
            self.rows(node);
        }
        if !matches!(node.kind(), K::ALTER_TABLE) && tree::below(node, K::OWNER_TO) {
            dump::owner(self, node);
        }
    }

    /// Looks for what the server refuses inside a transaction.
    fn outside(&mut self, node: &SyntaxNode) {
        let concurrently = tree::has(node, K::CONCURRENTLY_KW)
            || node.children().any(|child| tree::has(&child, K::CONCURRENTLY_KW));
        let plain = || tree::plain(node);
        let alone = match node.kind() {
            // This one waits for nobody else's transaction, and the server lets it be.
            K::REFRESH => false,
            K::VACUUM | K::ALTER_SYSTEM | K::CREATE_DATABASE | K::DROP_DATABASE | K::REPACK => true,
            K::CREATE_TABLESPACE | K::DROP_TABLESPACE | K::DROP_SUBSCRIPTION => true,
            K::CREATE_SUBSCRIPTION => {
                let text = plain().replace(' ', "");
                !text.contains("create_slot=false") && !text.contains("connect=false")
            }
            K::ALTER_SUBSCRIPTION => tree::below(node, K::REFRESH_PUBLICATION),
            K::ALTER_DATABASE => tree::below(node, K::SET_TABLESPACE),
            K::CLUSTER => tree::child(node, K::TABLE_NAME_REF).is_none(),
            K::DISCARD => tree::below(node, K::DISCARD_ALL),
            K::ALTER_TABLE => tree::below(node, K::DETACH_CONCURRENTLY),
            K::REINDEX => {
                let whole = [
                    K::REINDEX_TARGET_SCHEMA,
                    K::REINDEX_TARGET_DATABASE,
                    K::REINDEX_TARGET_SYSTEM,
                ];
                concurrently || whole.iter().any(|kind| tree::child(node, *kind).is_some())
            }
            _ => concurrently,
        };
        if alone && (self.transactional || self.inside_do) {
            let text = plain().to_uppercase();
            let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
            let head = words.take(2).collect::<Vec<_>>().join(" ");
            let tail = if concurrently { " CONCURRENTLY" } else { "" };
            let what = format!("{head}{tail} inside a transaction");
            self.report(Rule::NeedsNoTransaction, what);
        }
    }

    /// Looks for added enum values that are used.
    fn values(&mut self, node: &SyntaxNode) {
        let silent = [K::COMMENT_ON, K::CREATE_FUNCTION, K::CREATE_PROCEDURE, K::ALTER_TYPE, K::DO];
        if silent.contains(&node.kind()) && !self.inside_do {
            return;
        }
        for value in self.known.used_values(node) {
            if !self.transactional {
                continue;
            }
            let literal = &value.literal;
            if value.here {
                self.report(Rule::EnumValueUsed, format!("uses {literal}, which this file adds"));
            } else {
                let what = format!("uses {literal}, which {} adds", value.added_by);
                self.report(Rule::EnumValueSplitsBatch, what);
            }
        }
    }

    /// Looks for statements that write every row, wherever they stand.
    fn rows(&mut self, node: &SyntaxNode) {
        for inner in node.descendants() {
            let (rule, verb) = match inner.kind() {
                K::DELETE => (Rule::DeleteAllRows, "deletes"),
                K::UPDATE => (Rule::UpdateAllRows, "writes"),
                K::CALL_EXPR if self.transactional => {
                    let called = tree::calls(&inner).first().cloned().unwrap_or_default();
                    if called == "setval" || called == "pg_catalog.setval" {
                        self.report(Rule::NotRolledBack, "setval() inside a transaction");
                    }
                    continue;
                }
                _ => continue,
            };
            let some = [K::WHERE_CLAUSE, K::WHERE_CURRENT_OF];
            if some.iter().any(|kind| tree::child(&inner, *kind).is_some()) {
                continue;
            }
            let table = tree::name_below(&inner, K::RELATION_NAME).unwrap_or_default();
            if !self.known.is_fresh(&table) {
                self.report(rule, format!("{verb} every row of {table}"));
            }
        }
    }

    fn create_table(&mut self, node: &SyntaxNode) {
        let Some(table) = tree::name_below(node, K::TABLE_NAME) else { return };
        // It may be there with all its rows, and then nothing happens.
        if tree::child(node, K::IF_NOT_EXISTS).is_some() && self.known.has_table(&table) {
            return;
        }
        self.known.create_table(table.clone(), tree::names_all_columns(node));
        if let Some(parent) = tree::child(node, K::PARTITION_OF) {
            let parent = tree::name_below(&parent, K::TABLE_NAME_REF).unwrap_or_default();
            self.lock(&parent, "ACCESS EXCLUSIVE", Cost::Instant);
        }
        for column in node.descendants().filter(|inner| inner.kind() == K::COLUMN) {
            let name = tree::name_below(&column, K::COLUMN_NAME);
            let kind = ast::Column::cast(column).and_then(|column| column.ty());
            if let (Some(name), Some(kind)) = (name, kind) {
                self.known.set_column(&table, name, tree::plain(kind.syntax()));
            }
        }
        for constraint in node.descendants() {
            self.constraint_of_fresh(&constraint);
        }
    }

    /// Looks at a constraint that needs no look at rows, because there are none.
    pub(super) fn constraint_of_fresh(&mut self, constraint: &SyntaxNode) {
        match constraint.kind() {
            K::REFERENCES_CONSTRAINT | K::FOREIGN_KEY_CONSTRAINT => {
                if let Some(other) = tree::name_below(constraint, K::TABLE_NAME_REF) {
                    self.lock(&other, "SHARE ROW EXCLUSIVE", Cost::Instant);
                }
            }
            K::CHECK_CONSTRAINT => dump::check(self, constraint),
            K::GENERATED_STORED => dump::expression(self, constraint, "the generated column"),
            _ => {}
        }
    }

    fn create_index(&mut self, node: &SyntaxNode) {
        let table = tree::name_below(node, K::TABLE_RELATION_NAME).unwrap_or_default();
        dump::expression(self, node, "the index");
        if tree::has(node, K::CONCURRENTLY_KW) {
            self.lock(&table, "SHARE UPDATE EXCLUSIVE", Cost::Scan);
        } else if !self.known.is_fresh(&table) {
            self.report(Rule::IndexBlocksWrites, format!("builds an index of {table}"));
            self.lock(&table, "SHARE", Cost::Scan);
        }
    }

    fn alter_type(&mut self, node: &SyntaxNode) {
        let name = tree::name_below(node, K::TYPE_NAME_REF).unwrap_or_default();
        let Some(value) = tree::child(node, K::ADD_VALUE) else { return };
        let literal = tree::child(&value, K::LITERAL).map(|literal| literal.text().to_string());
        if let Some(literal) = literal.filter(|_| self.transactional) {
            let label = self.label.clone();
            self.known.add_value(&name, literal, &label);
        }
    }

    fn alter_domain(&mut self, node: &SyntaxNode) {
        let name = tree::name_below(node, K::DOMAIN_REF).unwrap_or_default();
        let checks = tree::child(node, K::ADD_CONSTRAINT).filter(|c| !tree::below(c, K::NOT_VALID));
        if checks.is_some() || tree::child(node, K::SET_NOT_NULL).is_some() {
            self.report(Rule::ScanTable, format!("checks every column of the domain {name}"));
        }
    }

    fn truncate(&mut self, node: &SyntaxNode) {
        let tables = node.descendants().filter(|inner| inner.kind() == K::TABLE_RELATION_NAME);
        for table in tables.map(|table| tree::name(&table)).collect::<Vec<_>>() {
            if !self.known.is_fresh(&table) {
                self.report(Rule::Truncate, format!("empties {table}"));
                self.lock(&table, "ACCESS EXCLUSIVE", Cost::Instant);
            }
        }
        self.cascade(node);
    }

    fn lock_table(&mut self, node: &SyntaxNode) {
        let mode = tree::child(node, K::LOCK_MODE_CLAUSE).map(|clause| tree::plain(&clause));
        let mode = mode.unwrap_or_default().replace("in ", "").replace(" mode", "").to_uppercase();
        const MODES: [&str; 7] = [
            "ACCESS SHARE",
            "ROW SHARE",
            "ROW EXCLUSIVE",
            "SHARE UPDATE EXCLUSIVE",
            "SHARE",
            "SHARE ROW EXCLUSIVE",
            "EXCLUSIVE",
        ];
        let mode = MODES.into_iter().find(|known| *known == mode).unwrap_or("ACCESS EXCLUSIVE");
        let tables = node.descendants().filter(|inner| inner.kind() == K::RELATION_NAME);
        for table in tables.map(|table| tree::name(&table)).collect::<Vec<_>>() {
            self.lock(&table, mode, Cost::Instant);
        }
    }

    fn reindex(&mut self, node: &SyntaxNode) {
        let Some(target) = node.children().last() else { return };
        if tree::has(&target, K::CONCURRENTLY_KW) || tree::below(node, K::CONCURRENTLY_KW) {
            return;
        }
        let of = target.children().last().map(|named| tree::name(&named)).unwrap_or_default();
        if !self.known.is_fresh(&of) {
            self.report(Rule::IndexBlocksWrites, format!("builds the indexes of {of} anew"));
            self.lock(&of, "SHARE", Cost::Scan);
        }
    }

    fn refresh(&mut self, node: &SyntaxNode) {
        let view = tree::name_below(node, K::VIEW_REF).unwrap_or_default();
        if tree::has(node, K::CONCURRENTLY_KW) {
            self.lock(&view, "EXCLUSIVE", Cost::Scan);
        } else {
            self.lock(&view, "ACCESS EXCLUSIVE", Cost::Rewrite);
        }
    }

    fn rewrite(&mut self, node: &SyntaxNode) {
        if node.kind() == K::VACUUM && !tree::plain(node).contains("full") {
            return;
        }
        let table =
            tree::name_below(node, K::TABLE_NAME_REF).unwrap_or_else(|| "all tables".into());
        self.report(Rule::RewriteTable, format!("writes {table} anew"));
        self.lock(&table, "ACCESS EXCLUSIVE", Cost::Rewrite);
    }

    fn copy(&mut self, node: &SyntaxNode) {
        for (kind, what) in [(K::COPY_STDIN, "COPY FROM stdin"), (K::COPY_STDOUT, "COPY TO stdout")]
        {
            if tree::below(node, kind) {
                self.report(Rule::CopyStream, what);
            }
        }
    }

    /// Looks at the statements of a DO block; their places are those of the file.
    fn block(&mut self, node: &SyntaxNode) {
        let Some(body) = ast::Do::cast(node.clone()).and_then(|block| block.plpgsql()) else {
            return;
        };
        self.inside_do = true;
        for inner in body.syntax().descendants() {
            self.at = usize::from(body.source_range(inner.text_range()).start());
            if matches!(inner.kind(), K::PLPGSQL_COMMIT_STMT | K::PLPGSQL_ROLLBACK_STMT) {
                self.report(Rule::TransactionControl, "COMMIT or ROLLBACK in a DO block");
            } else if inner.kind() == K::PLPGSQL_EXEC_SQL_STMT
                && let Some(statement) = inner.first_child()
            {
                self.look(&statement);
            }
        }
        self.inside_do = false;
    }

    fn drops(&mut self, node: &SyntaxNode) {
        match node.kind() {
            K::DROP_TABLE => {
                for table in tree::names(node, K::TABLE_NAME_REF) {
                    if !self.known.is_fresh(&table) {
                        self.report(Rule::DropTable, format!("drops {table} with its rows"));
                        self.lock(&table, "ACCESS EXCLUSIVE", Cost::Instant);
                    }
                    self.known.drop_table(&table);
                }
            }
            K::DROP_SCHEMA if tree::child(node, K::CASCADE).is_some() => {
                let schemas = tree::names(node, K::SCHEMA_REF).join(", ");
                return self.report(Rule::DropSchema, format!("drops {schemas} with its tables"));
            }
            K::DROP_DATABASE => self.report(Rule::DropSchema, "drops a database"),
            K::DROP_OWNED => self.report(Rule::DropSchema, "drops everything of a role"),
            K::DROP_INDEX => {
                for index in tree::names(node, K::INDEX_REF) {
                    let concurrently = tree::has(node, K::CONCURRENTLY_KW);
                    let mode =
                        if concurrently { "SHARE UPDATE EXCLUSIVE" } else { "ACCESS EXCLUSIVE" };
                    self.lock(&format!("table of index {index}"), mode, Cost::Instant);
                }
            }
            _ => {}
        }
        self.cascade(node);
    }

    /// Looks for CASCADE behind what is dropped.
    pub(super) fn cascade(&mut self, node: &SyntaxNode) {
        if tree::child(node, K::CASCADE).is_some() {
            self.report(Rule::DropCascade, "CASCADE");
        }
    }
}

fn transaction_control(kind: K) -> bool {
    matches!(
        kind,
        K::BEGIN
            | K::COMMIT_TRANSACTION
            | K::ROLLBACK_TRANSACTION
            | K::PREPARE_TRANSACTION
            | K::COMMIT_PREPARED
            | K::ROLLBACK_PREPARED
    )
}

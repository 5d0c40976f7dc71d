//! What the files before have made: tables and their columns, functions, enum values.

use std::collections::{HashMap, HashSet};

use squawk_syntax::ast::{self, AstNode as _};
use squawk_syntax::{SyntaxKind, SyntaxNode};

use super::literal::may_be;
use super::tree;

/// Functions of extensions that only work where their extension's schema is in the search_path.
const OF_EXTENSIONS: &[&str] = &[
    "unaccent",
    "ll_to_earth",
    "earth_distance",
    "earth_box",
    "similarity",
    "word_similarity",
    "uuid_generate_v4",
    "digest",
    "hmac",
    "crypt",
    "gen_salt",
    "soundex",
    "levenshtein",
    "metaphone",
    "dmetaphone",
    "hstore",
    "cube",
];

/// Built-in functions whose value differs from row to row, and those of usual extensions.
const VOLATILE: &[&str] = &[
    "random",
    "random_normal",
    "gen_random_uuid",
    "uuidv4",
    "uuidv7",
    "clock_timestamp",
    "timeofday",
    "nextval",
    "setval",
    "uuid_generate_v1",
    "uuid_generate_v1mc",
    "uuid_generate_v4",
    "gen_random_bytes",
    "gen_salt",
];

/// A table as the files tell of it.
#[derive(Debug, Default)]
struct Table {
    /// Made in the present step: it has no rows of an operator.
    fresh: bool,
    /// All its columns are known, in their order.
    whole: bool,
    columns: HashMap<String, Column>,
}

#[derive(Debug)]
struct Column {
    kind: String,
    fresh: bool,
    /// Those made later have a larger number.
    place: usize,
}

/// What is asked of a function later.
#[derive(Debug, Default)]
struct Function {
    volatile: bool,
    /// It says itself where names are looked up, or its names were bound when it was made.
    bound: bool,
    calls: Vec<String>,
    tables: Vec<String>,
}

/// An enum value that was added to a type with rows.
#[derive(Debug)]
pub(super) struct EnumValue {
    pub(super) literal: String,
    of: String,
    pub(super) added_by: String,
    pub(super) here: bool,
}

/// Everything that the files so far have made.
#[derive(Debug, Default)]
pub(super) struct Known {
    tables: HashMap<String, Table>,
    functions: HashMap<String, Function>,
    types: HashSet<String>,
    fresh_types: HashSet<String>,
    values: Vec<EnumValue>,
}

impl Known {
    /// Begins another file; `same_step` where it is upgraded together with the one before.
    pub(super) fn next_file(&mut self, same_step: bool) {
        for value in &mut self.values {
            value.here = false;
        }
        if same_step {
            return;
        }
        self.fresh_types.clear();
        for table in self.tables.values_mut() {
            table.fresh = false;
            for column in table.columns.values_mut() {
                column.fresh = false;
            }
        }
    }

    /// Forgets enum values: what follows is not upgraded together with what was.
    pub(super) fn forget_values(&mut self) {
        self.values.clear();
    }

    /// Says whether a table was made in the present step, so that it holds nothing yet.
    pub(super) fn is_fresh(&self, table: &str) -> bool {
        self.tables.get(table).is_some_and(|table| table.fresh)
    }

    pub(super) fn is_fresh_column(&self, table: &str, column: &str) -> bool {
        let column = self.tables.get(table).and_then(|table| table.columns.get(column));
        column.is_some_and(|column| column.fresh)
    }

    pub(super) fn column_type(&self, table: &str, column: &str) -> Option<&str> {
        self.tables.get(table)?.columns.get(column).map(|column| column.kind.as_str())
    }

    pub(super) fn has_table(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    /// Returns the type of the column at this place, from 0, where all of the table's are known.
    pub(super) fn type_at(&self, table: &str, place: usize) -> Option<&str> {
        let table = self.tables.get(table).filter(|table| table.whole)?;
        let mut columns: Vec<&Column> = table.columns.values().collect();
        columns.sort_by_key(|column| column.place);
        columns.get(place).map(|column| column.kind.as_str())
    }

    /// Makes a table; `whole` where the statement names all its columns.
    pub(super) fn create_table(&mut self, table: String, whole: bool) {
        self.tables.insert(table, Table { fresh: true, whole, ..Table::default() });
    }

    pub(super) fn drop_table(&mut self, table: &str) {
        self.tables.remove(table);
    }

    pub(super) fn rename_table(&mut self, table: &str, to: String) {
        if let Some(moved) = self.tables.remove(table) {
            self.tables.insert(to, moved);
        }
    }

    pub(super) fn set_column(&mut self, table: &str, column: String, kind: String) {
        let table = self.tables.entry(table.to_owned()).or_default();
        let fresh = table.fresh || !table.columns.contains_key(&column);
        let last = table.columns.values().map(|column| column.place).max();
        let place = last.map_or(0, |last| last + 1);
        table.columns.insert(column, Column { kind, fresh, place });
    }

    pub(super) fn change_type(&mut self, table: &str, column: &str, kind: String) {
        let column = self.tables.get_mut(table).and_then(|table| table.columns.get_mut(column));
        if let Some(column) = column {
            column.kind = kind;
        }
    }

    pub(super) fn rename_column(&mut self, table: &str, column: &str, to: String) {
        if let Some(table) = self.tables.get_mut(table)
            && let Some(moved) = table.columns.remove(column)
        {
            table.columns.insert(to, moved);
        }
    }

    pub(super) fn drop_column(&mut self, table: &str, column: &str) {
        if let Some(table) = self.tables.get_mut(table) {
            table.columns.remove(column);
        }
    }

    /// Says whether the files make this type; domains are not among them.
    pub(super) fn has_type(&self, name: &str) -> bool {
        self.types.contains(name)
    }

    pub(super) fn create_type(&mut self, name: String) {
        self.types.insert(name.clone());
        self.fresh_types.insert(name);
    }

    pub(super) fn add_value(&mut self, of: &str, literal: String, added_by: &str) {
        if !self.fresh_types.contains(of) {
            let (of, added_by) = (of.to_owned(), added_by.to_owned());
            self.values.push(EnumValue { literal, of, added_by, here: true });
        }
    }

    /// Takes out the added values that a statement uses, each once.
    pub(super) fn used_values(&mut self, statement: &SyntaxNode) -> Vec<EnumValue> {
        if self.values.is_empty() {
            return Vec::new();
        }
        let tokens = statement.descendants_with_tokens().filter_map(|element| element.into_token());
        let strings: Vec<_> = tokens.filter(|token| token.kind() == SyntaxKind::STRING).collect();
        let is_used = |value: &EnumValue| {
            let same = strings.iter().filter(|token| token.text() == value.literal);
            let mut literals = same.filter_map(|token| token.parent());
            literals.any(|literal| may_be(&value.of, &literal, statement, self))
        };
        let used: Vec<bool> = self.values.iter().map(is_used).collect();
        let mut used = used.into_iter();
        let taken = self.values.extract_if(.., |_| used.next().unwrap_or_default());
        taken.collect()
    }

    pub(super) fn create_function(&mut self, function: &ast::CreateFunction) {
        let Some(name) = function.name().map(|name| tree::name(name.syntax())) else { return };
        let options = function.option_list();
        let sets_path = options.as_ref().is_some_and(|list| {
            list.syntax().children().any(|option| {
                option.kind() == SyntaxKind::SET_FUNC_OPTION
                    && tree::plain(&option).starts_with("set search_path")
            })
        });
        let steady = options.as_ref().is_some_and(|list| {
            tree::below(list.syntax(), SyntaxKind::IMMUTABLE)
                || tree::below(list.syntax(), SyntaxKind::STABLE)
        });
        let body = function
            .sql_body()
            .map(|body| body.syntax())
            .or_else(|| function.plpgsql().map(|body| body.syntax()));
        let calls = body.as_ref().map(tree::calls).unwrap_or_default();
        let tables = body.as_ref().map(tables_of).unwrap_or_default();
        let bound = sets_path || body.is_none();
        self.functions.insert(name, Function { volatile: !steady, bound, calls, tables });
    }

    /// Says whether an expression gives each row a value of its own.
    pub(super) fn is_volatile(&self, expression: &SyntaxNode) -> bool {
        tree::calls(expression).iter().any(|name| {
            let bare = name.strip_prefix("pg_catalog.").unwrap_or(name);
            let ours = self.functions.get(name).map(|function| function.volatile);
            ours.unwrap_or_else(|| VOLATILE.contains(&bare))
        })
    }

    /// Returns a called function, and what its body names without a schema.
    pub(super) fn unqualified(&self, expression: &SyntaxNode) -> Option<(String, String)> {
        tree::calls(expression).into_iter().find_map(|name| {
            let function = self.functions.get(&name).filter(|function| !function.bound)?;
            let calls = function.calls.iter().filter(|called| {
                self.functions.contains_key(*called) || OF_EXTENSIONS.contains(&called.as_str())
            });
            let mut tables = function.tables.iter().filter(|t| self.tables.contains_key(*t));
            let missing = calls.chain(&mut tables).find(|named| !named.contains('.'))?.clone();
            Some((name, missing))
        })
    }

    /// Returns a called function that reads a table, and the table.
    pub(super) fn reader(&self, expression: &SyntaxNode) -> Option<(String, String)> {
        tree::calls(expression).into_iter().find_map(|name| {
            let table = self.functions.get(&name)?.tables.first()?.clone();
            Some((name, table))
        })
    }
}

/// Returns the tables that a body reads, without the names that its WITH clauses make.
fn tables_of(body: &SyntaxNode) -> Vec<String> {
    let of = |kind: SyntaxKind| body.descendants().filter(move |node| node.kind() == kind);
    let made: HashSet<String> = of(SyntaxKind::WITH_TABLE)
        .filter_map(|with| with.first_child())
        .map(|n| tree::name(&n))
        .collect();
    of(SyntaxKind::RELATION_NAME_REF)
        .map(|node| tree::name(&node))
        .filter(|name| !made.contains(name) && !name.starts_with("pg_catalog."))
        .collect()
}

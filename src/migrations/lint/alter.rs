//! ALTER TABLE: what each part of it costs.

use squawk_syntax::ast::{self, AstNode as _};
use squawk_syntax::{SyntaxKind as K, SyntaxNode};

use super::rule::Rule;
use super::statement::Looker;
use super::{Cost, dump, tree, types};

const ALL: &str = "ACCESS EXCLUSIVE";

/// Looks at every action of an ALTER TABLE.
pub(super) fn table(looker: &mut Looker<'_>, node: &SyntaxNode) {
    let named = [K::TABLE_RELATION_NAME, K::VIEW_REF];
    let table = node.children().find(|child| named.contains(&child.kind()));
    let table = table.map(|table| tree::name(&table)).unwrap_or_default();
    let start = looker.at;
    for action in node.children() {
        if !looker.inside_do {
            looker.at = tree::range(&action).start;
        }
        look(looker, &table, &action);
    }
    looker.at = start;
}

fn look(looker: &mut Looker<'_>, table: &str, action: &SyntaxNode) {
    let fresh = looker.known.is_fresh(table);
    match action.kind() {
        K::ADD_COLUMN => add_column(looker, table, action),
        K::ALTER_COLUMN => alter_column(looker, table, action),
        K::ADD_CONSTRAINT => add_constraint(looker, table, action),
        K::DROP_COLUMN => {
            let column = tree::name_below(action, K::COLUMN_NAME_REF).unwrap_or_default();
            if !fresh && !looker.known.is_fresh_column(table, &column) {
                looker.report(Rule::DropColumn, format!("drops {table}.{column} with its values"));
            }
            looker.known.drop_column(table, &column);
            looker.cascade(action);
            looker.lock(table, ALL, Cost::Instant);
        }
        K::DROP_CONSTRAINT => {
            looker.cascade(action);
            looker.lock(table, ALL, Cost::Instant);
        }
        K::VALIDATE_CONSTRAINT => looker.lock(table, "SHARE UPDATE EXCLUSIVE", Cost::Scan),
        K::SET_LOGGED | K::SET_ACCESS_METHOD | K::SET_TABLESPACE => rewrite(looker, table, ""),
        K::SET_UNLOGGED => {
            looker.report(Rule::UnloggedTable, format!("{table} becomes unlogged"));
            rewrite(looker, table, "");
        }
        K::ENABLE_RLS => {
            looker.report(Rule::RowSecurity, format!("switches row level security of {table} on"));
            looker.lock(table, ALL, Cost::Instant);
        }
        K::FORCE_RLS => {
            let what = format!("row level security of {table} holds for its owner too");
            looker.report(Rule::ForceRowSecurity, what);
            looker.lock(table, ALL, Cost::Instant);
        }
        K::OWNER_TO => {
            dump::owner(looker, action);
            looker.lock(table, ALL, Cost::Instant);
        }
        K::ATTACH_PARTITION => {
            let child = tree::name_below(action, K::TABLE_NAME_REF).unwrap_or_default();
            looker.lock(table, "SHARE UPDATE EXCLUSIVE", Cost::Instant);
            if !looker.known.is_fresh(&child) {
                let what = format!("reads every row of {child} to prove that it belongs there");
                looker.report(Rule::ScanTable, what);
                looker.lock(&child, ALL, Cost::Scan);
            }
        }
        K::DETACH_PARTITION if tree::below(action, K::DETACH_CONCURRENTLY) => {
            looker.lock(table, "SHARE UPDATE EXCLUSIVE", Cost::Instant);
        }
        K::TABLE_RENAME_TO => {
            looker.lock(table, ALL, Cost::Instant);
            if let Some(to) = tree::name_below(action, K::TABLE_NAME) {
                looker.known.rename_table(table, to);
            }
        }
        K::RENAME_COLUMN => {
            let column = tree::name_below(action, K::COLUMN_NAME_REF).unwrap_or_default();
            if let Some(to) = tree::name_below(action, K::COLUMN_NAME) {
                looker.known.rename_column(table, &column, to);
            }
            looker.lock(table, ALL, Cost::Instant);
        }
        K::ENABLE_TRIGGER
        | K::DISABLE_TRIGGER
        | K::ENABLE_ALWAYS_TRIGGER
        | K::ENABLE_REPLICA_TRIGGER => {
            looker.lock(table, "SHARE ROW EXCLUSIVE", Cost::Instant);
        }
        K::SET_OPTIONS | K::RESET_OPTIONS | K::CLUSTER_ON | K::SET_WITHOUT_CLUSTER => {
            looker.lock(table, "SHARE UPDATE EXCLUSIVE", Cost::Instant);
        }
        K::TABLE_RELATION_NAME | K::VIEW_REF | K::IF_EXISTS => {}
        _ => looker.lock(table, ALL, Cost::Instant),
    }
}

fn rewrite(looker: &mut Looker<'_>, table: &str, why: &str) {
    if !looker.known.is_fresh(table) {
        looker.report(Rule::RewriteTable, format!("writes {table} anew{why}"));
        looker.lock(table, ALL, Cost::Rewrite);
    }
}

fn add_column(looker: &mut Looker<'_>, table: &str, action: &SyntaxNode) {
    let Some(added) = ast::AddColumn::cast(action.clone()) else { return };
    let column = tree::name_below(action, K::COLUMN_NAME).unwrap_or_default();
    let kind = added.ty().map(|kind| tree::plain(kind.syntax())).unwrap_or_default();
    let fresh = looker.known.is_fresh(table);
    let default = tree::child(action, K::DEFAULT_CONSTRAINT);
    let generated = tree::child(action, K::GENERATED_CONSTRAINT);
    let serial = kind.trim_start_matches("pg_catalog.").trim_start_matches("big");
    let serial = serial.trim_start_matches("small").starts_with("serial");
    for constraint in added.constraints() {
        for inner in constraint.syntax().descendants() {
            looker.constraint_of_fresh(&inner);
        }
    }
    looker.known.set_column(table, column.clone(), kind);
    if fresh {
        return;
    }
    // The same node is that of a virtual one, which PostgreSQL 18 computes when it is read.
    let stored = generated.as_ref().is_some_and(|g| {
        tree::below(g, K::GENERATED_STORED) && tree::plain(g).ends_with(" stored")
    });
    let identity = generated.is_some() && !tree::plain(action).contains(" as (");
    let volatile = default.as_ref().is_some_and(|d| looker.known.is_volatile(d));
    let why = match (stored, identity || serial, volatile) {
        (true, _, _) => Some("a generated column is computed for every row"),
        (_, true, _) => Some("every row gets a number"),
        (_, _, true) => Some("its default is another value for each row"),
        (false, false, false) => None,
    };
    if let Some(why) = why {
        rewrite(looker, table, &format!(" for {column}: {why}"));
    }
    let has_index = [K::PRIMARY_KEY_CONSTRAINT, K::UNIQUE_CONSTRAINT];
    if has_index.iter().any(|kind| tree::child(action, *kind).is_some()) {
        looker.report(Rule::IndexBlocksWrites, format!("builds an index of {table}"));
        looker.lock(table, ALL, Cost::Scan);
    } else if tree::child(action, K::CHECK_CONSTRAINT).is_some()
        || (default.is_some() && tree::child(action, K::REFERENCES_CONSTRAINT).is_some())
    {
        looker.report(Rule::ScanTable, format!("checks every row of {table}"));
        looker.lock(table, ALL, Cost::Scan);
    } else if why.is_none() {
        looker.lock(table, ALL, Cost::Instant);
    }
    let required = [K::NOT_NULL_CONSTRAINT, K::PRIMARY_KEY_CONSTRAINT];
    let required = required.iter().any(|kind| tree::child(action, *kind).is_some());
    if required && default.is_none() && generated.is_none() && !serial {
        let what =
            format!("{table}.{column} must have a value, and the rows that are there get none");
        looker.report(Rule::AddRequiredColumn, what);
    }
}

fn alter_column(looker: &mut Looker<'_>, table: &str, action: &SyntaxNode) {
    let column = tree::name_below(action, K::COLUMN_NAME_REF).unwrap_or_default();
    if let Some(set) = tree::child(action, K::SET_TYPE) {
        return set_type(looker, table, &column, &set);
    }
    if tree::child(action, K::SET_NOT_NULL).is_some() {
        if !looker.known.is_fresh(table) {
            looker.report(Rule::ScanTable, format!("checks every row of {table} for {column}"));
        }
        return looker.lock(table, ALL, Cost::Scan);
    }
    if tree::child(action, K::SET_EXPRESSION).is_some() {
        return rewrite(looker, table, &format!(" for {column}"));
    }
    if tree::child(action, K::SET_STATISTICS).is_some() {
        return looker.lock(table, "SHARE UPDATE EXCLUSIVE", Cost::Instant);
    }
    looker.lock(table, ALL, Cost::Instant);
}

fn set_type(looker: &mut Looker<'_>, table: &str, column: &str, set: &SyntaxNode) {
    let Some(new) = ast::SetType::cast(set.clone()).and_then(|set| set.ty()) else { return };
    let new = tree::plain(new.syntax());
    let former = looker.known.column_type(table, column).map(str::to_owned);
    let change = types::change(former.as_deref(), &new);
    let using = tree::child(set, K::USING_EXPR).map(|using| tree::plain(&using));
    // `USING c::type` says no more than the type does.
    let computed = using.is_some_and(|text| {
        let said = text.replace(' ', "");
        said != format!("using{column}::{}", new.replace(' ', ""))
    });
    looker.known.change_type(table, column, new.clone());
    if looker.known.is_fresh(table) {
        return;
    }
    let from = former.map_or_else(String::new, |former| format!(" from {former}"));
    if change.narrows {
        looker.report(Rule::NarrowType, format!("{table}.{column} becomes {new}{from}"));
    }
    if change.rewrites || computed {
        rewrite(looker, table, &format!(": {column} becomes {new}{from}"));
    } else {
        looker.lock(table, ALL, Cost::Instant);
    }
}

fn add_constraint(looker: &mut Looker<'_>, table: &str, action: &SyntaxNode) {
    let fresh = looker.known.is_fresh(table);
    let later = tree::below(action, K::NOT_VALID);
    for inner in action.descendants() {
        looker.constraint_of_fresh(&inner);
    }
    let Some(constraint) = action.children().next() else { return };
    match constraint.kind() {
        K::UNIQUE_CONSTRAINT | K::PRIMARY_KEY_CONSTRAINT | K::EXCLUDE_CONSTRAINT => {
            if tree::below(&constraint, K::USING_INDEX_NAME) {
                looker.lock(table, ALL, Cost::Instant);
            } else {
                if !fresh {
                    looker.report(Rule::IndexBlocksWrites, format!("builds an index of {table}"));
                }
                looker.lock(table, ALL, Cost::Scan);
            }
        }
        kind => {
            let foreign = kind == K::FOREIGN_KEY_CONSTRAINT;
            let mode = if foreign { "SHARE ROW EXCLUSIVE" } else { ALL };
            if later || fresh {
                return looker.lock(table, mode, Cost::Instant);
            }
            looker.report(Rule::ScanTable, format!("checks every row of {table}"));
            looker.lock(table, mode, Cost::Scan);
        }
    }
}

//! What the next restore point, or its restore, may stumble over.

use squawk_syntax::{SyntaxKind as K, SyntaxNode};

use super::rule::Rule;
use super::statement::Looker;
use super::tree;

/// Looks at an expression that a restore computes, with an empty search_path.
pub(super) fn expression(looker: &mut Looker<'_>, node: &SyntaxNode, place: &str) {
    if let Some((function, named)) = looker.known.unqualified(node) {
        let what = format!("{place} calls {function}(), whose body names {named} without a schema");
        looker.report(Rule::UnqualifiedInFunction, what);
    }
}

/// Looks at a CHECK, which a restore computes for each row.
pub(super) fn check(looker: &mut Looker<'_>, node: &SyntaxNode) {
    expression(looker, node, "the check");
    if let Some((function, table)) = looker.known.reader(node) {
        let what = format!("the check calls {function}(), which reads {table}");
        looker.report(Rule::CheckReadsTable, what);
    }
}

/// Looks at what is taken away from a role; functions, types and the like are not dumped by reading.
pub(super) fn revoke(looker: &mut Looker<'_>, node: &SyntaxNode) {
    const READ: [K; 7] = [
        K::PRIVILEGE_TABLE,
        K::PRIVILEGE_ALL_TABLES_IN_SCHEMA,
        K::PRIVILEGE_SCHEMA,
        K::PRIVILEGE_SEQUENCE,
        K::PRIVILEGE_ALL_SEQUENCES_IN_SCHEMA,
        K::PRIVILEGE_LARGE_OBJECT,
        K::PRIVILEGE_DEFAULT,
    ];
    let Some(on) = tree::child(node, K::ON_PRIVILEGE_OBJECTS_CLAUSE) else {
        return looker.report(Rule::Revoke, "takes a role away from a role");
    };
    // Writing is no matter for a dump.
    const KEEPS: [&str; 7] =
        ["insert", "update", "delete", "truncate", "references", "trigger", "create"];
    let list = tree::child(node, K::REVOKE_COMMAND_LIST).map(|list| tree::plain(&list));
    let only_writes = list.is_some_and(|list| {
        list.split(',').all(|word| KEEPS.iter().any(|keeps| word.trim().starts_with(keeps)))
    });
    if !only_writes && on.children().any(|target| READ.contains(&target.kind())) {
        let from = tree::name_below(node, K::ROLE_REF_LIST).unwrap_or_default();
        looker.report(Rule::Revoke, format!("takes rights {} away from {from}", tree::plain(&on)));
    }
}

/// Looks at a change of owner; only what holds data matters.
pub(super) fn owner(looker: &mut Looker<'_>, node: &SyntaxNode) {
    const OTHER: [K; 6] = [
        K::ALTER_FUNCTION,
        K::ALTER_PROCEDURE,
        K::ALTER_TYPE,
        K::ALTER_DOMAIN,
        K::ALTER_VIEW,
        K::ALTER_AGGREGATE,
    ];
    if !OTHER.contains(&node.kind()) {
        let to = tree::name_below(node, K::ROLE_REF).unwrap_or_default();
        looker.report(Rule::OwnerChange, format!("the owner becomes {to}"));
    }
}

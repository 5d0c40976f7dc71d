//! Small questions to the syntax tree of a file.

use std::ops::Range;

use squawk_syntax::{SyntaxKind, SyntaxNode};

/// Returns the name that a node spells, folded as the server folds it and without `public.`.
pub(super) fn name(node: &SyntaxNode) -> String {
    let mut parts = vec![String::new()];
    for token in node.descendants_with_tokens().filter_map(|element| element.into_token()) {
        match token.kind() {
            SyntaxKind::DOT => parts.push(String::new()),
            SyntaxKind::ONLY_KW | SyntaxKind::STAR => {}
            kind if kind.is_trivia() => {}
            _ => {
                let last = parts.len() - 1;
                parts[last].push_str(&folded(token.text()));
            }
        }
    }
    if parts.len() > 1 && parts[0] == "public" {
        parts.remove(0);
    }
    parts.join(".")
}

fn folded(text: &str) -> String {
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => text.to_lowercase(),
    }
}

/// Returns the text of a node in small letters, without comments, with single spaces.
pub(super) fn plain(node: &SyntaxNode) -> String {
    let tokens = node.descendants_with_tokens().filter_map(|element| element.into_token());
    let words = tokens.filter(|t| t.kind() != SyntaxKind::COMMENT).map(|t| t.text().to_lowercase());
    words.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Says whether a token of this kind stands directly in a node.
pub(super) fn has(node: &SyntaxNode, kind: SyntaxKind) -> bool {
    node.children_with_tokens().any(|element| element.kind() == kind)
}

/// Says whether CREATE TABLE names all columns itself.
pub(super) fn names_all_columns(node: &SyntaxNode) -> bool {
    let taken_over = [
        SyntaxKind::LIKE_CLAUSE,
        SyntaxKind::INHERITS,
        SyntaxKind::OF_TYPE,
        SyntaxKind::PARTITION_OF,
    ];
    !node.descendants().any(|inner| taken_over.contains(&inner.kind()))
}

/// Returns the first child of this kind.
pub(super) fn child(node: &SyntaxNode, kind: SyntaxKind) -> Option<SyntaxNode> {
    node.children().find(|child| child.kind() == kind)
}

/// Says whether a node of this kind stands anywhere below.
pub(super) fn below(node: &SyntaxNode, kind: SyntaxKind) -> bool {
    node.descendants().any(|inner| inner.kind() == kind)
}

/// Returns the name of the first node of this kind below, or nothing.
pub(super) fn name_below(node: &SyntaxNode, kind: SyntaxKind) -> Option<String> {
    node.descendants().find(|inner| inner.kind() == kind).map(|found| name(&found))
}

/// Returns the names of all nodes of this kind directly in a node.
pub(super) fn names(node: &SyntaxNode, kind: SyntaxKind) -> Vec<String> {
    node.children().filter(|child| child.kind() == kind).map(|child| name(&child)).collect()
}

/// Returns the names of the functions that are called below, with their schemas where written.
pub(super) fn calls(node: &SyntaxNode) -> Vec<String> {
    node.descendants()
        .filter(|inner| inner.kind() == SyntaxKind::CALL_EXPR)
        .filter_map(|call| call.first_child())
        .filter(|f| matches!(f.kind(), SyntaxKind::NAME_REF | SyntaxKind::FIELD_EXPR))
        .map(|function| name(&function))
        .collect()
}

/// Returns the byte range of a node without the white space and comments before it.
pub(super) fn range(node: &SyntaxNode) -> Range<usize> {
    let whole = node.text_range();
    let first = node
        .descendants_with_tokens()
        .filter_map(|element| element.into_token())
        .find(|token| !token.kind().is_trivia());
    let start = first.map_or(whole.start(), |token| token.text_range().start());
    usize::from(start)..usize::from(whole.end())
}

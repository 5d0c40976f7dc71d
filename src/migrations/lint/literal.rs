//! What type a text literal takes, where its statement and the files tell.

use std::collections::HashSet;

use squawk_syntax::ast::{self, AstNode as _};
use squawk_syntax::{SyntaxKind as K, SyntaxNode};

use super::known::Known;
use super::tree;

/// The first words of built-in types: what takes one of them is no value of an enum.
const BUILT_IN: &[&str] = &[
    "bigint",
    "bigserial",
    "bit",
    "bool",
    "boolean",
    "bpchar",
    "bytea",
    "char",
    "character",
    "cidr",
    "citext",
    "date",
    "decimal",
    "double",
    "float",
    "inet",
    "int",
    "integer",
    "interval",
    "json",
    "jsonb",
    "money",
    "name",
    "numeric",
    "real",
    "regclass",
    "serial",
    "smallint",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "tsquery",
    "tsvector",
    "uuid",
    "varchar",
    "xml",
];

/// Says whether a literal may be a value of this enum: where nothing tells its type, it may.
pub(super) fn may_be(
    of: &str,
    literal: &SyntaxNode,
    statement: &SyntaxNode,
    known: &Known,
) -> bool {
    let asked = Asked { statement, known };
    let Some(kind) = asked.kind(literal) else { return true };
    let kind = kind.trim_end_matches(['[', ']', ' ']);
    let kind = kind.strip_prefix("public.").unwrap_or(kind);
    let first = kind.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    // Of a type that the files do not make nobody knows: it may be a domain over the enum.
    kind == of || !(BUILT_IN.contains(&first) || known.has_type(kind))
}

struct Asked<'a> {
    statement: &'a SyntaxNode,
    known: &'a Known,
}

impl Asked<'_> {
    /// Returns the type as it is written, in small letters.
    fn kind(&self, literal: &SyntaxNode) -> Option<String> {
        let parent = literal.parent()?;
        match parent.kind() {
            K::CAST_EXPR => type_of(&parent),
            K::BIN_EXPR => self.of_other(&parent, literal),
            K::TUPLE_EXPR => {
                let outer = parent.parent().filter(|outer| outer.kind() == K::BIN_EXPR)?;
                self.of_other(&outer, &parent)
            }
            K::SET_EXPR => {
                let set = parent.parent()?;
                match set.kind() {
                    K::SET_EXPR_LIST => self.target(&set.parent()?, place_in(&set, &parent)?),
                    _ => self.target(&set, 0),
                }
            }
            K::ROW => {
                let insert = parent.ancestors().find(|outer| outer.kind() == K::INSERT)?;
                self.target(&insert, place_in(&parent, literal)?)
            }
            K::TARGET => {
                let (list, select) = (parent.parent()?, parent.ancestors().nth(3)?);
                let insert = select.parent().filter(|outer| outer.kind() == K::INSERT)?;
                self.target(&insert, place_in(&list, &parent)?)
            }
            K::DEFAULT_CONSTRAINT => type_of(&parent.parent()?),
            K::SET_DEFAULT => {
                let column = tree::child(&parent.parent()?, K::COLUMN_NAME_REF)?;
                self.column(&tree::name(&column))
            }
            _ => None,
        }
    }

    /// Returns the type of what it is compared with.
    fn of_other(&self, outer: &SyntaxNode, one: &SyntaxNode) -> Option<String> {
        // Operators of several characters are nodes, too.
        let mut others = outer.children().filter(|child| child != one);
        let other = others.find(|child| ast::Expr::can_cast(child.kind()))?;
        match other.kind() {
            K::NAME_REF => self.column(&tree::name(&other)),
            K::FIELD_EXPR => self.column(&tree::name(&other.last_child()?)),
            K::CAST_EXPR => type_of(&other),
            _ => None,
        }
    }

    /// Returns the type of the column that an INSERT or a SET writes at this place.
    fn target(&self, into: &SyntaxNode, place: usize) -> Option<String> {
        let named = tree::child(into, K::COLUMN_TARGET_LIST);
        let list = named.as_ref().unwrap_or(into);
        let mut targets =
            list.children().filter(|child| child.kind() == K::COLUMN_TARGET).peekable();
        if targets.peek().is_some() {
            return self.column(&tree::name(&targets.nth(place)?));
        }
        let table = tree::child(into, K::RELATION_NAME_REF)?;
        self.known.type_at(&tree::name(&table), place).map(str::to_owned)
    }

    /// Returns the type of a column of the tables that the statement names; none where two differ.
    fn column(&self, name: &str) -> Option<String> {
        let tables = self.statement.descendants();
        let tables =
            tables.filter(|n| [K::RELATION_NAME_REF, K::TABLE_NAME_REF].contains(&n.kind()));
        let kinds: HashSet<&str> =
            tables.filter_map(|table| self.known.column_type(&tree::name(&table), name)).collect();
        let mut kinds = kinds.into_iter();
        kinds.next().filter(|_| kinds.next().is_none()).map(str::to_owned)
    }
}

/// Returns the type that stands directly in a node.
fn type_of(node: &SyntaxNode) -> Option<String> {
    node.children().find(|child| ast::Type::can_cast(child.kind())).map(|kind| tree::plain(&kind))
}

fn place_in(list: &SyntaxNode, one: &SyntaxNode) -> Option<usize> {
    list.children().position(|child| child == *one)
}

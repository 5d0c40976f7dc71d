//! Two catalogues object by object. What belongs to an object that came or went is counted with it.

use std::collections::{BTreeMap, BTreeSet};

use super::comparison::{Change, Severity};
use super::expected::Expectations;
use crate::config::{Check, OBJECT_KINDS};

type Objects = BTreeMap<String, String>;

/// Compares the definitions of one database.
pub(super) fn compare(
    database: &str,
    before: &Objects,
    after: &Objects,
    expectations: &Expectations,
) -> Vec<Change> {
    let only_in = |one: &Objects, other: &Objects| -> Objects {
        let missing = one.iter().filter(|(name, _)| !other.contains_key(*name));
        missing.map(|(name, definition)| (name.clone(), definition.clone())).collect()
    };
    let (mut gone, mut new) = (only_in(before, after), only_in(after, before));
    let change = |severity, subject: &str, what: String| Change {
        severity,
        check: Check::Schema.word().into(),
        database: Some(database.to_owned()),
        subject: subject.to_owned(),
        what,
        before: None,
        after: None,
        declared: None,
    };
    let mut changes = Vec::new();
    for (from, to) in expectations.renames(database) {
        let Some((kind, _)) = split(from) else { continue };
        let renamed = format!("{kind} {to}");
        if gone.contains_key(from) && new.contains_key(&renamed) {
            take_with_children(&mut gone, from);
            take_with_children(&mut new, &renamed);
            let declared = Some(format!("renamed = \"{from}\", to = \"{to}\""));
            let what = format!("{from} is now {to}");
            changes.push(Change { declared, ..change(Severity::Expected, from, what) });
        }
    }
    for (from, to) in same_under_another_name(&gone, &new) {
        changes.push(change(Severity::Note, &from, format!("{from} is now {to}")));
        gone.remove(&from);
        new.remove(&to);
    }
    for (name, definition, children) in folded(&gone) {
        let declared = expectations.gone(database, &name);
        let severity = match (&declared, split(&name)) {
            (Some(_), _) => Severity::Expected,
            (None, Some(("comment", _))) => Severity::Note,
            (None, _) => Severity::Doubt,
        };
        let what = format!("{name} is gone{}", with(&children));
        let before = Some(definition).filter(|text| !text.is_empty());
        changes.push(Change { before, declared, ..change(severity, &name, what) });
    }
    for (name, definition, children) in folded(&new) {
        let what = format!("{name} is new{}", with(&children));
        let after = Some(definition).filter(|text| !text.is_empty());
        changes.push(Change { after, ..change(Severity::Note, &name, what) });
    }
    for (name, now) in after {
        let Some(then) = before.get(name).filter(|then| *then != now) else { continue };
        let declared = expectations.changed(Some(database), name);
        let severity = match (&declared, guards_less(then, now)) {
            (Some(_), _) => Severity::Expected,
            (None, true) => Severity::Doubt,
            (None, false) => Severity::Note,
        };
        changes.push(Change {
            before: Some(then.clone()),
            after: Some(now.clone()),
            declared,
            ..change(severity, name, format!("{name} is different"))
        });
    }
    changes
}

/// Splits kind and name of an object.
fn split(object: &str) -> Option<(&str, &str)> {
    OBJECT_KINDS.iter().find_map(|kind| {
        let name = object.strip_prefix(kind)?.strip_prefix(' ')?;
        Some((*kind, name))
    })
}

/// Whether rows are watched over less than before: no row security, a trigger that does not fire.
fn guards_less(then: &str, now: &str) -> bool {
    let lost = |word: &str| then.contains(word) && !now.contains(word);
    let off = |text: &str| text.ends_with(", disabled");
    lost("row security") || (off(now) && !off(then))
}

/// Indexes and constraints that are there under another name.
fn same_under_another_name(gone: &Objects, new: &Objects) -> Vec<(String, String)> {
    let essence = |name: &str, definition: &str| -> Option<String> {
        match split(name)? {
            ("index", named) => {
                let own = named.rsplit_once('.').map_or(named, |(_, own)| own);
                Some(format!("index {}", definition.replacen(&format!(" {own} "), " ", 1)))
            }
            ("constraint", named) => Some(format!("constraint {} {definition}", parent(named)?)),
            _ => None,
        }
    };
    let mut arrived: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for (name, definition) in new {
        if let Some(essence) = essence(name, definition) {
            arrived.entry(essence).or_default().push(name);
        }
    }
    gone.iter()
        .filter_map(|(name, definition)| {
            let to = arrived.get_mut(&essence(name, definition)?)?.pop()?;
            Some((name.clone(), to.clone()))
        })
        .collect()
}

/// The name without its last part; dots in quotes separate nothing.
fn parent(name: &str) -> Option<&str> {
    let mut quoted = false;
    let mut last = None;
    for (at, c) in name.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => last = Some(at),
            _ => {}
        }
    }
    last.map(|at| &name[..at])
}

/// Names of what an object belongs to, the nearest first.
fn owners(object: &str, definition: &str) -> Vec<String> {
    let Some((kind, name)) = split(object) else { return Vec::new() };
    let mut found = Vec::new();
    let mut above = |name: &str| {
        found.push(name.to_owned());
        if let Some(parent) = parent(name) {
            found.push(parent.to_owned());
        }
    };
    match kind {
        "column" | "constraint" | "trigger" | "rule" | "policy" => {
            if let Some(table) = parent(name) {
                above(table);
            }
        }
        "index" => {
            let table =
                definition.split_once(" ON ").and_then(|(_, rest)| rest.split(" USING ").next());
            if let Some(table) = table {
                above(table.strip_prefix("ONLY ").unwrap_or(table));
            }
        }
        "grants" | "comment" => {
            let about = name.strip_prefix("on ").unwrap_or(name);
            // "on constraint c on table t" belongs to the constraint's table.
            let about = about.rsplit_once(" on ").map_or(about, |(_, table)| table);
            if let Some((_, name)) = split(about) {
                above(name);
            }
        }
        "sequence" => {
            let owned = definition.split_once("owned by ").map(|(_, rest)| rest);
            if let Some(column) = owned.and_then(|rest| rest.split(", ").next()) {
                above(column);
                found.extend(parent(column).and_then(parent).map(str::to_owned));
            }
        }
        _ => found.extend(parent(name).map(str::to_owned)),
    }
    found
}

/// Objects that other objects belong to.
const PARENTS: &[&str] = &[
    "column",
    "table",
    "view",
    "materialized view",
    "foreign table",
    "type",
    "schema",
    "sequence",
    "function",
    "procedure",
    "aggregate",
];

/// The object of a set that another belongs to.
fn owner_in(all: &Objects, object: &str, definition: &str) -> Option<String> {
    let by_name = owners(object, definition).into_iter().find_map(|name| {
        let named = PARENTS.iter().map(|kind| format!("{kind} {name}"));
        named.into_iter().find(|parent| parent != object && all.contains_key(parent))
    });
    // What names a column of its table that came or went with it.
    by_name.or_else(|| {
        split(object).filter(|(kind, _)| matches!(*kind, "index" | "constraint"))?;
        let table = owners(object, definition).into_iter().next()?;
        let columns = format!("column {table}.");
        let mut near =
            all.range(columns.clone()..).take_while(|(name, _)| name.starts_with(&columns));
        near.find(|(name, _)| has_word(definition, &name[columns.len()..])).map(|(n, _)| n.clone())
    })
}

fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '"';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}

/// Each object that belongs to no other of the set, with its definition and what belongs to it.
fn folded(all: &Objects) -> Vec<(String, String, BTreeMap<String, usize>)> {
    let mut children: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let mut below: BTreeSet<&String> = BTreeSet::new();
    for (name, definition) in all {
        if let Some(top) = top_of(all, name, definition) {
            below.insert(name);
            let kind = split(name).map_or("object", |(kind, _)| kind);
            *children.entry(top).or_default().entry(kind.to_owned()).or_default() += 1;
        }
    }
    let tops = all.iter().filter(|(name, _)| !below.contains(name));
    tops.map(|(name, definition)| {
        (name.clone(), definition.clone(), children.remove(name).unwrap_or_default())
    })
    .collect()
}

fn top_of(all: &Objects, name: &str, definition: &str) -> Option<String> {
    let mut top = owner_in(all, name, definition)?;
    // An index of a column of a table of a schema: no chain is longer.
    for _ in 0..4 {
        match all.get(&top).and_then(|definition| owner_in(all, &top, definition)) {
            Some(above) => top = above,
            None => break,
        }
    }
    Some(top)
}

fn take_with_children(all: &mut Objects, top: &str) {
    let mine = |(name, definition): (&String, &String)| {
        (top_of(all, name, definition).as_deref() == Some(top)).then(|| name.clone())
    };
    let children: Vec<String> = all.iter().filter_map(mine).collect();
    all.remove(top);
    for name in children {
        all.remove(&name);
    }
}

fn with(children: &BTreeMap<String, usize>) -> String {
    if children.is_empty() {
        return String::new();
    }
    let parts: Vec<String> = children
        .iter()
        .map(|(kind, count)| match (*count, kind.as_str()) {
            (1, kind) => format!("1 {kind}"),
            (count, "index") => format!("{count} indexes"),
            (count, "policy") => format!("{count} policies"),
            (count, "grants" | "default rights" | "statistics") => format!("{count} {kind}"),
            (count, kind) => format!("{count} {kind}s"),
        })
        .collect();
    format!(", with {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ExpectSpec, Expected};

    fn objects(all: &[(&str, &str)]) -> Objects {
        all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    fn told(before: &[(&str, &str)], after: &[(&str, &str)], expected: &[Expected]) -> Vec<String> {
        let spec = |change: &Expected| ExpectSpec {
            change: change.clone(),
            database: None,
            migration: None,
        };
        let expectations = Expectations::of(expected.iter().map(spec).collect());
        compare("main", &objects(before), &objects(after), &expectations)
            .into_iter()
            .map(|change| format!("{}: {}", change.severity.word(), change.what))
            .collect()
    }

    const TABLE: &[(&str, &str)] = &[
        ("table public.a", "owner o"),
        ("column public.a.id", "integer"),
        ("column public.a.name", "text"),
        ("constraint public.a.a_pkey", "PRIMARY KEY (id)"),
        ("index public.a_pkey", "CREATE UNIQUE INDEX a_pkey ON public.a USING btree (id)"),
        ("sequence public.a_id_seq", "integer, owned by public.a.id, owner o"),
        ("grants on table public.a", "reader=r/o"),
        ("comment on column public.a.id", "the id"),
        ("table public.ab", "owner o"),
    ];

    #[test]
    fn a_table_that_is_gone_is_one_change_with_what_belonged_to_it() {
        let after = [("table public.ab", "owner o")];
        assert_eq!(
            told(TABLE, &after, &[]),
            ["doubt: table public.a is gone, with 2 columns, 1 comment, 1 constraint, 1 grants, \
              1 index, 1 sequence"]
        );
        let gone = Expected::Gone("table public.a".into());
        assert!(told(TABLE, &after, &[gone])[0].starts_with("expected: "));
    }

    #[test]
    fn a_column_takes_its_index_along_and_nothing_else() {
        let after: Vec<(&str, &str)> = TABLE
            .iter()
            .filter(|(name, _)| {
                !["public.a.id", "a_pkey", "a_id_seq"].iter().any(|own| name.contains(own))
            })
            .copied()
            .collect();
        assert_eq!(
            told(TABLE, &after, &[]),
            [
                "doubt: column public.a.id is gone, with 1 comment, 1 constraint, 1 index, 1 sequence"
            ]
        );
    }

    #[test]
    fn a_declared_rename_takes_everything_along() {
        let after: Vec<(String, String)> = TABLE
            .iter()
            .map(|(name, text)| (name.replace("public.a.", "public.b."), (*text).to_owned()))
            .map(|(name, text)| match name.as_str() {
                "table public.a" => ("table public.b".to_owned(), text),
                "grants on table public.a" => ("grants on table public.b".to_owned(), text),
                _ => (name, text.replace(" public.a", " public.b")),
            })
            .collect();
        let after: Vec<(&str, &str)> = after.iter().map(|(a, b)| (&**a, &**b)).collect();
        let to = Expected::Renamed { from: "table public.a".into(), to: "public.b".into() };
        let told = told(TABLE, &after, &[to]);
        assert_eq!(told[0], "expected: table public.a is now public.b");
        assert!(told[1..].iter().all(|line| line.starts_with("note: ")), "{told:?}");
    }

    #[test]
    fn an_index_under_another_name_is_no_loss() {
        let before = [("index public.one", "CREATE INDEX one ON public.a USING btree (id)")];
        let after = [("index public.two", "CREATE INDEX two ON public.a USING btree (id)")];
        assert_eq!(told(&before, &after, &[]), ["note: index public.one is now index public.two"]);
    }

    #[test]
    fn what_guards_rows_less_is_in_doubt_and_other_changes_are_not() {
        let before =
            [("table a", "row security, owner o"), ("trigger a.t", "CREATE x"), ("view v", "1")];
        let after =
            [("table a", "owner o"), ("trigger a.t", "CREATE x, disabled"), ("view v", "2")];
        assert_eq!(
            told(&before, &after, &[]),
            [
                "doubt: table a is different",
                "doubt: trigger a.t is different",
                "note: view v is different"
            ]
        );
    }
}

//! Tables and values of a configuration file, each with its name and its place.

use toml::de::{DeTable, DeValue};

use super::keys::{Guess, guess, qualified};
use super::notes::{Notes, Place};
use super::source::Source;

/// A table whose keys are taken one by one; what is left at the end is unknown.
pub(super) struct Section<'a> {
    source: &'a Source,
    name: String,
    place: Place,
    keys: Vec<(String, Place, DeValue<'a>)>,
}

/// A value with the name and the line of its key.
pub(super) struct Value<'a> {
    /// The key with the tables around it, as messages write it.
    pub(super) name: String,
    /// File and line of the key.
    pub(super) place: Place,
    source: &'a Source,
    value: DeValue<'a>,
}

impl<'a> Section<'a> {
    /// Takes a whole file.
    pub(super) fn top(source: &'a Source, table: DeTable<'a>) -> Self {
        Self::new(source, String::new(), source.place(0), table)
    }

    fn new(source: &'a Source, name: String, place: Place, table: DeTable<'a>) -> Self {
        let mut keys: Vec<_> = table
            .into_iter()
            .map(|(key, value)| {
                let offset = key.span().start;
                (offset, key.into_inner().into_owned(), source.place(offset), value.into_inner())
            })
            .collect();
        // In the order of the file, so that the first error is the first line that is wrong.
        keys.sort_by_key(|(offset, ..)| *offset);
        let keys = keys.into_iter().map(|(_, name, place, value)| (name, place, value)).collect();
        Self { source, name, place, keys }
    }

    /// Returns where the table begins.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Returns whether a key is there and was not taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|(name, ..)| name == key)
    }

    /// Takes the value of a key out of the table.
    pub(super) fn take(&mut self, key: &str) -> Option<Value<'a>> {
        let at = self.keys.iter().position(|(name, ..)| name == key)?;
        let (name, place, value) = self.keys.remove(at);
        let name = qualified(&self.name, &name);
        Some(Value { name, place, source: self.source, value })
    }

    /// Returns every key that is left, in the order of the file.
    pub(super) fn all(self) -> Vec<(String, Value<'a>)> {
        let (source, section) = (self.source, self.name);
        let value = |(key, place, value): (String, Place, DeValue<'a>)| {
            let name = qualified(&section, &key);
            (key, Value { name, place, source, value })
        };
        self.keys.into_iter().map(value).collect()
    }

    /// Warns about each key that nobody took.
    pub(super) fn finish(self, notes: &mut Notes) {
        let half = self.source.half();
        for (name, place, _) in self.keys {
            let full = qualified(&self.name, &name);
            let message = match guess(half, &self.name, &name) {
                Guess::Nearest(known) => {
                    let known = qualified(&self.name, known);
                    format!("unknown key {full} is ignored; the nearest known key is {known}")
                }
                Guess::Elsewhere(heading) => {
                    format!("key {full} is ignored here; it belongs below {heading}")
                }
                Guess::OtherHalf => {
                    let other = self.source.other().display();
                    format!("key {full} is ignored here; it belongs in {other}")
                }
                Guess::Nothing => format!("unknown key {full} is ignored"),
            };
            notes.warn(&place, &message);
        }
    }
}

impl<'a> Value<'a> {
    /// Says in words what kind of value this is.
    pub(super) fn kind(&self) -> &'static str {
        kind(&self.value)
    }

    /// Returns the text, or notes that it is none.
    pub(super) fn text(self, example: &str, notes: &mut Notes) -> Option<String> {
        match self.value {
            DeValue::String(text) => Some(text.into_owned()),
            other => {
                let message = format!("{} must be text, not {}", self.name, kind(&other));
                let fix = format!("{} = {example}", last(&self.name));
                notes.write_instead(&self.place, message, &fix);
                None
            }
        }
    }

    /// Returns the text where it is text, without a note where it is not.
    pub(super) fn as_text(&self) -> Option<&str> {
        self.value.as_str()
    }

    /// Returns the whole number where it is one that fits.
    pub(super) fn as_integer(&self) -> Option<i64> {
        let number = self.value.as_integer()?;
        let text = number.as_str().replace('_', "");
        i64::from_str_radix(&text, number.radix()).ok()
    }

    /// Returns whether it is a whole number, of any size.
    pub(super) fn is_integer(&self) -> bool {
        self.value.is_integer()
    }

    /// Returns whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    /// Returns whether it is a list without entries.
    pub(super) fn is_empty_list(&self) -> bool {
        self.value.as_array().is_some_and(|entries| entries.is_empty())
    }

    /// Returns yes or no, or notes that it is neither.
    pub(super) fn flag(&self, default: bool, notes: &mut Notes) -> Option<bool> {
        let found = self.value.as_bool();
        if found.is_none() {
            let message = format!("{} must be true or false, not {}", self.name, self.kind());
            notes.write_instead(&self.place, message, &format!("{} = {default}", last(&self.name)));
        }
        found
    }

    /// Returns the entries of a list, each with its own line, or notes that it is none.
    pub(super) fn list(self, example: &str, notes: &mut Notes) -> Option<Vec<Value<'a>>> {
        match self.value {
            DeValue::Array(entries) => {
                let (source, name) = (self.source, self.name);
                let entry = |(at, value): (usize, toml::Spanned<DeValue<'a>>)| Value {
                    name: format!("{name}[{at}]"),
                    place: source.place(value.span().start),
                    source,
                    value: value.into_inner(),
                };
                Some(entries.into_iter().enumerate().map(entry).collect())
            }
            other => {
                let message = format!("{} must be a list, not {}", self.name, kind(&other));
                let fix = format!("{} = {example}", last(&self.name));
                notes.write_instead(&self.place, message, &fix);
                None
            }
        }
    }

    /// Returns the tables of a heading in double brackets, or notes that they are none.
    pub(super) fn tables(self, section: &str, notes: &mut Notes) -> Vec<Section<'a>> {
        if !matches!(self.value, DeValue::Array(_)) {
            let name = &self.name;
            let message = format!("{name} must be tables [[{name}]], not {}", self.kind());
            let fix = format!("write [[{name}]] with two brackets on each side");
            notes.problem(&self.place, message, &fix);
            return Vec::new();
        }
        let entries = self.list("[]", notes).unwrap_or_default();
        entries.into_iter().filter_map(|entry| entry.table(section, notes)).collect()
    }

    /// Returns the table under its own name, or notes that it is none.
    pub(super) fn table(self, section: &str, notes: &mut Notes) -> Option<Section<'a>> {
        match self.value {
            DeValue::Table(table) => {
                Some(Section::new(self.source, section.to_owned(), self.place, table))
            }
            other => {
                let message = format!("{} must be a table, not {}", self.name, kind(&other));
                notes.problem(&self.place, message, "write a table as in upgrade.conf(5)");
                None
            }
        }
    }
}

/// Returns the key itself, without the tables around it and without a position in a list.
pub(super) fn last(name: &str) -> &str {
    let name = name.rsplit('.').next().unwrap_or(name);
    name.split('[').next().unwrap_or(name)
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

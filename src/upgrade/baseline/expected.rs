//! Which changes are meant: the packager's `[[expect]]`, as far as they hold between two baselines.

use crate::config::{ExpectSpec, Expected};
use crate::upgrade::machine::Machine;

use super::Baseline;

/// The declarations that hold between a baseline and now.
#[derive(Clone, Debug, Default)]
pub struct Expectations(Vec<ExpectSpec>);

impl Expectations {
    /// Returns those that name no migration, or one that was not applied yet in the baseline.
    pub fn since(machine: &Machine, before: &Baseline) -> Self {
        let holds = |spec: &ExpectSpec| {
            let Some(version) = &spec.migration else { return true };
            machine.databases.iter().any(|shipped| {
                let name = shipped.database.name();
                let meant = spec.database.as_deref().is_none_or(|database| database == name);
                let schema = before.databases.get(name).and_then(|d| d.schema.as_deref());
                // A tool of the application does not tell its versions to everybody.
                let by_tool = shipped.migrations.command().is_some() && schema.is_none();
                let all = &shipped.migrations.migrations;
                let place = |of: &str| all.iter().position(|m| m.version == of);
                let newer = place(version) > schema.and_then(place);
                meant && (by_tool || place(version).is_some() && newer)
            })
        };
        Self(machine.config.expect.iter().filter(|spec| holds(spec)).cloned().collect())
    }

    /// Returns these declarations, whatever happened in between.
    pub fn of(specs: Vec<ExpectSpec>) -> Self {
        Self(specs)
    }

    fn find(&self, database: Option<&str>, meant: impl Fn(&Expected) -> bool) -> Option<String> {
        let here = |spec: &&ExpectSpec| match (&spec.database, database) {
            (Some(wanted), Some(name)) => wanted == name,
            (Some(_), None) => false,
            (None, Some(_) | None) => true,
        };
        self.0.iter().filter(here).find(|spec| meant(&spec.change)).map(|s| s.change.told())
    }

    /// Returns the declaration that an object is gone.
    pub(super) fn gone(&self, database: &str, object: &str) -> Option<String> {
        self.find(
            Some(database),
            |change| matches!(change, Expected::Gone(pattern) if matches(pattern, object)),
        )
    }

    /// Returns the declaration that a table holds fewer rows.
    pub(super) fn fewer_rows(&self, database: &str, table: &str) -> Option<String> {
        self.find(
            Some(database),
            |change| matches!(change, Expected::FewerRows(pattern) if matches(pattern, table)),
        )
    }

    /// Returns the declaration that something differs.
    pub(super) fn changed(&self, database: Option<&str>, subject: &str) -> Option<String> {
        self.find(
            database,
            |change| matches!(change, Expected::Changed(pattern) if matches(pattern, subject)),
        )
    }

    /// Returns the declaration that a probe answers something else.
    pub(super) fn answer(&self, probe: &str) -> Option<String> {
        self.find(
            None,
            |change| matches!(change, Expected::Answer(pattern) if matches(pattern, probe)),
        )
    }

    /// Returns the declared renames as kind and name before, and name afterwards.
    pub(super) fn renames(&self, database: &str) -> Vec<(&str, &str)> {
        let here = |spec: &&ExpectSpec| spec.database.as_deref().is_none_or(|own| own == database);
        let rename = |spec: &'_ ExpectSpec| matches!(spec.change, Expected::Renamed { .. });
        self.0
            .iter()
            .filter(here)
            .filter(|spec| rename(spec))
            .filter_map(|spec| match &spec.change {
                Expected::Renamed { from, to } => Some((from.as_str(), to.as_str())),
                Expected::Gone(_)
                | Expected::FewerRows(_)
                | Expected::Changed(_)
                | Expected::Answer(_) => None,
            })
            .collect()
    }
}

/// Whether a text is what a pattern means; `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, meant) in [
            ("table public.a", "table public.a", true),
            ("table public.a", "table public.ab", false),
            ("table public.old_*", "table public.old_", true),
            ("* public.a", "materialized view public.a", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, text), meant, "{pattern} {text}");
        }
    }
}

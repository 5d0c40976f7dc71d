//! The packager's half: services, databases, probes.

use super::notes::{Notes, shown};
use super::of_file;
use super::section::{Section, Value};
use super::values::{files, unit_fault};
use super::{
    App, Appliance, DatabaseSpec, ExpectSpec, ProbeSpec, RequireSpec, SettingSpec, TreeSpec,
    appliance, expect, migrations, probes, require, restart, settings, tree,
};
use crate::layout::Layout;
use crate::version::Version;

/// What the packager's half says.
pub(super) struct Packaged {
    pub(super) app: App,
    pub(super) appliance: Option<Appliance>,
    pub(super) databases: Vec<DatabaseSpec>,
    pub(super) tree: Option<TreeSpec>,
    pub(super) require: Vec<RequireSpec>,
    pub(super) probes: Vec<ProbeSpec>,
    pub(super) expect: Vec<ExpectSpec>,
    pub(super) settings: Vec<SettingSpec>,
}

/// Reads the packager's half.
pub(super) fn read(mut top: Section<'_>, layout: &Layout, notes: &mut Notes) -> Packaged {
    let start = top.place().clone();
    let app = match top.take("app") {
        Some(value) => value.table("app", notes).map(|table| app(table, layout, notes)),
        None => {
            let fix = format!("write [app] and below it services = [\"{}.service\"]", layout.app());
            notes.problem(&start, "there is no table [app]", &fix);
            None
        }
    };
    let appliance = top.take("appliance").and_then(|value| appliance::read(value, notes));
    let databases = match top.take("database") {
        Some(value) => databases(value, layout, notes),
        None => {
            let fix = "write [[database]] and below it name and migrations";
            notes.problem(&start, "there is no table [[database]]", fix);
            Vec::new()
        }
    };
    let tree = top.take("source").and_then(|value| value.table("source", notes));
    let app = app.unwrap_or_default();
    let tree = tree.and_then(|table| tree::read(table, layout, &app.services, notes));
    let require = match top.take("require") {
        Some(value) => require::read(value, notes),
        None => Vec::new(),
    };
    let probes = match top.take("health") {
        Some(value) => probes::read(value, (&databases, &app.services), notes),
        None => Vec::new(),
    };
    let expect = match top.take("expect") {
        Some(value) => expect::read(value, &databases, notes),
        None => Vec::new(),
    };
    let settings = top.take("setting").map_or_else(Vec::new, |value| settings::read(value, notes));
    top.finish(notes);
    Packaged { app, appliance, databases, tree, require, probes, expect, settings }
}

fn app(mut table: Section<'_>, layout: &Layout, notes: &mut Notes) -> App {
    let services = match table.take("services") {
        Some(value) => services(value, layout, notes),
        None => {
            let message = "app.services is missing: it must name the units to stop";
            let fix = format!("write `services = [\"{}.service\"]` below it", layout.app());
            notes.problem(table.place(), message, &fix);
            Vec::new()
        }
    };
    let start_first = match table.take("start_first") {
        Some(value) => start_first(value, &services, notes),
        None => Vec::new(),
    };
    let equal_versions = match table.take("equal_versions") {
        Some(value) => packages(value, notes),
        None => Vec::new(),
    };
    let version = table.take("version").and_then(|value| version_of(value, notes));
    let min_upgrade_from =
        table.take("min_upgrade_from").and_then(|value| version_of(value, notes));
    let mut listed = |key: &str| table.take(key).and_then(|value| files(value, notes));
    let (keep, fingerprint) = (listed("keep_files"), listed("fingerprint_files"));
    let mut app = App {
        services,
        start_first,
        equal_versions,
        min_upgrade_from,
        version,
        keep_files: keep.unwrap_or_default(),
        fingerprint_files: fingerprint.unwrap_or_default(),
        ..App::default()
    };
    restart::read(&mut table, &mut app, notes);
    table.finish(notes);
    app
}

fn services(value: Value<'_>, layout: &Layout, notes: &mut Notes) -> Vec<String> {
    let example = format!("[\"{}.service\"]", layout.app());
    let fix = format!("services = {example}");
    let place = value.place.clone();
    let Some(entries) = value.list(&example, notes) else { return Vec::new() };
    if entries.is_empty() {
        let message = "app.services is empty: it must name the units to stop";
        notes.write_instead(&place, message, &fix);
    }
    let mut units: Vec<String> = Vec::new();
    for entry in entries {
        let (name, place) = (entry.name.clone(), entry.place.clone());
        let Some(unit) = entry.text(&example, notes) else { continue };
        let fault = match unit_fault(&unit) {
            Some(fault) => Some(fault),
            None if units.contains(&unit) => Some("is named twice"),
            // The unit in which the upgrade runs would stop itself.
            None if unit == layout.upgrade_unit() => Some("is the unit that runs the upgrade"),
            None => None,
        };
        match fault {
            Some(fault) => {
                let message = format!("{name} {} {fault}", shown(&unit));
                notes.problem(&place, message, "name units as `systemctl list-units` shows them");
            }
            None => units.push(unit),
        }
    }
    units
}

/// Units of `services` that come up before the others.
fn start_first(value: Value<'_>, services: &[String], notes: &mut Notes) -> Vec<String> {
    let example = "[\"web.service\"]";
    let Some(entries) = value.list(example, notes) else { return Vec::new() };
    let mut found: Vec<String> = Vec::new();
    for entry in entries {
        let (name, place) = (entry.name.clone(), entry.place.clone());
        let Some(unit) = entry.text(example, notes) else { continue };
        let fault = match () {
            () if !services.contains(&unit) => "is not in app.services",
            () if found.contains(&unit) => "is named twice",
            () => {
                found.push(unit);
                continue;
            }
        };
        let fix = "name units of app.services, each once";
        notes.problem(&place, format!("{name} {} {fault}", shown(&unit)), fix);
    }
    found
}

/// Names of packages, as dpkg and rpm have them.
fn packages(value: Value<'_>, notes: &mut Notes) -> Vec<String> {
    let example = "[\"app-web\", \"app-worker\"]";
    let Some(entries) = value.list(example, notes) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let (name, place) = (entry.name.clone(), entry.place.clone());
        let Some(package) = entry.text(example, notes) else { continue };
        // It becomes an argument of a package tool: no option, no pattern.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        let begins = package.starts_with(|c: char| c.is_ascii_alphanumeric());
        if begins && package.chars().all(plain) {
            found.push(package);
        } else {
            let message = format!("{name} {} is not the name of a package", shown(&package));
            notes.problem(&place, message, "write names as `dpkg -l` or `rpm -qa` shows them");
        }
    }
    found
}

fn version_of(value: Value<'_>, notes: &mut Notes) -> Option<Version> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let text = value.text("\"1.0.0\"", notes)?;
    // The characters of deb-version(7), and `^` of rpm.
    let legal = |c: char| c.is_ascii_alphanumeric() || ".+-~:^_".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && text.chars().all(legal) {
        return Some(Version::new(text));
    }
    let message = format!("{name} {} is not a package version", shown(&text));
    notes.problem(&place, message, "write a version such as \"1.0.0\"");
    None
}

fn databases(value: Value<'_>, layout: &Layout, notes: &mut Notes) -> Vec<DatabaseSpec> {
    let place = value.place.clone();
    if value.is_empty_list() {
        notes.problem(&place, "there is no table [[database]]", "write a table [[database]]");
    }
    let mut found: Vec<DatabaseSpec> = Vec::new();
    for table in value.tables("database", notes) {
        let place = table.place().clone();
        let Some(database) = database(table, layout, notes) else { continue };
        if found.iter().any(|other| other.name == database.name) {
            let message = format!("two databases are named {}", shown(&database.name));
            notes.problem(&place, message, "give each [[database]] its own name");
        }
        found.push(database);
    }
    found
}

fn database(mut table: Section<'_>, layout: &Layout, notes: &mut Notes) -> Option<DatabaseSpec> {
    let place = table.place().clone();
    let name = match table.take("name") {
        Some(value) => database_name(value, notes),
        None => {
            notes.problem(&place, "database.name is missing", "write `name = \"main\"` below it");
            None
        }
    };
    let file = of_file::read(&mut table, notes);
    let url_env = table.take("url_env").and_then(|value| variable(value, layout, notes));
    let service = table.take("service").and_then(|value| word(value, "\"app\"", notes));
    let user = table.take("user").and_then(|value| word(value, "\"app\"", notes));
    if url_env.is_some() && service.is_some() {
        let message = "database.url_env and database.service are both set; only one can be asked";
        notes.problem(&place, message, "remove one of the two below it");
    }
    let migrations = match table.take("migrations") {
        Some(value) => {
            let table = value.table("database.migrations", notes);
            table.and_then(|table| migrations::read(table, layout, notes))
        }
        None => {
            let fix = format!(
                "write `migrations = {{ format = \"plain\", dir = \"{}\" }}` below it",
                layout.migrations_dir().display()
            );
            notes.problem(&place, "database.migrations is missing", &fix);
            None
        }
    };
    if let (Some(_), Some(migrations)) = (&file, &migrations) {
        of_file::check_migrations(migrations, &place, notes);
    }
    table.finish(notes);
    Some(DatabaseSpec { name: name?, url_env, service, file, user, migrations: migrations? })
}

/// The name is also the name of a directory in every restore point.
fn database_name(value: Value<'_>, notes: &mut Notes) -> Option<String> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let text = value.text("\"main\"", notes)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && text.len() <= 63 && text.chars().all(legal) {
        return Some(text);
    }
    let message = format!("{name} {} is not a plain name", shown(&text));
    let fix = "write at most 63 letters, digits, `-` and `_`, beginning with a letter or digit";
    notes.problem(&place, message, fix);
    None
}

fn variable(value: Value<'_>, layout: &Layout, notes: &mut Notes) -> Option<String> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let text = value.text("\"DATABASE_URL\"", notes)?;
    if super::secrets::name_is_valid(&text) {
        return Some(text);
    }
    // The value is not shown: a connection string is often written here by mistake.
    let message = format!("{name} is not the name of a variable");
    let secrets = layout.secrets();
    let fix = format!(
        "name the variable of {} that holds the connection string, not the string itself",
        secrets.display()
    );
    notes.problem(&place, message, &fix);
    None
}

/// Reads one word.
pub(super) fn word(value: Value<'_>, example: &str, notes: &mut Notes) -> Option<String> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let text = value.text(example, notes)?;
    if !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Some(text);
    }
    notes.problem(&place, format!("{name} is empty or contains white space"), "write one word");
    None
}

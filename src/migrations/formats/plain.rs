//! Our own format: `NNNN_name.sql`, table `openwatch_schema_history`, SHA-256.
//!
//! A migration is a regular file: digits, underscore, then letters, digits, `_` and `-`. Any other
//! `.sql` file is an error.

use std::collections::HashMap;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use smol_str::SmolStr;

use super::{Gaps, OwnMarks, Rows, Tool};
use crate::config::Format;
use crate::database::{Session, SqlError, literal};
use crate::error::Result;
use crate::migrations::files::{self, Entry, bad, into_normalised, normalised};
use crate::migrations::history::{AppliedRow, Origin, RowState, Run, Table};
use crate::migrations::{Key, Migration, Text};

/// Name of our history table.
pub const TABLE: &str = "openwatch_schema_history";

/// The first line of a file that runs outside a transaction.
pub const NO_TRANSACTION: &str = "-- openwatch: no-transaction";

/// Numbers with this many digits are dates; a hole between two dates is no gap.
const DATE_DIGITS: usize = 8;

#[derive(Debug)]
pub(super) struct Plain;

impl Tool for Plain {
    fn format(&self) -> Format {
        Format::Plain
    }

    fn default_table(&self) -> &'static str {
        TABLE
    }

    fn file_names(&self) -> &'static str {
        "a file named NNNN_name.sql"
    }

    fn read_dir(&self, dir: &Path) -> Result<Vec<Migration>> {
        files::read_all(files::list_sql(dir)?, read)
    }

    fn sql(&self, _: &Migration, raw: String) -> String {
        into_normalised(raw)
    }

    fn gaps(&self, before: &str, after: &str) -> Gaps {
        let dates = before.len() >= DATE_DIGITS || after.len() >= DATE_DIGITS;
        if dates { Gaps::Allowed } else { Gaps::Refused }
    }

    fn create_sql(&self, table: &Table) -> String {
        format!(
            "create table {table} (\
               version text primary key, \
               name text not null, \
               checksum text not null, \
               state text not null check (state in ('applied', 'started')), \
               applied_at timestamp with time zone not null default current_timestamp, \
               duration_ms bigint not null, \
               product_version text not null, \
               restore_point text)"
        )
    }

    fn read_rows(&self, session: &mut Session, table: &Table, shipped: &[Migration]) -> Rows {
        let mut rows = Vec::with_capacity(shipped.len());
        let sql = format!("select version, name, checksum, state from {table}");
        session.each(&sql, |[version, name, checksum, state]| {
            // The server answers in the order in which they were written, as a rule that of the files.
            let file = shipped.get(rows.len());
            rows.push(AppliedRow {
                // What is no number sorts last.
                key: Key::Number(version.parse().unwrap_or(u64::MAX)),
                version: shared(version, file.map(|file| &file.version)),
                name: shared(name, file.map(|file| &file.name)),
                checksum: Some(shared(checksum, file.and_then(|file| file.checksum.as_ref()))),
                state: if state == "applied" { RowState::Applied } else { RowState::Started },
                ..AppliedRow::default()
            });
        })?;
        rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        // Who applied a migration and when is asked only where something is to be told about one: it
        // would be half of what a server sends of a long history, and most of its work.
        if !all_as_shipped(&rows, shipped) {
            add_provenance(session, table, &mut rows)?;
        }
        Ok(rows)
    }

    fn record_sql(&self, table: &Table, runs: &[Run<'_>], origin: &Origin) -> String {
        insert_sql(table, runs, RowState::Applied, origin)
    }

    fn repair_sql(&self, table: &Table, row: &AppliedRow, file: &Migration) -> Option<String> {
        Some(format!(
            "update {table} set checksum = {}, name = {} where version = {}",
            literal(file.checksum.as_deref().unwrap_or_default()),
            literal(&file.name),
            literal(&row.version)
        ))
    }

    fn remove_sql(&self, table: &Table, row: &AppliedRow) -> String {
        format!("delete from {table} where version = {}", literal(&row.version))
    }

    fn own_marks(&self) -> Option<&dyn OwnMarks> {
        Some(self)
    }
}

impl OwnMarks for Plain {
    fn begin_sql(&self, table: &Table, run: &Run<'_>, origin: &Origin) -> String {
        insert_sql(table, std::slice::from_ref(run), RowState::Started, origin)
    }

    fn finish_sql(&self, table: &Table, run: &Run<'_>) -> String {
        format!(
            "update {table} set state = 'applied', applied_at = current_timestamp, \
             duration_ms = {} where version = '{}'",
            run.duration.as_millis(),
            run.migration.version
        )
    }

    fn forget_sql(&self, table: &Table, version: &str, _: &[Migration]) -> String {
        format!("delete from {table} where version = {} and state = 'started'", literal(version))
    }
}

/// Records migrations in one statement.
fn insert_sql(table: &Table, runs: &[Run<'_>], state: RowState, origin: &Origin) -> String {
    let word = match state {
        RowState::Applied => "applied",
        RowState::Started => "started",
    };
    let version = literal(&origin.product_version);
    let point = origin.restore_point.as_deref().map_or_else(|| "null".into(), literal);
    let rows: Vec<String> = runs
        .iter()
        .map(|run| {
            let Migration { version: number, name, checksum, .. } = run.migration;
            let checksum = checksum.as_deref().unwrap_or_default();
            let millis = run.duration.as_millis();
            format!("('{number}','{name}','{checksum}','{word}',{millis},{version},{point})")
        })
        .collect();
    format!(
        "insert into {table} \
         (version, name, checksum, state, duration_ms, product_version, restore_point) values {}",
        rows.join(",")
    )
}

/// A text of a row; where the file has the same, both have it in one place.
fn shared(text: &str, shipped: Option<&SmolStr>) -> SmolStr {
    match shipped {
        Some(shipped) if shipped == text => shipped.clone(),
        Some(_) | None => text.into(),
    }
}

/// Both are in the order of their keys.
fn all_as_shipped(rows: &[AppliedRow], shipped: &[Migration]) -> bool {
    let same = |(row, file): (&AppliedRow, &Migration)| {
        row.key == file.key && row.checksum == file.checksum && row.state == RowState::Applied
    };
    rows.len() == shipped.len() && rows.iter().zip(shipped).all(same)
}

fn add_provenance(
    session: &mut Session,
    table: &Table,
    rows: &mut [AppliedRow],
) -> std::result::Result<(), SqlError> {
    let sql = format!(
        "select version, cast(date_trunc('second', applied_at) as text), product_version from {table}"
    );
    let mut known = HashMap::with_capacity(rows.len());
    session.each(&sql, |[version, applied_at, product]| {
        known.insert(SmolStr::new(version), (applied_at.into(), product.into()));
    })?;
    for row in rows {
        let (applied_at, product) = known.remove(&row.version).unzip();
        (row.applied_at, row.product_version) = (applied_at, product);
    }
    Ok(())
}

/// Takes the version and the name out of a file name such as `0035_hosts.sql`.
pub fn parse_name(file: &str) -> Option<(&str, &str)> {
    let (version, name) = file.strip_suffix(".sql")?.split_once('_')?;
    let digits = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (digits && !name.is_empty() && name.bytes().all(plain)).then_some((version, name))
}

/// Returns the SHA-256 of a file's text in hexadecimal digits.
///
/// A byte order mark is dropped and CRLF counts as LF, so that a checkout on another system is the
/// same migration.
pub fn checksum(text: &str) -> String {
    hex::encode(Sha256::digest(normalised(text).as_bytes()))
}

fn read(entry: &Entry<'_>) -> Result<Migration> {
    let (file, path) = (entry.name(), entry.path());
    let names = "digits, an underscore, then letters, digits, _ and -, as in 0007_hosts.sql";
    let (version, name) = parse_name(&file).ok_or_else(|| files::misnamed(entry, names))?;
    let number = version.parse::<u64>().ok().filter(|_| version.len() <= 18).ok_or_else(|| {
        bad(format!("the number of {} is too long", path.display()))
            .detail("at most 18 digits")
            .hint("Give it a shorter number.")
    })?;
    let raw = files::read_raw(entry)?;
    let text = Text::in_file(&raw);
    let sql = into_normalised(raw);
    files::refuse_empty(entry, &sql)?;
    check_directives(&path, &sql)?;
    let first = sql.lines().next().unwrap_or_default().trim_end();
    Ok(Migration {
        version: version.into(),
        name: name.into(),
        key: Key::Number(number),
        file: entry.file.clone(),
        text,
        checksum: Some(hex::encode(Sha256::digest(sql.as_bytes())).into()),
        transactional: first != NO_TRANSACTION,
        ..Migration::default()
    })
}

fn check_directives(path: &Path, sql: &str) -> Result<()> {
    // A directive that is nearly right must not be taken for a remark.
    for (index, line) in sql.lines().enumerate() {
        let Some(directive) = line.trim().strip_prefix("-- openwatch:") else { continue };
        // For whoever looks at the file before it is shipped; see lint/ignore.rs.
        if directive.trim_start().starts_with("lint-ignore") {
            continue;
        }
        if index > 0 || line.trim_end() != NO_TRANSACTION {
            return Err(bad(format!(
                "{} has the unknown directive{directive} at line {}",
                path.display(),
                index + 1
            ))
            .detail(format!("known are {NO_TRANSACTION}, alone on the first line, and lint-ignore"))
            .hint("Correct the directive, or write the comment in other words."));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_digits_underscore_words() {
        assert_eq!(parse_name("0035_host-profile_2.sql"), Some(("0035", "host-profile_2")));
        for name in [
            "0035.sql",
            "_a.sql",
            "0035_.sql",
            "35a_b.sql",
            "0001_a.down.sql",
            "0001_a b.sql",
            "0001_ä.sql",
            "0001_a.SQL",
            "0001_a",
            "٣_a.sql",
            ".sql",
            "",
        ] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }

    #[test]
    fn line_endings_and_byte_order_mark_do_not_change_the_checksum() {
        assert_eq!(
            checksum("\u{feff}select 1;\r\nselect 2;\r\n"),
            checksum("select 1;\nselect 2;\n")
        );
        assert_ne!(checksum("select 1;"), checksum("select 1; "));
        let known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(checksum(""), known);
    }

    proptest! {
        #[test]
        fn no_file_name_makes_the_reader_panic(name in any::<String>()) {
            let _ = parse_name(&name);
            let _ = parse_name(&format!("{name}.sql"));
        }

        /// Row 21.
        #[test]
        fn what_is_accepted_can_be_put_together_again(name in "[0-9]{1,5}_[A-Za-z0-9_-]{1,12}\\.sql") {
            let (version, rest) = parse_name(&name).unwrap();
            prop_assert_eq!(format!("{version}_{rest}.sql"), name);
        }
    }
}

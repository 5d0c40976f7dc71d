//! Whether an archive is whole, as the client programs read it.

use std::collections::BTreeSet;
use std::path::Path;

use super::Database;
use super::clients::Client;
use super::dump::{Dumped, TableKind, told};
use crate::error::{Error, Result};
use crate::system::process::Call;

/// Reads every byte of an archive back through the client, which writes nothing anywhere.
pub fn read_back(client: &Client, archive: &Path, database: &Database) -> Result<()> {
    Call::new(client.program("pg_restore"))
        .args(["--format=directory", "--file=/dev/null"])
        .arg(archive)
        .run()
        .map(drop)
        .map_err(|failure| told("pg_restore", database, &failure))
}

/// Compares the archive's table of contents with the catalogue of the dumped snapshot, by object id.
pub fn check_contents(
    client: &Client,
    archive: &Path,
    dumped: &Dumped,
    database: &Database,
) -> Result<()> {
    let listed = Call::new(client.program("pg_restore"))
        .args(["--format=directory", "--list"])
        .arg(archive)
        .run()
        .map_err(|failure| told("pg_restore", database, &failure))?;
    compare_contents(&String::from_utf8_lossy(&listed.stdout), dumped, database)
}

/// Compares a table of contents, as the client lists it, with the catalogue of the dumped snapshot.
pub(super) fn compare_contents(list: &str, dumped: &Dumped, database: &Database) -> Result<()> {
    let (defined, filled) = contents(list);
    let missing: Vec<&str> = dumped
        .tables
        .iter()
        .filter(|(oid, _, kind)| {
            !defined.contains(oid) || (*kind == TableKind::WithData && !filled.contains(oid))
        })
        .map(|(_, name, _)| name.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::failed(format!(
        "the archive of {} lacks {} of {} tables",
        database.described(),
        missing.len(),
        dumped.tables.len()
    ))
    .detail(format!("missing: {}", missing[..missing.len().min(10)].join(", "))))
}

/// Reads `id; class oid KIND …` lines: object ids of relations defined, and of tables with data.
///
/// Names are not read: they may contain anything, and a line break in one is escaped by the client.
fn contents(list: &str) -> (BTreeSet<u32>, BTreeSet<u32>) {
    /// Object id of `pg_class` itself, the same in every server.
    const RELATION: &str = "1259";
    let (mut defined, mut filled) = (BTreeSet::new(), BTreeSet::new());
    for line in list.lines().filter(|line| !line.starts_with(';')) {
        let Some((_, rest)) = line.split_once("; ") else { continue };
        let mut words = rest.splitn(3, ' ');
        let (Some(class), Some(oid), Some(kind)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Ok(oid) = oid.parse() else { continue };
        if class == RELATION {
            defined.insert(oid);
        } else if kind.starts_with("TABLE DATA ") {
            filled.insert(oid);
        }
    }
    (defined, filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_contents_is_read_by_object_id() {
        let list = "; Archive created at 2026-11-20\n;     TOC Entries: 3\n\
                    215; 1259 16386 TABLE public t; 1 postgres\n\
                    3312; 0 16386 TABLE DATA public t; 1 postgres\n\
                    216; 1259 16390 VIEW public v postgres\n";
        let (defined, filled) = contents(list);
        assert_eq!(defined.into_iter().collect::<Vec<_>>(), [16386, 16390]);
        assert_eq!(filled.into_iter().collect::<Vec<_>>(), [16386]);
    }
}

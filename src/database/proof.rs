//! Whether an archive is whole, as the client programs read it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Database;
use super::clients::Client;
use super::dump::{Dumped, TableKind, most_jobs, told};
use crate::error::{Context, Error, Result};
use crate::system::fs;
use crate::system::process::{Call, Input};

/// How much of an archive is worth a further process that reads it back, in bytes.
const WORTH_A_READER: u64 = 8 << 20;

/// Lists the table of contents of an archive, as the client says it.
pub fn list(client: &Client, archive: &Path, database: &Database) -> Result<String> {
    let listed = Call::new(client.program("pg_restore"))
        .args(["--format=directory", "--list"])
        .arg(archive)
        .run()
        .map_err(|failure| told("pg_restore", database, &failure))?;
    Ok(String::from_utf8_lossy(&listed.stdout).into_owned())
}

/// Reads every byte of an archive back through the client, which writes nothing anywhere; `alive` is
/// called now and then.
///
/// Several processes read at once: the entries of the table of contents are shared out among them by
/// the size of their members, each to exactly one. `aside` is a directory for their lists.
pub fn read_back(
    client: &Client,
    archive: &Path,
    database: &Database,
    listed: &str,
    aside: &Path,
    alive: &(dyn Fn() + Sync),
) -> Result<()> {
    let sizes = member_sizes(archive);
    let total: u64 = sizes.values().sum();
    let readers = most_jobs().min(total / WORTH_A_READER).max(1);
    let call =
        || Call::new(client.program("pg_restore")).args(["--format=directory", "--file=/dev/null"]);
    let run = |call: Call| {
        let watch = |line: Option<&str>| {
            if line.is_none() {
                alive();
            }
        };
        let ended = call.arg(archive).run_watched(watch);
        ended.map(drop).map_err(|failure| told("pg_restore", database, &failure))
    };
    if readers == 1 {
        return run(call());
    }
    let mut calls = Vec::new();
    for (number, share) in shares(listed, &sizes, readers).into_iter().enumerate() {
        let path = aside.join(format!(".{}-share{number}", database.name()));
        fs::replace(&path, share.as_bytes(), 0o600)?;
        let file = fs::open_file(&path).context(|| format!("cannot open {}", path.display()))?;
        fs::remove_file(&path)?;
        calls.push(call().arg("--use-list=/dev/stdin").input(Input::File(file)));
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = calls.into_iter().map(|call| scope.spawn(|| run(call))).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| Error::failed("the read-back ended unexpectedly"))?
        })
    })
}

/// Returns the bytes of the members by the number of their entry; large objects count for zero,
/// which is the number of none.
fn member_sizes(archive: &Path) -> BTreeMap<u64, u64> {
    let mut sizes = BTreeMap::new();
    for entry in std::fs::read_dir(archive).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.split_once(".dat")?.0.parse().ok());
        let bytes = entry.metadata().map_or(0, |data| data.len());
        *sizes.entry(number.unwrap_or(0)).or_default() += bytes;
    }
    sizes
}

/// Shares the entries of a table of contents out, the largest first, each to whoever has least.
fn shares(listed: &str, sizes: &BTreeMap<u64, u64>, readers: u64) -> Vec<String> {
    let mut shares: Vec<(u64, String)> = (0..readers).map(|_| (0, String::new())).collect();
    let mut entries: Vec<(u64, u64)> = listed
        .lines()
        .filter(|line| !line.starts_with(';'))
        .filter_map(|line| {
            let (number, what) = line.split_once("; ")?;
            let number = number.parse().ok()?;
            // One entry, or a few, hold all large objects.
            let key = if what.contains(" BLOB") { 0 } else { number };
            Some((sizes.get(&key).copied().unwrap_or(0), number))
        })
        .collect();
    entries.sort_by_key(|(bytes, number)| (Reverse(*bytes), *number));
    for (bytes, number) in entries {
        if let Some((sum, list)) = shares.iter_mut().min_by_key(|(sum, _)| *sum) {
            *sum += bytes;
            list.push_str(&format!("{number};\n"));
        }
    }
    shares.into_iter().map(|(_, list)| list).filter(|list| !list.is_empty()).collect()
}

/// Compares the archive's table of contents with the catalogue of the dumped snapshot, by object id.
pub fn check_contents(listed: &str, dumped: &Dumped, database: &Database) -> Result<()> {
    let (defined, filled) = contents(listed);
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

    #[test]
    fn every_entry_is_read_back_by_exactly_one_process() {
        let list = ";\n1; 1259 16386 TABLE public t o\n2; 0 16386 TABLE DATA public t o\n\
                    3; 0 16390 TABLE DATA public u o\n4; 0 0 BLOBS - BLOBS o\n5; 0 1 INDEX public i o\n";
        let sizes = BTreeMap::from([(0, 70), (2, 50), (3, 40)]);
        let shares = shares(list, &sizes, 2);
        assert_eq!(shares, ["4;\n1;\n5;\n", "2;\n3;\n"]);
    }
}

//! Restoring inside the present database, for roles that may not create another one.
//!
//! One transaction first drops what the role owns and then runs the archive as SQL: `--clean` would
//! leave what a migration added and fails on its dependants, and without a single transaction a
//! failure would leave a mixture. `psql` runs the text, because only it can feed both parts into
//! one transaction. It also obeys commands that begin with a backslash. Clients since August 2025
//! frame the text with `\restrict`, and `psql` then obeys none of them (CVE-2025-8714). An older client
//! runs the text of an archive that was made here, which only root could write and whose SHA-256 has
//! just been compared; the text of one that came from elsewhere it is not given.
//!
//! The text passes from `pg_restore` through us to `psql`, and no file is written. The transaction
//! cannot be that of `psql --single-transaction`: the text of large objects has a `COMMIT` of its own
//! unless `pg_restore` makes the transaction (measured with 15), and `psql` would commit what it was
//! given when its input ends, however it ends. So `pg_restore --single-transaction` begins and ends
//! it, and its last `COMMIT` is passed on only when everything before it is in order. Whatever dies
//! meanwhile, the transaction dies with it.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::Database;
use super::clients::Client;
use super::dump::told;
use super::emptying::{EMPTY, out_of_reach};
use super::facts::RowCount;
use super::recorded::is_table;
use super::restore::{Manner, comparison};
use super::stream::{file, listed, passed_to};
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::system::fs;
use crate::system::process::{Call, Failure, Input};

/// How much of the end is held back: the `COMMIT` and the comments after it have some 200 bytes.
const HELD_BACK: usize = 4096;

/// How much of the beginning is looked at for the frame, in bytes.
const HEAD: u64 = 512;

/// Bytes that pass at once.
const CHUNK: usize = 256 << 10;

/// The last statement of the text.
const COMMIT: &[u8] = b"\nCOMMIT;\n";

/// Last line of a complete text; a text without it was cut short.
const TRAILER: &str = "-- PostgreSQL database dump complete";

/// Where an archive comes from.
pub enum Source<'a> {
    /// A directory of the client.
    Directory(&'a Path),
    /// A stream in the client's custom format, opened at its beginning; it is read twice.
    Stream(&'a dyn Fn() -> Result<Box<dyn Read + Send>>),
}

/// An archive, and how it is loaded.
pub struct InPlace<'a> {
    /// The client.
    pub client: &'a Client,
    /// The archive.
    pub source: Source<'a>,
    /// What of it is loaded.
    pub manner: Manner,
    /// The rows that the tables must then have.
    pub wanted: &'a [(String, RowCount)],
    /// A directory of ours for a list of numbers.
    pub work: &'a Path,
    /// Who wrote it.
    pub writer: Writer,
}

/// Who wrote an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// This machine, or somebody whom the operator believes.
    Believed,
    /// Whoever made the stream that was imported.
    Stranger,
}

/// How the text came to `psql`.
enum Passed {
    Whole,
    /// `psql` ended before.
    NotTaken,
}

impl InPlace<'_> {
    fn call(&self) -> Call {
        Call::new(self.client.program("pg_restore")).arg(match self.source {
            Source::Directory(_) => "--format=directory",
            Source::Stream(_) => "--format=custom",
        })
    }

    fn listed(&self, database: &Database) -> Result<String> {
        match self.source {
            Source::Directory(dir) => {
                let listed = self.call().arg("--list").arg(dir).run();
                let listed = listed.map_err(|failure| told("pg_restore", database, &failure))?;
                Ok(String::from_utf8_lossy(&listed.stdout).into_owned())
            }
            Source::Stream(open) => listed(self.client, &mut *open()?, &database.described()),
        }
    }

    /// Writes the numbers of the entries that are loaded: all but what only the owner of an extension
    /// may run or fill. `pg_restore` reads nothing else of its list, so no name is in it.
    fn write_list(&self, database: &Database) -> Result<PathBuf> {
        let text = self.listed(database)?;
        let mut others = vec![" COMMENT - EXTENSION ".to_owned()];
        for (schema, table) in out_of_reach(database)? {
            others.push(format!(" TABLE DATA {schema} {table} "));
        }
        let own = |line: &&str| !others.iter().any(|other| line.contains(other.as_str()));
        let kept = text.lines().filter(own);
        let numbers = kept.filter_map(|line| line.split_once(';').map(|(number, _)| number));
        let text: String = numbers
            .filter(|number| !number.is_empty())
            .map(|number| format!("{number}\n"))
            .collect();
        let list = self.work.join("list");
        fs::replace(&list, text.as_bytes(), 0o600)?;
        Ok(list)
    }
}

/// Replaces the content of the present database by that of an archive, in one transaction.
pub fn restore_in_place(
    database: &Database,
    archive: &InPlace<'_>,
    progress: &dyn Progress,
) -> Result<()> {
    let untouched = |error: Error| error.state("the present data is untouched");
    if let Some((table, _)) = archive.wanted.iter().find(|(table, _)| !is_table(table)) {
        return Err(untouched(Error::failed(format!("{table:?} is not the name of a table"))));
    }
    let list = archive.write_list(database).map_err(untouched)?;
    let piped = || "cannot make a pipe".to_owned();
    let (text, text_end) = io::pipe().context(piped)?;
    let (psql_end, to_psql) = io::pipe().context(piped)?;
    let restore = archive
        .call()
        .args(["--single-transaction", "--file=-"])
        .args(archive.manner.options())
        .arg(format!("--use-list={}", list.display()))
        .output(file(text_end));
    let (restore, source) = match archive.source {
        Source::Directory(dir) => (restore.arg(dir), None),
        Source::Stream(open) => {
            let (archive_end, to_restore) = io::pipe().context(piped)?;
            let source = open().map_err(untouched)?;
            (restore.input(Input::File(file(archive_end))), Some((source, to_restore)))
        }
    };
    let psql = database
        .call(&archive.client.program("psql"))
        .args(["--no-psqlrc", "--quiet", "--no-password", "--output=/dev/null"])
        .args(["--set=ON_ERROR_STOP=1", "--file=-"])
        .input(Input::File(file(psql_end)));
    let what = format!("loading {} in place", database.name());
    let (wanted, writer) = (archive.wanted, archive.writer);
    let (passed, ended) = std::thread::scope(|scope| {
        let fed = scope.spawn(|| match source {
            Some((mut source, to)) => passed_to(&mut *source, to),
            None => Ok(()),
        });
        let restored = scope.spawn(|| restore.run());
        let passed = scope.spawn(move || {
            pass(text, to_psql, wanted, writer, || {
                let broken = |_| Error::failed("a thread ended unexpectedly");
                let fed = fed.join().map_err(broken)?;
                let restored = restored.join().map_err(broken)?;
                fed.context(|| "cannot read the archive".into())?;
                restored.map(drop).map_err(|failure| told("pg_restore", database, &failure))
            })
        });
        let ended = psql.run_watched(|line| {
            if line.is_none() {
                progress.alive(&what, 0, None);
            }
        });
        (passed.join(), ended)
    });
    let passed = passed.map_err(|_| Error::failed("a thread ended unexpectedly"))?;
    match (passed, ended) {
        (Err(error), _) => Err(untouched(error)),
        (Ok(_), Err(failure)) => Err(ended_badly(database, &failure)),
        (Ok(Passed::Whole), Ok(_)) => Ok(()),
        (Ok(Passed::NotTaken), Ok(_)) => {
            Err(untouched(Error::failed("psql did not read the archive to its end")))
        }
    }
}

/// A killed client or a lost connection cannot have committed, except in the instant between the
/// server's commit and its answer.
fn ended_badly(database: &Database, failure: &Failure) -> Error {
    let state = match failure {
        Failure::Ended { status, .. } if status.code() == Some(3) => {
            "the present data is untouched"
        }
        Failure::NotStarted(_) => "the present data is untouched",
        Failure::Ended { .. } | Failure::TimedOut(_) | Failure::Interrupted(_) => {
            "the data is either that of before or that of the restore point, nothing between"
        }
    };
    told("psql", database, failure).state(state)
}

/// Passes the text on, and its end only when `check` says that it is whole.
fn pass(
    mut text: PipeReader,
    mut psql: PipeWriter,
    wanted: &[(String, RowCount)],
    writer: Writer,
    check: impl FnOnce() -> Result<()>,
) -> Result<Passed> {
    let mut held = begun(&mut text)?;
    if writer == Writer::Stranger && !held.is_empty() && !is_framed(&held) {
        return Err(not_framed());
    }
    let mut taken = psql.write_all(format!("begin;\n{EMPTY}").as_bytes()).is_ok();
    let mut chunk = vec![0; CHUNK];
    while taken {
        let length = match text.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::failed("cannot read the text").source(error)),
        };
        held.extend_from_slice(&chunk[..length]);
        let ready = held.len().saturating_sub(HELD_BACK);
        taken = psql.write_all(&held[..ready]).is_ok();
        held.drain(..ready);
    }
    // Nobody reads the rest: the programs before us shall notice.
    drop(text);
    let checked = check();
    if !taken {
        return Ok(Passed::NotTaken);
    }
    checked?;
    let Some(at) = commit_in(&held) else {
        return Err(Error::failed("the archive was not written out whole"));
    };
    let (rest, end) = held.split_at(at);
    let last = [rest, b"\n", comparison(wanted).as_bytes(), end].concat();
    Ok(if psql.write_all(&last).is_ok() { Passed::Whole } else { Passed::NotTaken })
}

/// Reads as much of the text as its head may have, where the frame begins.
fn begun(text: &mut impl Read) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let read = text.take(HEAD).read_to_end(&mut head);
    read.map(|_| head).map_err(|error| Error::failed("cannot read the text").source(error))
}

/// Returns whether the first line that is no comment begins the frame. What stands before it is
/// written by the client alone, without a word of the archive.
fn is_framed(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("--"));
    lines.next().is_some_and(|line| line.starts_with("\\restrict "))
}

fn not_framed() -> Error {
    let text =
        "an imported restore point is not restored in place by a client of before August 2025";
    Error::new(Outcome::Refused, text)
        .detail("what the archive says could run commands on this machine (CVE-2025-8714)")
        .hint(
            "Upgrade the PostgreSQL client programs, or grant the role CREATEDB; if you trust who made \
             the restore point, add `--force-foreign`.",
        )
}

/// Finds the `COMMIT` that ends the text: after it there are only comments and the end of a frame.
fn commit_in(held: &[u8]) -> Option<usize> {
    let at = held.windows(COMMIT.len()).rposition(|window| window == COMMIT)?;
    let after = String::from_utf8_lossy(&held[at + COMMIT.len()..]).into_owned();
    let harmless =
        |line: &str| line.is_empty() || line.starts_with("--") || line.starts_with("\\unrestrict ");
    (after.contains(TRAILER) && after.lines().all(harmless)).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_framed_by_its_first_line_only() {
        let head = "--\n-- PostgreSQL database dump\n--\n\n";
        assert!(is_framed(format!("{head}\\restrict abc\n\nBEGIN;\n").as_bytes()));
        for open in [
            format!("{head}-- Dumped from database version 15.8\nBEGIN;\n\\restrict abc\n"),
            format!("{head}\\! id\n\\restrict abc\n"),
            format!("{head}\\restrict"),
            head.to_owned(),
            String::new(),
        ] {
            assert!(!is_framed(open.as_bytes()), "{open}");
        }
    }

    #[test]
    fn only_the_commit_at_the_end_ends_the_text() {
        let end = "\n\nCOMMIT;\n\n-- Completed\n\n--\n-- PostgreSQL database dump complete\n--\n\n\
                   \\unrestrict abc\n\n";
        let text = format!("x\nCOMMIT;\ny{end}");
        assert_eq!(commit_in(text.as_bytes()), Some(text.len() - end.len() + 1));
        for broken in [
            "x\nCOMMIT;\ny",
            "\nCOMMIT;\n",
            "\nCOMMIT;\n\nselect 1;\n-- PostgreSQL database dump complete\n",
            "-- PostgreSQL database dump complete\n",
        ] {
            assert_eq!(commit_in(broken.as_bytes()), None, "{broken}");
        }
    }
}

//! An archive as one stream in the client's custom format: dumped through us, never on the disk here.
//!
//! What the caller does with the stream is its own business (it encrypts it). The client that reads
//! an archive back gets the very same bytes at the same time through a second pipe, so that the proof
//! costs little beyond the dump.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Database;
use super::clients::Client;
use super::dump::{DumpOptions, Dumped, in_snapshot, told, told_of};
use super::facts;
use super::proof;
use super::restore::{Growth, Manner, conninfo_value};
use crate::error::{Context, Error, Result};
use crate::progress::Progress;
use crate::system::process::{Call, Failure, Input};

/// Bytes that pass at once.
const CHUNK: usize = 256 << 10;

/// What became of a stream on its way to its readers.
enum Passed {
    /// All of it arrived.
    Whole,
    /// The program that was to read it closed its end before.
    NotTaken,
}

/// Dumps a database to `output`, and reads the archive back at the same time.
pub fn dump(
    database: &Database,
    options: &DumpOptions,
    output: &mut (dyn Write + Send),
    progress: &dyn Progress,
) -> Result<Dumped> {
    in_snapshot(database, options.lock_wait, |snapshot, _| {
        run(database, options, snapshot, output, progress)
    })
}

fn run(
    database: &Database,
    options: &DumpOptions,
    snapshot: &str,
    output: &mut (dyn Write + Send),
    progress: &dyn Progress,
) -> Result<()> {
    let piped = || "cannot make a pipe".to_owned();
    let (from_dump, dump_end) = io::pipe().context(piped)?;
    let (proof_end, to_proof) = io::pipe().context(piped)?;
    let call = database
        .call(&options.client.program("pg_dump"))
        .args(["--format=custom", "--no-password"])
        .arg(format!("--snapshot={snapshot}"))
        .arg(format!("--lock-wait-timeout={}", options.lock_wait.as_millis().max(1)))
        .arg(options.compression.option())
        .output(file(dump_end));
    let read_back = Call::new(options.client.program("pg_restore"))
        .args(["--format=custom", "--file=/dev/null"])
        .input(Input::File(file(proof_end)));
    let count = AtomicU64::new(0);
    let what = format!("dumping {}", database.name());
    let (dumped, passed, proven) = std::thread::scope(|scope| {
        let proven = scope.spawn(|| read_back.run());
        let passed = scope.spawn(|| tee(from_dump, output, to_proof, &count));
        let dumped = call.run_watched(|line| {
            if line.is_none() {
                progress.alive(&what, count.load(Ordering::Relaxed), options.expected);
            }
        });
        (dumped, passed.join(), proven.join())
    });
    let ended = || Error::failed("a thread of the dump ended unexpectedly");
    let (passed, proven) = (passed.map_err(|_| ended())?, proven.map_err(|_| ended())?);
    let failed = |program: &str, failure: &Failure| Err(told(program, database, failure));
    // The end that failed first is the cause; the programs beside it only saw a pipe that closed.
    match (passed.context(|| "cannot write the archive".into())?, dumped, proven) {
        (Passed::NotTaken, _, Err(failure)) => failed("pg_restore", &failure),
        (Passed::Whole | Passed::NotTaken, Err(failure), _) => failed("pg_dump", &failure),
        (Passed::Whole, Ok(_), Err(failure)) => failed("pg_restore", &failure),
        (Passed::Whole, Ok(_), Ok(_)) => Ok(()),
        (Passed::NotTaken, Ok(_), Ok(_)) => {
            Err(Error::failed("pg_restore did not read the archive to its end"))
        }
    }
}

/// Makes an end of a pipe what a child can be given.
pub(super) fn file(end: impl Into<OwnedFd>) -> File {
    File::from(end.into())
}

/// Passes everything on to both; only a failure of `output` is an error of ours.
fn tee(
    mut from: PipeReader,
    output: &mut (dyn Write + Send),
    mut proof: PipeWriter,
    count: &AtomicU64,
) -> io::Result<Passed> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = match from.read(&mut chunk) {
            Ok(0) => return Ok(Passed::Whole),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if proof.write_all(&chunk[..length]).is_err() {
            return Ok(Passed::NotTaken);
        }
        output.write_all(&chunk[..length])?;
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Reads a stream to its end, whether or not the program takes all of it: what comes last may say
/// that the whole is damaged.
pub(super) fn passed_to(source: &mut (dyn Read + Send), to: PipeWriter) -> io::Result<()> {
    let mut to = Some(to);
    let mut chunk = vec![0; CHUNK];
    loop {
        match source.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                to = to.take().filter(|mut to| to.write_all(&chunk[..length]).is_ok());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Runs a program that reads the stream from its standard input.
fn run_fed(
    call: Call,
    program: &str,
    source: &mut (dyn Read + Send),
    described: &str,
    watch: impl FnMut(Option<&str>),
) -> Result<Vec<u8>> {
    let (end, to) = io::pipe().context(|| "cannot make a pipe".into())?;
    let call = call.input(Input::File(file(end)));
    let (fed, ended) = std::thread::scope(|scope| {
        let fed = scope.spawn(|| passed_to(source, to));
        let ended = call.run_watched(watch);
        (fed.join(), ended)
    });
    let fed = fed.map_err(|_| Error::failed("a thread ended unexpectedly"))?;
    // A stream that broke off is the cause of whatever the program then said.
    fed.context(|| "cannot read the archive".into())?;
    ended.map(|output| output.stdout).map_err(|failure| told_of(program, described, &failure))
}

/// Reads every byte of a stream back through the client, which writes nothing anywhere.
pub fn read_back(client: &Client, source: &mut (dyn Read + Send), described: &str) -> Result<()> {
    let call =
        Call::new(client.program("pg_restore")).args(["--format=custom", "--file=/dev/null"]);
    run_fed(call, "pg_restore", source, described, |_| {}).map(drop)
}

/// Compares the table of contents of a stream with the catalogue of the dumped snapshot.
pub fn check_contents(
    client: &Client,
    source: &mut (dyn Read + Send),
    dumped: &Dumped,
    database: &Database,
) -> Result<()> {
    proof::check_contents(&listed(client, source, &database.described())?, dumped, database)
}

/// Returns the table of contents of a stream, as the client lists it.
pub(super) fn listed(
    client: &Client,
    source: &mut (dyn Read + Send),
    described: &str,
) -> Result<String> {
    let call = Call::new(client.program("pg_restore")).args(["--format=custom", "--list"]);
    let listed = run_fed(call, "pg_restore", source, described, |_| {})?;
    Ok(String::from_utf8_lossy(&listed).into_owned())
}

/// Loads a stream into an empty database; the first error ends it.
///
/// `expected` is the size that the database will have, in bytes, for the progress; what takes longer
/// than `limit` is ended.
pub fn load(
    database: &Database,
    client: &Client,
    source: &mut (dyn Read + Send),
    manner: Manner,
    expected: u64,
    limit: Option<Duration>,
    progress: &dyn Progress,
) -> Result<()> {
    let mut session = database.connect()?;
    facts::unlimited(&mut session, facts::LOCK_WAIT)?;
    let empty = facts::facts(&mut session)?.size;
    let mut growth = Growth::new(session, empty);
    let call = database
        .call(&client.program("pg_restore"))
        .args(["--format=custom", "--exit-on-error", "--no-password"])
        .args(manner.options())
        .arg(format!("--dbname=dbname={}", conninfo_value(database.dbname())));
    let call = limit.into_iter().fold(call, Call::deadline);
    let what = format!("loading {}", database.name());
    run_fed(call, "pg_restore", source, &database.described(), |line| {
        if line.is_none() {
            progress.alive(&what, growth.bytes(), Some(expected));
        }
    })
    .map(drop)
}

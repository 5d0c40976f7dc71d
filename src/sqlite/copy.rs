//! Copies of a database file: made page by page while others work, and opened to be read only.

use std::path::Path;

use rusqlite::OpenFlags;
use rusqlite::backup::{Backup, StepResult};

use super::{Connection, Fault, File};
use crate::error::{Context, Error, Result};
use crate::system::clock::{self, Deadline};
use crate::system::fs;
use crate::system::impersonate::with_rights_of;
use crate::system::signals;

/// Pages that are copied at once.
const PAGES: i32 = 1024;

/// How long somebody may hold the file without a page being copied.
pub(super) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Begins a transaction that reads, and reads: from there on it is one instant.
pub(super) const BEGIN: &str = "begin; select count(*) from sqlite_schema";

/// How often a copy begins anew because somebody wrote, before writers are kept out.
const RESTARTS: u32 = 3;

impl File {
    /// Copies the database into a new file, private to us, synced by whoever needs that; `copied` is
    /// told bytes done and in all.
    ///
    /// The copy is of one instant, with what its write-ahead log has. Others may read and write
    /// meanwhile; where that makes the copy begin anew too often, writers wait for its end.
    pub fn copy_to(&self, target: &Path, mut copied: impl FnMut(u64, u64) + Send) -> Result<()> {
        let what = || format!("cannot copy the {} to {}", self.described(), target.display());
        let mut source = self.open()?;
        let wal =
            source.look().map_err(|fault| self.failed("look at", fault))?.journal_mode == "wal";
        drop(fs::create_new(target, 0o600).context(what)?);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || -> std::result::Result<_, rusqlite::Error> {
            let copy = rusqlite::Connection::open_with_flags(target, flags)?;
            // Synced once, as a whole, by whoever publishes it.
            copy.pragma_update(None, "synchronous", "off")?;
            // Pages are written with the rights of the owner of the original, who may make no journal
            // in our directory; a copy that breaks off is thrown away.
            copy.pragma_update(None, "journal_mode", "memory")?;
            Ok(copy)
        };
        let mut copy = open().context(what)?;
        if wal {
            // A reader of the log keeps nobody from writing.
            source.patiently(PATIENCE, BEGIN).map_err(|fault| self.failed("read", fault))?;
        }
        let mut restarts = 0;
        loop {
            let rights = source.rights();
            let (from, to) = (source.inner(), &mut copy);
            let steps = &mut copied;
            let may_restart = !wal && restarts < RESTARTS;
            let ended =
                with_rights_of(rights.as_ref(), move || Ok(pages(from, to, steps, may_restart)))?;
            match ended.map_err(|fault| self.failed("copy", fault))? {
                Ended::Whole => break,
                Ended::Disturbed => {
                    restarts += 1;
                    if restarts == RESTARTS {
                        let begun = source.patiently(PATIENCE, BEGIN);
                        begun.map_err(|fault| self.failed("read", fault))?;
                    }
                }
            }
        }
        copy.close().map_err(|(_, error)| error).context(what)
    }

    /// Opens a copy that nobody writes to: nothing is made beside it, and nothing in it changes.
    pub fn open_unchanging(&self) -> Result<Connection> {
        let encoded: String = self
            .path()
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .map(|byte| match byte {
                b'/' | b'.' | b'-' | b'_' => char::from(*byte).to_string(),
                byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
                byte => format!("%{byte:02x}"),
            })
            .collect();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI;
        let inner =
            rusqlite::Connection::open_with_flags(format!("file:{encoded}?immutable=1"), flags)
                .map_err(|error| self.failed("open", error.into()))?;
        Ok(Connection::around(inner))
    }
}

/// How an attempt to copy ended.
enum Ended {
    Whole,
    /// Somebody wrote, so that it would begin anew.
    Disturbed,
}

fn pages(
    from: &mut rusqlite::Connection,
    to: &mut rusqlite::Connection,
    copied: &mut (impl FnMut(u64, u64) + Send),
    may_restart: bool,
) -> std::result::Result<Ended, Fault> {
    let size: u64 =
        from.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?.unsigned_abs();
    let backup = Backup::new(from, to)?;
    let mut deadline = Deadline::after(PATIENCE);
    let mut left = i32::MAX;
    loop {
        if let Some(signal) = signals::received() {
            return Err(Fault::ours(format!("ended because we received {signal}")));
        }
        match backup.step(PAGES)? {
            StepResult::Done => return Ok(Ended::Whole),
            StepResult::More => {
                let progress = backup.progress();
                if progress.remaining > left && may_restart {
                    return Ok(Ended::Disturbed);
                }
                left = progress.remaining;
                deadline = Deadline::after(PATIENCE);
                let bytes = |pages: i32| u64::from(pages.unsigned_abs()).saturating_mul(size);
                let all = bytes(progress.pagecount);
                copied(all.saturating_sub(bytes(progress.remaining)), all);
            }
            _ if deadline.passed() => {
                return Err(Fault {
                    code: "SQLITE_BUSY".into(),
                    ..Fault::ours("database is locked")
                });
            }
            _ => clock::pause(std::time::Duration::from_millis(20)),
        }
    }
}

impl Connection {
    /// Looks for damage in a copy; what is wrong is an error.
    pub fn prove(&mut self, what: &str) -> Result<()> {
        let wrong = self.integrity_check();
        let damaged = |text: &str| Error::failed(format!("{what} is damaged")).detail(text);
        match wrong {
            Ok(lines) if lines.is_empty() => Ok(()),
            Ok(lines) => Err(damaged(&lines.join("; "))),
            Err(fault) => Err(damaged(&fault.to_string())),
        }
    }
}

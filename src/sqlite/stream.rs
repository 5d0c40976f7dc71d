//! A database file as a stream, for those who may not leave a copy of it in clear anywhere.
//!
//! What is handed over is what a copy through the backup interface would hold: of one instant, with what
//! is in the write-ahead log. It is read page by page through SQLite, within one transaction that reads.

use std::io::Write;

use super::copy::{BEGIN, PATIENCE};
use super::{Fault, File};
use crate::error::{Context as _, Error, Result};
use crate::system::impersonate::with_rights_of;
use crate::system::signals;

/// What was handed over, and proven before at the same instant.
#[derive(Debug)]
pub struct Streamed {
    /// Rows of every table, in the order of their names.
    pub rows: Vec<(String, u64)>,
    /// Bytes that a file with it has.
    pub bytes: u64,
}

impl File {
    /// Looks for damage, counts the rows and writes all pages to `to`; `copied` is told bytes done and
    /// in all.
    ///
    /// Others may read meanwhile. Without a write-ahead log whoever writes waits until this ends.
    pub fn stream_to(
        &self,
        to: &mut (dyn Write + Send),
        mut copied: impl FnMut(u64, u64) + Send,
    ) -> Result<Streamed> {
        let failed = |fault: Fault| self.failed("read", fault);
        let mut source = self.open()?;
        source.patiently(PATIENCE, BEGIN).map_err(failed)?;
        source.prove(&format!("the {}", self.described()))?;
        let rows = source.row_counts().map_err(failed)?;
        let all = source.look().map_err(failed)?.bytes;
        let (rights, copied) = (source.rights(), &mut copied);
        let connection = source.inner();
        let done = with_rights_of(rights.as_ref(), move || Ok(pages(connection, to, all, copied)))?;
        let bytes = match done {
            Ok(bytes) => bytes,
            Err(Ended::Reading(fault)) => return Err(failed(fault)),
            Err(Ended::Writing(error)) => {
                return Err(error).context(|| format!("cannot copy the {}", self.described()));
            }
        };
        if bytes != all {
            let text = format!("the copy of the {} is not whole", self.described());
            return Err(Error::failed(text).detail(format!("{bytes} of {all} bytes")));
        }
        source.run("rollback").map_err(failed)?;
        Ok(Streamed { rows, bytes })
    }
}

/// Why not all pages were handed over.
enum Ended {
    Reading(Fault),
    Writing(std::io::Error),
}

impl From<rusqlite::Error> for Ended {
    fn from(error: rusqlite::Error) -> Self {
        Self::Reading(error.into())
    }
}

fn pages(
    from: &rusqlite::Connection,
    to: &mut dyn Write,
    all: u64,
    copied: &mut impl FnMut(u64, u64),
) -> std::result::Result<u64, Ended> {
    let mut statement = from.prepare("select data from sqlite_dbpage('main') order by pgno")?;
    let mut rows = statement.raw_query();
    let mut done = 0;
    while let Some(row) = rows.next()? {
        if let Some(signal) = signals::received() {
            let fault = Fault::ours(format!("ended because we received {signal}"));
            return Err(Ended::Reading(fault));
        }
        let page = row
            .get_ref(0)?
            .as_blob()
            .map_err(|error| Ended::Reading(Fault::ours(error.to_string())))?;
        to.write_all(page).map_err(Ended::Writing)?;
        done += page.len() as u64;
        copied(done, all);
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_holds_what_is_in_the_log_and_opens_as_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("main.db");
        let writer = rusqlite::Connection::open(&path).unwrap();
        writer
            .execute_batch(
                "pragma journal_mode = wal; create table t (i integer, text text);
                 with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000)
                 insert into t select i, hex(randomblob(100)) from n",
            )
            .unwrap();
        let mut bytes = Vec::new();
        let streamed = File::new(path, None).stream_to(&mut bytes, |_, _| {}).unwrap();
        assert_eq!(streamed.rows, [("t".to_owned(), 3000)]);
        assert_eq!(streamed.bytes, bytes.len() as u64);
        let copy = dir.path().join("copy.db");
        std::fs::write(&copy, bytes).unwrap();
        let mut session = File::new(copy, None).open_unchanging().unwrap();
        session.prove("the copy").unwrap();
        assert_eq!(session.row_counts().unwrap(), [("t".to_owned(), 3000)]);
    }
}

//! A restore point as one stream: every byte is compared with its sum while it is written.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use tar::{Builder, EntryType, Header};

use super::{FORMAT, HEAD, Hashed, Head};
use crate::error::{Context, Error, Result};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::restore_points::manifest::{Kind, MANIFEST, SUMS, read_manifest};
use crate::restore_points::store::{RestorePoint, Store};
use crate::restore_points::verify::{self, Unsound};
use crate::system::{clock, fs};

/// Bytes that are read from a file, and written to the stream, at once.
const CHUNK: usize = 256 << 10;

impl Store {
    /// Writes a restore point to a stream. A failure leaves a stream that no import accepts.
    ///
    /// The point is held while it is read: no prune removes it, and no upgrade waits for it.
    pub fn export(
        &self,
        point: &RestorePoint,
        into: &mut dyn Write,
        progress: &dyn Progress,
    ) -> Result<()> {
        let manifest = point.manifest();
        if manifest.kind != Kind::Dump {
            let text =
                format!("restore point {} is of the kind {}", point.id(), manifest.kind.word());
            return Err(Error::new(Outcome::Refused, text)
                .detail("it has no archive that could be carried elsewhere")
                .state("nothing was changed"));
        }
        let _held = point.hold()?;
        let unsound = |why: Unsound| {
            why.of(point).state("what was written of the export is no restore point")
        };
        verify::check_sizes(point.dir(), manifest).map_err(unsound)?;
        let sums = verify::read_sums(point.dir(), manifest).map_err(unsound)?;
        let text = read_manifest(point.dir())
            .context(|| format!("cannot read the manifest of {}", point.id()))?;
        let head = Head {
            format: FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            id: point.id().to_owned(),
            manifest: String::from_utf8_lossy(&text).into_owned(),
            pin: self.entry(point.id())?.pin,
        };
        let head = serde_json::to_vec(&head).context(|| "cannot write the export".into())?;
        let mut stream = Stream {
            builder: Builder::new(BufWriter::with_capacity(CHUNK, into)),
            time: clock::parse_rfc3339(&manifest.created).map_or(0, clock::unix_seconds),
            what: format!("exporting {}", point.id()),
            done: 0,
            total: manifest.bytes,
            progress,
        };
        let inside = |name: &str| format!("{}/{name}", point.id());
        stream.bytes(HEAD, &head)?;
        stream.file(&inside(SUMS), &point.dir().join(SUMS), &manifest.sums_sha256)?;
        for (name, sum) in &sums.0 {
            stream.file(&inside(name), &point.dir().join(name), sum)?;
        }
        stream.bytes(&inside(MANIFEST), &text)?;
        let mut written = stream.builder.into_inner().context(cannot_write)?;
        written.flush().context(cannot_write)
    }
}

fn cannot_write() -> String {
    "cannot write the export".into()
}

/// The archive that is being written.
struct Stream<'a> {
    builder: Builder<BufWriter<&'a mut dyn Write>>,
    /// Time of all members, in seconds since 1970.
    time: u64,
    what: String,
    done: u64,
    total: u64,
    progress: &'a dyn Progress,
}

impl Stream<'_> {
    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.member(name, bytes.len() as u64, bytes)
    }

    fn member(&mut self, name: &str, size: u64, data: impl Read) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.time);
        self.builder.append_data(&mut header, name, data).context(cannot_write)
    }

    /// Writes one file; what does not have its sum any more ends the export.
    fn file(&mut self, name: &str, path: &Path, expected: &str) -> Result<()> {
        let attempt = || format!("cannot read {}", path.display());
        let file: File = fs::open_file(path).context(attempt)?;
        let size = file.metadata().context(attempt)?.len();
        let (what, total, progress) = (self.what.clone(), self.total, self.progress);
        let mut done = self.done;
        let mut read = |bytes| {
            done += bytes;
            progress.alive(&what, done, Some(total));
        };
        let mut hashed = Hashed::new(BufReader::with_capacity(CHUNK, file.take(size)), &mut read);
        self.member(name, size, &mut hashed)?;
        let (bytes, sum) = hashed.sum();
        self.done += bytes;
        if bytes == size && sum == expected {
            return Ok(());
        }
        Err(Error::failed(format!("{} has changed since it was proven", path.display()))
            .state("what was written of the export is no restore point")
            .hint("List the others with `openwatch backup list`."))
    }
}

//! The installed client programs, and which of them may dump and restore a server.
//!
//! The client is of the server's major wherever one is installed: an older one refuses to dump, and
//! what a newer one writes can often neither be listed by the server's own client nor loaded into
//! the server (`pg_restore` 17 and newer set `transaction_timeout`, unknown before 17; measured).

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::system::process::{self, Call};
use crate::system::signals;

/// Where client programs are looked for.
#[derive(Clone, Debug, Default)]
pub enum Clients {
    /// The per-major directories of Debian and of the PostgreSQL project, then `PATH`.
    #[default]
    Installed,
    /// These directories only.
    In(Vec<PathBuf>),
}

/// The client programs of one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The directory that holds `pg_dump`, `pg_restore` and `psql`.
    pub dir: PathBuf,
    /// Version as the client says it, such as `15.8`.
    pub version: String,
    /// Major version.
    pub major: u32,
}

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// zstd at its fastest ordinary level.
    Zstd,
    /// lz4, faster still and three times as large.
    Lz4,
    /// gzip at its fastest level: every client was built with it.
    Gzip,
    /// None: whoever asks for it compresses the members himself.
    Plain,
}

impl Compression {
    /// Returns the option that asks a client for it.
    pub(super) fn option(self) -> &'static str {
        match self {
            Self::Zstd => "--compress=zstd:1",
            Self::Lz4 => "--compress=lz4",
            Self::Gzip => "--compress=1",
            Self::Plain => "--compress=0",
        }
    }

    /// Returns its name, for the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd:1",
            Self::Lz4 => "lz4",
            Self::Gzip => "gzip:1",
            Self::Plain => "none",
        }
    }
}

impl Client {
    /// Returns the path of one of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Asks a directory's `pg_dump` for its version.
    fn of(dir: &Path) -> Option<Self> {
        let program = dir.join("pg_dump");
        if !program.is_file() || !dir.join("pg_restore").is_file() {
            return None;
        }
        let said = Call::new(&program).arg("--version").run().ok()?.text();
        let version = said.split_whitespace().find(|w| w.starts_with(|c: char| c.is_ascii_digit()));
        let version = version?.to_owned();
        Some(Self { dir: dir.to_owned(), major: major_of(&version)?, version })
    }

    /// Finds the best compression that this client was built with, by trying it.
    ///
    /// Major and help text do not tell: from 16 on `--help` names zstd in every build, and builds
    /// without it fail when the dump starts.
    pub fn compression(&self) -> Compression {
        let built_in = |wanted: &Compression| self.major >= 16 && self.was_built_with(*wanted);
        let wanted = [Compression::Zstd, Compression::Lz4];
        wanted.into_iter().find(built_in).unwrap_or(Compression::Gzip)
    }

    /// The trial fails either way, for want of a server; a build without it says so first.
    fn was_built_with(&self, compression: Compression) -> bool {
        let trial = Call::new(self.program("pg_dump"))
            .args(["--format=custom", "--file=/dev/null", "--no-password"])
            .args([compression.option(), "--host=/nonexistent"])
            .run();
        let refusals = ["does not support compression", "unrecognized compression"];
        !trial.is_err_and(|failure| refusals.iter().any(|text| failure.stderr().contains(text)))
    }
}

impl Clients {
    /// Returns all clients that run, each directory once.
    pub fn all(&self) -> Vec<Client> {
        let mut found: Vec<Client> = Vec::new();
        for dir in self.dirs() {
            // Debian's unversioned names are a wrapper that picks the version of some cluster.
            let real = dir.join("pg_dump").canonicalize();
            if real.is_ok_and(|path| path.ends_with("pg_wrapper")) {
                continue;
            }
            let known = found.iter().any(|client| client.dir == dir);
            if let Some(client) = (!known).then(|| Client::of(&dir)).flatten() {
                found.push(client);
            }
        }
        found
    }

    fn dirs(&self) -> Vec<PathBuf> {
        match self {
            Self::In(dirs) => dirs.clone(),
            Self::Installed => {
                let mut dirs = Vec::new();
                for (parent, prefix) in [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")] {
                    let Ok(entries) = std::fs::read_dir(parent) else { continue };
                    dirs.extend(entries.flatten().filter_map(|entry| {
                        let name = entry.file_name().into_string().ok()?;
                        let major = name.strip_prefix(prefix)?;
                        major.parse::<u32>().ok()?;
                        Some(entry.path().join("bin"))
                    }));
                }
                dirs.sort();
                let on_path = process::find("pg_dump");
                dirs.extend(on_path.and_then(|path| path.parent().map(Path::to_owned)));
                dirs
            }
        }
    }

    /// Chooses the client that can read an archive and load it into a server of this major.
    pub fn choose_for_restore(&self, server_major: u32, archive_client: &str) -> Result<Client> {
        choose_for_restore(&self.all(), server_major, archive_client)
    }

    /// Says why none of the installed clients can load an archive into a server of the version that
    /// it was dumped from; nothing where one can.
    pub fn unreadable(&self, server_version: &str, archive_client: &str) -> Option<Error> {
        let server = major_of(server_version)?;
        self.choose_for_restore(server, archive_client).err()
    }

    /// Chooses the client for a server of this major; a warning comes with one that is newer.
    pub fn choose(&self, server_major: u32) -> Result<(Client, Option<String>)> {
        choose(&self.all(), server_major).map_err(|error| match signals::received() {
            // Asked for their versions, they end with us.
            Some(signal) => Error::failed(format!("stopped because we received {signal}")),
            None => error,
        })
    }
}

fn choose(clients: &[Client], server_major: u32) -> Result<(Client, Option<String>)> {
    let fitting = clients.iter().filter(|client| client.major >= server_major);
    match fitting.min_by_key(|client| client.major) {
        Some(client) if client.major == server_major => Ok((client.clone(), None)),
        Some(client) if !loads_into(client.major, server_major) => {
            Err(nothing_loads(client, server_major))
        }
        Some(client) => Ok((
            client.clone(),
            Some(format!(
                "pg_dump {} is newer than the PostgreSQL {server_major} server: its archives may \
                 not load into this server; install postgresql-client-{server_major}",
                client.version
            )),
        )),
        None => Err(no_client(clients, server_major)),
    }
}

/// The first major whose programs set `transaction_timeout` while they load, which no server before
/// knows.
const SETS_MORE: u32 = 17;

/// Returns whether a client of this major loads anything into a server.
const fn loads_into(client_major: u32, server_major: u32) -> bool {
    client_major < SETS_MORE || server_major >= SETS_MORE
}

/// What nobody can load again is no restore point, however well it was read back.
fn nothing_loads(client: &Client, server_major: u32) -> Error {
    let text = format!(
        "pg_dump {} writes archives that nothing loads into a PostgreSQL {server_major} server",
        client.version
    );
    Error::new(Outcome::Refused, text)
        .detail(format!(
            "only clients from {SETS_MORE} on read them, and these set what a server before \
             {SETS_MORE} does not know; found no older client"
        ))
        .hint(install(server_major))
}

/// A client reads what its own or an older major wrote.
fn choose_for_restore(
    clients: &[Client],
    server_major: u32,
    archive_client: &str,
) -> Result<Client> {
    let writer = major_of(archive_client).unwrap_or(server_major);
    let fitting = clients
        .iter()
        .filter(|client| client.major >= writer && loads_into(client.major, server_major));
    fitting.min_by_key(|client| client.major.abs_diff(server_major)).cloned().ok_or_else(|| {
        let found: Vec<&str> = clients.iter().map(|client| client.version.as_str()).collect();
        let text = format!(
            "no installed pg_restore can load an archive of pg_dump {archive_client} into a \
             PostgreSQL {server_major} server"
        );
        Error::new(Outcome::Refused, text)
            .detail(format!(
                "found: {}",
                if found.is_empty() { "none".into() } else { found.join(", ") }
            ))
            .state("nothing was changed")
            .hint(match loads_into(writer, server_major) {
                true => format!("Install postgresql-client-{}.", writer.max(server_major)),
                // No client that reads it loads into this server.
                false => format!(
                    "Restore it into a PostgreSQL {SETS_MORE} server or a newer one; for this one take \
                     another with postgresql-client-{server_major}."
                ),
            })
    })
}

/// Returns the major version, such as 15 of `15.8`.
pub fn major_of(version: &str) -> Option<u32> {
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn no_client(clients: &[Client], server_major: u32) -> Error {
    let error = match clients.iter().max_by_key(|client| client.major) {
        Some(client) => Error::new(
            Outcome::Refused,
            format!("pg_dump {} cannot dump a PostgreSQL {server_major} server", client.version),
        )
        .detail(format!("found {}, no newer one", client.program("pg_dump").display())),
        None => Error::new(Outcome::Refused, "pg_dump and pg_restore are not installed")
            .detail("looked in /usr/lib/postgresql/*/bin, /usr/pgsql-*/bin and PATH"),
    };
    error.hint(install(server_major))
}

fn install(major: u32) -> String {
    format!("Install postgresql-client-{major} (Debian) or postgresql{major} (RPM).")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(version: &str) -> Client {
        let major = version.split('.').next().unwrap().parse().unwrap();
        Client {
            dir: format!("/usr/lib/postgresql/{major}/bin").into(),
            version: version.into(),
            major,
        }
    }

    /// Row 14.
    #[test]
    fn the_client_of_the_servers_major_is_preferred() {
        let all = [client("17.2"), client("15.8"), client("16.4")];
        let (chosen, warning) = choose(&all, 16).unwrap();
        assert_eq!((chosen.major, warning), (16, None));
    }

    /// Row 26.
    #[test]
    fn the_nearest_newer_client_comes_with_a_warning() {
        let (chosen, warning) = choose(&[client("18.1"), client("16.2")], 15).unwrap();
        assert_eq!(chosen.major, 16);
        assert!(warning.unwrap().contains("install postgresql-client-15"));
        assert_eq!(choose(&[client("18.1")], 17).unwrap().0.major, 18);
    }

    /// Row 26.
    #[test]
    fn a_client_whose_archives_nothing_loads_into_this_server_makes_none() {
        let error = choose(&[client("18.1"), client("17.2")], 16).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Refused);
        assert!(error.message().contains("pg_dump 17.2 writes archives that nothing loads"));
        assert!(error.hint_line().unwrap().contains("postgresql-client-16"));
        let made = choose_for_restore(&[client("18.1")], 15, "18.1").unwrap_err();
        let hint = made.hint_line().unwrap();
        assert!(hint.contains("into a PostgreSQL 17 server"), "{hint}");
        assert!(hint.contains("postgresql-client-15"), "{hint}");
    }

    #[test]
    fn the_compression_that_a_client_was_built_with_is_asked_for() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("pg_dump");
        let with = |major: u32, refused: &[&str]| {
            let cases: Vec<String> = refused
                .iter()
                .map(|method| {
                    format!(
                        "case \"$*\" in *--compress={method}*) echo 'pg_dump: error: this build \
                         does not support compression with {method}' >&2; exit 1;; esac\n"
                    )
                })
                .collect();
            std::fs::write(&program, format!("#!/bin/sh\n{}exit 1\n", cases.concat())).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
            Client { dir: dir.path().to_owned(), version: format!("{major}.1"), major }
                .compression()
        };
        assert_eq!(with(17, &[]), Compression::Zstd);
        assert_eq!(with(17, &["zstd"]), Compression::Lz4);
        assert_eq!(with(17, &["zstd", "lz4"]), Compression::Gzip);
        assert_eq!(with(15, &[]), Compression::Gzip);
    }

    /// Row 14.
    #[test]
    fn an_older_client_is_refused_and_the_package_is_named() {
        let error = choose(&[client("14.11")], 16).unwrap_err();
        assert_eq!(error.message(), "pg_dump 14.11 cannot dump a PostgreSQL 16 server");
        assert_eq!(error.outcome(), Outcome::Refused);
        assert!(error.hint_line().unwrap().contains("postgresql-client-16"));
    }

    /// Row 26.
    #[test]
    fn a_client_that_sets_what_the_server_does_not_know_never_restores() {
        let all = [client("17.2"), client("16.4")];
        assert_eq!(choose_for_restore(&all, 15, "15.8").unwrap().major, 16);
        assert_eq!(choose_for_restore(&all, 17, "15.8").unwrap().major, 17);
        assert!(choose_for_restore(&all, 15, "17.2").is_err());
    }

    /// Row 26.
    #[test]
    fn an_archive_that_no_installed_client_reads_any_more_is_told() {
        let none = Clients::In(Vec::new());
        let told = none.unreadable("17.2", "17.2").unwrap();
        assert!(told.message().contains("archive of pg_dump 17.2"), "{told:?}");
        assert_eq!(told.hint_line(), Some("Install postgresql-client-17."));
        assert!(none.unreadable("", "17.2").is_none());
    }

    /// Row 14.
    #[test]
    fn no_client_at_all_is_refused_and_the_package_is_named() {
        let error = choose(&[], 15).unwrap_err();
        assert_eq!(error.message(), "pg_dump and pg_restore are not installed");
    }
}

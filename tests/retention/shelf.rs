//! Restore points made by hand: what the files say is all that counts.

use std::path::PathBuf;

use openwatch::restore_points::{Manifest, Status, Store};
use openwatch::system::clock::{rfc3339, stamp};
use openwatch::system::host;
use serde_json::{Value, json};

use crate::days_ago;

/// A directory with a store in it.
pub struct Shelf {
    pub dir: tempfile::TempDir,
}

impl Shelf {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn store(&self) -> Store {
        Store::open(&self.path(), "app").unwrap()
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("backups")
    }

    /// Puts a complete point there and returns its name.
    pub fn put(&self, sequence: u64, days: u64) -> String {
        self.put_as(sequence, days, &json!({}))
    }

    /// The same, with other words in its manifest.
    pub fn put_as(&self, sequence: u64, days: u64, differs: &Value) -> String {
        put(&self.store(), sequence, days, differs)
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// Puts a complete point with two files into a store.
pub fn put(store: &Store, sequence: u64, days: u64, differs: &Value) -> String {
    let id = format!("{}-1.{sequence}", stamp(days_ago(days)));
    let dir = store.dir().join(&id);
    std::fs::create_dir_all(dir.join("main")).unwrap();
    let contents = b"{\"rows\":[],\"extensions\":[]}".as_slice();
    std::fs::write(dir.join("main/toc.dat"), b"toc").unwrap();
    std::fs::write(dir.join("main.contents.json"), contents).unwrap();
    let sums =
        format!("{}  main.contents.json\n{}  main/toc.dat\n", sha256(contents), sha256(b"toc"));
    std::fs::write(dir.join("SHA256SUMS"), &sums).unwrap();
    let mut manifest = manifest(&id, sequence, days);
    manifest["app"] = store.app().into();
    manifest["bytes"] = (3 + contents.len() + sums.len()).into();
    manifest["sums_sha256"] = sha256(sums.as_bytes()).into();
    merge(&mut manifest, differs);
    std::fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
    id
}

/// A manifest of one database.
pub fn manifest(id: &str, sequence: u64, days: u64) -> Value {
    json!({
        "format": 1, "id": id, "sequence": sequence, "app": "app", "reason": "manual",
        "created": rfc3339(days_ago(days)), "duration_ms": 1, "from_version": null,
        "to_version": null, "host": host::name(), "program": "1", "proof": "read_back",
        "bytes": 3, "sums_sha256": "",
        "databases": [{
            "name": "main", "schema": {"head": null, "applied": []},
            "identity": {"system": null, "oid": 1, "dbname": "app"}, "server_version": "15.1",
            "client_version": "15.1", "compression": "gzip:1", "database_bytes": 1,
            "archive_bytes": 3, "files": 1, "tables": 0, "wal_position": null,
            "rows_written": null, "duration_ms": 1
        }],
    })
}

/// Sets single keys.
pub fn merge(manifest: &mut Value, differs: &Value) {
    for (key, value) in differs.as_object().unwrap() {
        manifest[key] = value.clone();
    }
}

/// The manifest as the program reads it.
pub fn read(manifest: Value) -> Option<Manifest> {
    Some(serde_json::from_value(manifest).unwrap())
}

pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}

pub fn status_of(store: &Store, id: &str) -> Status {
    store.list().unwrap().into_iter().find(|entry| entry.id == id).unwrap().status
}

//! An encrypted archive that was changed is refused before anything is touched, also by somebody who
//! made sums and manifest fit.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::keys::{SECRET, encrypting, identity_file, with_identity};
use crate::support::machine::{TestMachine, message};

fn archive(machine: &TestMachine) -> PathBuf {
    machine.backups().join(&machine.points()[0]).join("main.dump.age")
}

fn sum(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Makes sums and manifest agree with what the files are now.
fn make_it_fit(point: &Path) {
    let sums = fs::read_to_string(point.join("SHA256SUMS")).unwrap();
    let sums: String = sums
        .lines()
        .map(|line| {
            let name = line.split_once("  ").unwrap().1;
            format!("{}  {name}\n", sum(&fs::read(point.join(name)).unwrap()))
        })
        .collect();
    fs::write(point.join("SHA256SUMS"), &sums).unwrap();
    let path = point.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let names = sums.lines().map(|line| line.split_once("  ").unwrap().1);
    let size = |name: &str| fs::metadata(point.join(name)).unwrap().len();
    let bytes: u64 = names.chain(["SHA256SUMS"]).map(size).sum();
    manifest["bytes"] = bytes.into();
    manifest["sums_sha256"] = sum(sums.as_bytes()).into();
    fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
}

type Change = fn(&mut Vec<u8>);

/// What is done to the archive.
const CHANGES: [(&str, Change); 5] = [
    ("cut short by a byte", |bytes| bytes.truncate(bytes.len() - 1)),
    ("cut to half", |bytes| bytes.truncate(bytes.len() / 2)),
    ("flipped in the middle", |bytes| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    }),
    ("flipped in the header", |bytes| bytes[100] ^= 1),
    ("longer by a few bytes", |bytes| bytes.extend_from_slice(b"more")),
];

fn refused_everywhere(fits: bool) {
    let machine = encrypting().with_unit("openwatch.service", "inactive");
    machine.run(["backup", "create"]).success();
    let identity = identity_file(&machine, "identity", SECRET);
    let (archive, before) = (archive(&machine), machine.data());
    let point = archive.parent().unwrap();
    let whole: Vec<_> = ["main.dump.age", "SHA256SUMS", "manifest.json"]
        .map(|name| (point.join(name), fs::read(point.join(name)).unwrap()))
        .into();
    for (what, change) in CHANGES {
        let mut bytes = whole[0].1.clone();
        change(&mut bytes);
        fs::write(&archive, bytes).unwrap();
        if fits {
            make_it_fit(point);
        }
        for words in [&["restore", "latest", "--yes"][..], &["backup", "verify"]] {
            let ended = machine.run(with_identity(words, &identity)).code(1);
            let message = message(&ended);
            assert!(message.first.ends_with("is damaged"), "{what}: {message:#?}");
            assert!(message.detail.contains("main.dump.age"), "{what}: {message:#?}");
            // A restore looks; only a verification marks.
            let mark = point.join("damaged");
            assert_eq!(mark.exists(), words[0] == "backup", "{what}");
            let _ = fs::remove_file(mark);
        }
        for (path, bytes) in &whole {
            fs::write(path, bytes).unwrap();
        }
    }
    assert_eq!(machine.data(), before);
    machine.run(with_identity(&["restore", "latest", "--yes"], &identity)).success();
}

#[test]
fn a_changed_archive_is_refused_by_its_sum() {
    refused_everywhere(false);
}

#[test]
fn a_changed_archive_is_refused_by_its_encryption_where_the_sums_were_made_to_fit() {
    refused_everywhere(true);
}

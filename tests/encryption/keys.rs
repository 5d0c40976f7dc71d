//! Two key pairs of `age-keygen` that are used for nothing else, and a machine that encrypts to one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::support::machine::TestMachine;

/// The recipient of [`SECRET`].
pub const RECIPIENT: &str = "age15a70tkp8l3s39egzy03z5c75k84j6u9sj42snjuva6f8hrh555hqlkcd5m";

/// Opens what is encrypted to [`RECIPIENT`].
pub const SECRET: &str =
    "AGE-SECRET-KEY-1QFSRRUUYXFS0QU9SDK4M4ZL8V49KJ3Z7J9FSSR69AYM94SNL0J4SRX7DJ7";

/// The recipient of [`OTHER_SECRET`].
pub const OTHER_RECIPIENT: &str = "age1p8ux5sdrjwt69n4778ghzvs8qfwkrtknf52yn4szzzlz6we5xeaqglte0f";

/// Opens what is encrypted to somebody else.
pub const OTHER_SECRET: &str =
    "AGE-SECRET-KEY-1LPZY4CNE603ZD7W482CQNE896RVH9SC63848HZR67PFCAYHH53JQJPUC9W";

/// How every file begins that is encrypted.
pub const MAGIC: &[u8] = b"age-encryption.org/v1\n";

/// A machine that encrypts its restore points to [`RECIPIENT`].
pub fn encrypting() -> TestMachine {
    encrypts(TestMachine::new())
}

pub fn encrypts(machine: TestMachine) -> TestMachine {
    machine.operator(&format!("backup_recipients = [\"{RECIPIENT}\"]"))
}

/// Writes an identity file beside the machine, as `age-keygen` does.
pub fn identity_file(machine: &TestMachine, name: &str, secret: &str) -> PathBuf {
    let path = machine.dir().join(name);
    fs::write(&path, format!("# created: 2026-01-01T00:00:00Z\n{secret}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Runs words with `--identity FILE` behind them.
pub fn with_identity<'a>(words: &[&'a str], file: &'a Path) -> Vec<&'a str> {
    [words, &["--identity", file.to_str().unwrap()]].concat()
}

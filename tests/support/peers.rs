//! The tools that openwatch takes the place of, and real chains of migrations, where `ci/peers` put
//! them. What is missing is left out loudly; in CI it is an error.

use std::io::Write as _;
use std::path::PathBuf;

/// Returns a program of `ci/peers`, such as `sqlx`; `None` once it is said that the test is left out.
pub fn tool(name: &str) -> Option<PathBuf> {
    found(root().join("bin").join(name))
}

/// Returns another file of `ci/peers`, such as `axe/axe.min.js`.
pub fn file(name: &str) -> Option<PathBuf> {
    found(root().join(name))
}

/// Returns a program of the Python environment of `ci/peers`, such as `alembic`.
pub fn python(name: &str) -> Option<PathBuf> {
    found(root().join("python/bin").join(name))
}

/// Returns the directory of a chain of migrations, named without its version, such as `zksync_dal`.
pub fn corpus(name: &str) -> Option<PathBuf> {
    let dir = root().join("corpora");
    let of_name = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        file.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
    };
    let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
    let newest = entries.map(|entry| entry.path()).filter(of_name).max();
    found(newest.unwrap_or_else(|| dir.join(name)))
}

/// Says that a test is left out; `ci/test` counts the lines in the file that it names.
pub fn left_out(why: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test}: {why}");
    eprintln!("SKIPPED {test}: {why}");
    if let Some(file) = std::env::var_os("OPENWATCH_LEFT_OUT") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        file.write_all(format!("{test}: {why}\n").as_bytes()).unwrap();
    }
}

fn root() -> PathBuf {
    if let Some(dir) = std::env::var_os("OPENWATCH_PEERS") {
        return dir.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    cache.or_else(home).unwrap_or_default().join("openwatch-lab/peers")
}

fn found(path: PathBuf) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    left_out(&format!("{} is not there: run ci/peers", path.display()));
    None
}

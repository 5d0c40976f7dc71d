//! What the integration tests share: a private PostgreSQL, a throw-away root.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod archives;
pub mod browser;
pub mod machine;
pub mod network;
pub mod notes;
pub mod packages;
pub mod peers;
pub mod postgres;
pub mod proxy;

use std::fs;
use std::path::Path;

/// Copies a directory with all that is below it; what is there already is overwritten.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

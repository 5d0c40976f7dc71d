//! Database files that were replaced and stay under another name.

use std::path::PathBuf;

use super::File;
use super::holders::{holders, unseen};
use super::swap::sidecars;
use crate::error::Result;
use crate::system::fs;

/// A file that was replaced: name, number of processes that have it open (the most there is where that
/// cannot be seen), bytes with what belongs to it.
pub type KeptFile = (String, Option<u32>, u64);

impl File {
    /// Returns the path under which the present file is kept when it is replaced at this time.
    pub fn kept_path(&self, word: &str, stamp: &str) -> PathBuf {
        self.dir().join(format!("{}_{word}_{stamp}", self.file_name()))
    }

    /// Lists the files that were replaced, oldest first.
    pub fn kept(&self, word: &str) -> Vec<KeptFile> {
        let prefix = format!("{}_{word}_", self.file_name());
        let own =
            |name: &String| name.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('-'));
        self.names_in_dir()
            .into_iter()
            .filter(own)
            .map(|name| {
                let kept = self.at(self.dir().join(&name));
                // Who cannot be seen may be there: it is not removed under anybody.
                let open = match unseen(&kept) {
                    None => u32::try_from(holders(&kept).len()).ok(),
                    Some(_) => None,
                };
                let endings = [""].into_iter().chain(sidecars());
                let sizes = endings.filter_map(|end| kept.beside(end).symlink_metadata().ok());
                let bytes = sizes.map(|data| data.len()).sum();
                (name, open, bytes)
            })
            .collect()
    }

    /// Removes a file that was replaced, with what belongs to it.
    pub fn drop_kept(&self, name: &str) -> Result<()> {
        let kept = self.at(self.dir().join(name));
        // The file last: without it nobody knows whose the others are.
        for ending in sidecars().into_iter().chain([""]) {
            fs::remove_file(&kept.beside(ending))?;
        }
        Ok(())
    }
}

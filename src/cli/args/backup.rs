//! What can be typed behind `openwatch backup`.

use std::path::PathBuf;

use clap::Subcommand;

/// `openwatch backup`.
#[derive(Debug, Subcommand)]
pub enum Backup {
    /// Take a restore point now, with the services running
    Create {
        /// Take it below this directory
        #[arg(long, value_name = "DIR")]
        backup_dir: Option<PathBuf>,
    },
    /// List restore points, newest first, and what else lies there
    List,
    /// Show one restore point
    Show {
        /// Its id, or `latest`
        #[arg(default_value = "latest")]
        id: String,
    },
    /// Read every byte of a restore point back and compare it with its manifest
    Verify {
        /// Its id, or `latest`
        #[arg(default_value = "latest")]
        id: String,
        /// Also load it into a scratch database beside the real one, compare, and drop that again
        #[arg(long)]
        restore: bool,
    },
    /// Remove what retention no longer keeps, never the last good one; make the dumps that clones lack
    Prune {
        /// Show what would be removed and why the rest stays
        #[arg(long)]
        dry_run: bool,
    },
    /// Keep a restore point whatever its age, until a day or until it is unpinned
    Pin {
        /// Its id, or `latest`
        id: String,
        /// Last day on which it is kept, such as 2027-01-31 (UTC)
        #[arg(long, value_name = "DATE")]
        until: Option<String>,
        /// Why, for whoever asks later
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Let retention decide about a restore point again
    Unpin {
        /// Its id, or `latest`
        id: String,
    },
    /// Remove one restore point for good
    Remove {
        /// Its id
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Remove it even if it is the last good one, or an upgrade or the running version needs it to
        /// go back
        #[arg(long)]
        lose_way_back: bool,
    },
    /// Write a restore point to one file, to keep it elsewhere; each byte is compared with its sum
    Export {
        /// Its id, or `latest`
        id: String,
        /// A tar file that is not there yet, or `-` for standard output
        file: PathBuf,
    },
    /// Make a restore point of an exported file; it is there once each byte was compared with its sum
    Import {
        /// The file, or `-` for standard input
        file: PathBuf,
        /// Take a point of another application
        #[arg(long)]
        force_foreign: bool,
    },
}

impl Backup {
    /// Returns whether it may change the restore points of this machine, and does not itself leave
    /// what everybody may know of them.
    pub const fn changes(&self) -> bool {
        match self {
            // A prune listed everything, and leaves what it knows by itself.
            Self::List | Self::Show { .. } | Self::Export { .. } | Self::Prune { .. } => false,
            Self::Create { .. }
            | Self::Verify { .. }
            | Self::Pin { .. }
            | Self::Unpin { .. }
            | Self::Remove { .. }
            | Self::Import { .. } => true,
        }
    }
}

//! What can be typed behind `openwatch baseline`.

use clap::Subcommand;

/// `openwatch baseline`.
#[derive(Debug, Subcommand)]
pub enum Baseline {
    /// Record what is so now; nothing is changed, and no row of any table is kept
    Record {
        /// Its name; without one the present moment
        name: Option<String>,
    },
    /// Compare a baseline with what is so now, check by check; exit 11 when something was lost that
    /// nobody declared
    Compare {
        /// Its name; without one the newest
        name: Option<String>,
        /// Compare with this baseline instead of what is so now
        #[arg(long, value_name = "NAME")]
        with: Option<String>,
        /// Exit 11 whatever is different, unless it was declared or is a main process
        #[arg(long)]
        strict: bool,
    },
    /// Take the definitions in the databases as meant: `status --drift` compares with them until the
    /// next upgrade
    Accept,
    /// List baselines, newest first
    List,
    /// Show one baseline
    Show {
        /// Its name; without one the newest
        name: Option<String>,
    },
    /// Remove one baseline
    Remove {
        /// Its name
        name: String,
    },
}

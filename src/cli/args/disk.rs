//! `openwatch disk`.

use clap::Subcommand;

/// `openwatch disk VERB`.
#[derive(Debug, Subcommand)]
pub enum Disk {
    /// Mark a new disk as this application's; its data is that of the installed version
    Init,
    /// Look whose the mounted disk is, take it, and close the gate where its data is another version's
    Attach {
        /// Take it although another machine has not let it go, or although it is there twice
        #[arg(long)]
        take: bool,
    },
    /// Let the disk go, so that another machine may take it
    Detach,
    /// Show whose disk it is, who has it, and what became of the upgrade; changes nothing
    Status,
}

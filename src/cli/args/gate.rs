//! `openwatch status` and `openwatch gate`.

use clap::{Args, Subcommand};

/// `openwatch status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Note that you have read how the last upgrade ended: the login message ends
    #[arg(long)]
    pub acknowledge: bool,
    /// Compare what runs with what should: files of the package, programs, units, schema, configuration;
    /// each difference with what mends it. Nothing is changed; exit 0 whatever is found
    #[arg(long, conflicts_with = "acknowledge")]
    pub drift: bool,
}

/// `openwatch gate`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Gate {
    /// What else can be done with the gate.
    #[command(subcommand)]
    pub verb: Option<GateVerb>,
    /// Wait for a database that is away, as long as an upgrade does; for units that are starting
    #[arg(long)]
    pub wait: bool,
}

/// `openwatch gate VERB`.
#[derive(Debug, Subcommand)]
pub enum GateVerb {
    /// Let units start although an upgrade is not done, for at most a week and not over a reboot
    Open {
        /// When it ends: 2h, 2027-01-31 or 2027-01-31T12:00:00Z
        #[arg(long, value_name = "TIME")]
        until: String,
        /// Why, for whoever asks later
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Take that back
    Close,
}

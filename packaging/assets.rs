//! Writes man page and completions into a directory: `cargo run --example assets -- DIR`.
//!
//! They are generated from the program's own argument definitions and tables, so that they cannot
//! drift; what no table knows (files, environment) is written here.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use openwatch::cli::args::Arguments;
use openwatch::outcome::Outcome;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: assets DIR")?;
    let dir = Path::new(&dir);
    fs::create_dir_all(dir)?;
    let mut command = Arguments::command();
    command.build();
    fs::write(dir.join("openwatch.1"), page(&command)?)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Arguments::command(), "openwatch", dir)?;
    }
    Ok(())
}

fn page(command: &Command) -> Result<Vec<u8>, Box<dyn Error>> {
    let man = Man::new(command.clone())
        .manual("OpenWatch")
        .source(format!("OpenWatch {}", env!("CARGO_PKG_VERSION")));
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    text(&mut out, "DESCRIPTION", DESCRIPTION)?;
    man.render_options_section(&mut out)?;
    let mut verbs = Roff::new();
    verbs.control("SH", ["COMMANDS"]);
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        describe(&mut verbs, &format!("openwatch {}", verb.get_name()), verb);
    }
    verbs.to_writer(&mut out)?;
    outcomes(&mut out)?;
    text(&mut out, "FILES", FILES)?;
    text(&mut out, "ENVIRONMENT", ENVIRONMENT)?;
    text(&mut out, "SEE ALSO", "upgrade.conf(5), pg_dump(1), systemd.timer(5)\n")?;
    Ok(out)
}

/// One verb: its line, its own options, then its own verbs.
fn describe(page: &mut Roff, path: &str, verb: &Command) {
    let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
    let own: Vec<_> = verb
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && !arg.is_global_set() && arg.get_id() != "help")
        .collect();
    let words: Vec<String> = own.iter().map(|arg| format!("[{arg}]")).collect();
    page.control("SS", [path]);
    page.text([bold(path), roman(format!(" {}", words.join(" ")))]);
    page.control("PP", []);
    page.text([roman(format!("{about}."))]);
    for arg in own {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        page.control("TP", []);
        page.text([bold(arg.to_string())]);
        page.text([roman(format!("{help}."))]);
    }
    for inner in verb.get_subcommands().filter(|inner| inner.get_name() != "help") {
        describe(page, &format!("{path} {}", inner.get_name()), inner);
    }
}

fn outcomes(out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut page = Roff::new();
    page.control("SH", ["EXIT STATUS"]);
    page.text([roman("The word is the value of \"outcome\" in the object that --json prints.")]);
    for outcome in Outcome::ALL {
        page.control("TP", []);
        page.text([bold(format!("{} {}", outcome.exit_code(), outcome.word()))]);
        page.text([roman(outcome.meaning())]);
    }
    page.to_writer(out)
}

fn text(out: &mut Vec<u8>, heading: &str, body: &str) -> std::io::Result<()> {
    writeln!(out, ".SH {heading}")?;
    for line in body.trim().lines() {
        match line.split_once('\t') {
            Some((term, meaning)) => {
                writeln!(
                    out,
                    ".TP\n.B {}\n{}",
                    term.replace('-', "\\-"),
                    meaning.replace('-', "\\-")
                )?;
            }
            None if line.is_empty() => writeln!(out, ".PP")?,
            None => writeln!(out, "{}", line.replace('-', "\\-"))?,
        }
    }
    Ok(())
}

const DESCRIPTION: &str = "\
Package scripts of an application call openwatch on upgrade: it checks, stops the services, takes a
verified restore point, applies the migrations, starts the services and proves their health. When
anything fails the data is safe, nothing runs on the wrong schema, and one printed command leads out.

Before an upgrade, openwatch preflight and openwatch migrate --status say what will happen; they
change nothing. Afterwards, openwatch status says what is so and what to do next.

Restore points hold the archives of pg_dump in directory format. Only those that were read back,
compared with the catalogue and hashed are published; the last good one is never removed.
";

const FILES: &str = "\
/etc/openwatch/upgrade.conf\tWhat the operator wants; see upgrade.conf(5).
/etc/openwatch/upgrade.conf.d/*.conf\tDrop-ins, read in the order of their names; later ones win.
/etc/openwatch/secrets.env\tConnection strings, in the syntax of EnvironmentFile= of systemd.exec(5).
/etc/openwatch/allow-downgrade\tWhile it exists, an older package may take the place of a newer one.
/etc/openwatch/hooks.d/STEP.before.d/, STEP.after.d/\tPrograms of the site around each step; see UPGRADING.md.
/etc/apt/apt.conf.d/50openwatch\tAsks openwatch before apt unpacks anything.
/etc/dnf/libdnf5-plugins/actions.d/openwatch.actions\tThe same for dnf5; dnf 4 has the plugin openwatch_guard.
/usr/share/openwatch/upgrade.conf\tWhat the packager knows; replaced by every upgrade.
/var/lib/openwatch/backups/\tRestore points, for root only.
/var/lib/openwatch/upgrade/pending\tThe pending mark: while it exists the gate is closed.
/var/lib/openwatch/upgrade/hold\tThe hold, while there is one.
/var/lib/openwatch/upgrade/rollback\tThe order of a rollback: while it exists, data and package may disagree.
/var/lib/openwatch/upgrade/given-up\tThe version that was rolled back; it stays out until a newer one, or --retry.
/var/lib/openwatch/packages/\tCopies of package files, for the way back; for root only.
/var/lib/openwatch/upgrade/journal.json\tThe current or last run.
/var/lib/openwatch/upgrade/history/\tAll runs.
/var/lib/openwatch/public/\tWhat everybody may know of restore points and of the next upgrade; no secrets.
/var/lib/openwatch/upgrade/spool/\tReports that wait for their receiver, for root only.
/run/openwatch/gate-open\tThe operator's word that holds the gate open; see openwatch gate open.
/etc/openwatch/on-failure\tRun, where it is there, when the upgrade or the daily job fails.
/var/lib/openwatch/upgrade/run.log\tWhat the current or last upgrade told.
";

const ENVIRONMENT: &str = "\
OPENWATCH_UPGRADE_CONF\tOperator's configuration file, as --config.
OPENWATCH_NOW\t1 lets one run of a package tool go against hold and maintenance window.
OPENWATCH_GUARD\t0 switches the guards of whole package runs off, for one run.
OPENWATCH_DATABASE_DSN\tConnection string of the service's own database; read from secrets.env.
OPENWATCH_LISTEN\tAddress and port of openwatch serve; 127.0.0.1:8480 unless set.
OPENWATCH_API_TOKEN\tWhoever has it may ask for acts through openwatch serve; read from secrets.env.
OPENWATCH_REPORTS_KEY\tKey that other hosts sign their reports to openwatch serve with; read from secrets.env.
PG*\tConnection parameters that the connection string leaves open, as libpq reads them.
";

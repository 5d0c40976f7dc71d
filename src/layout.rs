//! Every fixed path that we touch, below one root and for one application.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// The paths of one application; `root` moves all of them (tests, image builds).
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    app: String,
    /// Where the package's own files lie, where that is not below the root.
    shipped: Option<PathBuf>,
}

impl Layout {
    /// Returns the layout of an application below a root (`/` on a running machine).
    pub fn new(root: impl Into<PathBuf>, app: impl Into<String>) -> Self {
        Self { root: root.into(), app: app.into(), shipped: None }
    }

    /// Returns this layout with the package's own files taken from another tree: those of a package
    /// that is not installed. All else stays the machine's.
    #[must_use]
    pub fn with_shipped(mut self, tree: &Path) -> Self {
        self.shipped = Some(tree.join(self.shipped_path()));
        self
    }

    /// Returns the directory of the package's own files, relative to the root.
    pub fn shipped_path(&self) -> PathBuf {
        Path::new("usr/share").join(&self.app)
    }

    /// Returns the name of the application.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// Returns the command line of this program for this application.
    pub fn command(&self, words: &str) -> String {
        match self.app.as_str() {
            "openwatch" => format!("openwatch {words}"),
            app => format!("openwatch --app {app} {words}"),
        }
    }

    /// Returns the root that all fixed paths lie below.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns whether the fixed paths are those of the running machine.
    pub fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    fn share(&self) -> PathBuf {
        self.shipped.clone().unwrap_or_else(|| self.root.join(self.shipped_path()))
    }

    fn etc(&self) -> PathBuf {
        self.root.join("etc").join(&self.app)
    }

    fn state(&self) -> PathBuf {
        self.root.join("var/lib").join(&self.app)
    }

    /// Returns the packager's half of the configuration (no conffile).
    pub fn packager_conf(&self) -> PathBuf {
        self.share().join("upgrade.conf")
    }

    /// Returns the one-line file with the version of the installed package.
    pub fn version_file(&self) -> PathBuf {
        self.share().join("version")
    }

    /// Returns the operator's half of the configuration (conffile).
    pub fn operator_conf(&self) -> PathBuf {
        self.etc().join("upgrade.conf")
    }

    /// Returns the directory of drop-ins, read in the order of their names.
    pub fn drop_in_dir(&self) -> PathBuf {
        self.etc().join("upgrade.conf.d")
    }

    /// Returns the directories that hold hooks: the packager's, then the operator's.
    pub fn hook_dirs(&self) -> [PathBuf; 2] {
        [self.share().join("hooks.d"), self.etc().join("hooks.d")]
    }

    /// Returns the file with connection strings, in systemd's `EnvironmentFile` syntax.
    pub fn secrets(&self) -> PathBuf {
        self.etc().join("secrets.env")
    }

    /// Returns the switch that allows a package downgrade once.
    pub fn allow_downgrade(&self) -> PathBuf {
        self.etc().join("allow-downgrade")
    }

    /// Returns the default directory of migrations.
    pub fn migrations_dir(&self) -> PathBuf {
        self.share().join("migrations")
    }

    /// Returns the default directory of restore points.
    pub fn backup_dir(&self) -> PathBuf {
        self.state().join("backups")
    }

    /// Returns the directory of pending mark, journal and history.
    pub fn upgrade_dir(&self) -> PathBuf {
        self.state().join("upgrade")
    }

    /// Returns the pending mark: while it exists the gate is closed.
    pub fn pending_mark(&self) -> PathBuf {
        self.upgrade_dir().join("pending")
    }

    /// Returns the operator's hold.
    pub fn hold(&self) -> PathBuf {
        self.upgrade_dir().join("hold")
    }

    /// Returns the note of when an identity last opened a restore point.
    pub fn identity_proven(&self) -> PathBuf {
        self.upgrade_dir().join("identity.json")
    }

    /// Returns the note of the version that was installed before the package was unpacked.
    pub fn installed_before(&self) -> PathBuf {
        self.upgrade_dir().join("from")
    }

    /// Returns the note of what ran before the package was unpacked, until the pending mark says it.
    pub fn ran_before(&self) -> PathBuf {
        self.upgrade_dir().join("ran")
    }

    /// Returns the journal of the current or last run.
    pub fn journal(&self) -> PathBuf {
        self.upgrade_dir().join("journal.json")
    }

    /// Returns the human text of the current or last run, followed by the waiting scriptlet.
    pub fn run_log(&self) -> PathBuf {
        self.upgrade_dir().join("run.log")
    }

    /// Returns the file that says why a person is needed, where one is.
    pub fn stuck(&self) -> PathBuf {
        self.upgrade_dir().join("stuck")
    }

    /// Returns the directory of finished runs, one file each.
    pub fn history_dir(&self) -> PathBuf {
        self.upgrade_dir().join("history")
    }

    /// Returns the file of a finished run.
    pub fn history_of(&self, run: &str) -> PathBuf {
        self.history_dir().join(format!("{run}.json"))
    }

    /// Returns the order of a rollback under way: while it exists, data and program may disagree.
    pub fn rollback_order(&self) -> PathBuf {
        self.upgrade_dir().join("rollback")
    }

    /// Returns what the last attempt at a rollback said, where it opened no journal.
    pub fn rollback_refused(&self) -> PathBuf {
        self.upgrade_dir().join("rollback-refused")
    }

    /// Returns the note of a version that was rolled back, and is not tried again by itself.
    pub fn given_up(&self) -> PathBuf {
        self.upgrade_dir().join("given-up")
    }

    /// Returns the directory of kept package files, for the way back.
    pub fn packages_dir(&self) -> PathBuf {
        self.state().join("packages")
    }

    /// Returns the directory of notes about versions that were fetched and built.
    pub fn trees_dir(&self) -> PathBuf {
        self.upgrade_dir().join("trees")
    }

    /// Returns the directory of baselines, one file each.
    pub fn baselines_dir(&self) -> PathBuf {
        self.upgrade_dir().join("baselines")
    }

    /// Returns the definitions that the last good upgrade left in the databases.
    pub fn settled(&self) -> PathBuf {
        self.upgrade_dir().join("settled.json")
    }

    /// Returns the directory of reports that wait for their receiver.
    pub fn spool(&self) -> PathBuf {
        self.upgrade_dir().join("spool")
    }

    /// Returns the message for whoever logs in, which is there while something is wrong.
    pub fn login_message(&self) -> PathBuf {
        self.upgrade_dir().join("motd")
    }

    /// Returns the note of which bad end somebody has taken note of.
    pub fn acknowledged(&self) -> PathBuf {
        self.upgrade_dir().join("acknowledged.json")
    }

    /// Returns the note of which unfinished upgrade was reported.
    pub fn reported(&self) -> PathBuf {
        self.upgrade_dir().join("reported")
    }

    /// Returns the directory of what everybody may read, left by root.
    pub fn public_dir(&self) -> PathBuf {
        self.state().join("public")
    }

    /// Returns the summary of restore points.
    pub fn public_summary(&self) -> PathBuf {
        self.public_dir().join("restore-points.json")
    }

    /// Returns what was last said of the next upgrade.
    pub fn public_outlook(&self) -> PathBuf {
        self.public_dir().join("next.json")
    }

    /// Returns the note of which data disk belongs to this system, made when it was first attached.
    pub fn known_disk(&self) -> PathBuf {
        self.upgrade_dir().join("data-disk")
    }

    /// Returns the note that the data disk was looked at and is ours, until it goes.
    pub fn attached_disk(&self) -> PathBuf {
        self.root.join("run").join(&self.app).join("data-disk")
    }

    /// Returns the request to prepare the data disk, which the service leaves and root takes up.
    pub fn prepare_request(&self) -> PathBuf {
        self.root.join("run").join(format!("{}-request", self.app)).join("prepare")
    }

    /// Returns the service's own directory, in which it leaves what root is asked for.
    pub fn asked_dir(&self) -> PathBuf {
        self.root.join("run").join(format!("{}-asked", self.app))
    }

    /// Returns what came of what root was asked for.
    pub fn public_acts(&self) -> PathBuf {
        self.public_dir().join("acts.json")
    }

    /// Returns the note of how the last preparation of the data disk ended.
    pub fn prepared(&self) -> PathBuf {
        self.upgrade_dir().join("prepared.json")
    }

    /// Returns the unit that takes the data disk and lets it go.
    pub fn disk_unit(&self) -> String {
        format!("{}-disk.service", self.app)
    }

    /// Returns the note of which failure the operator's program was called for.
    pub fn failure_told(&self) -> PathBuf {
        self.upgrade_dir().join("failure-told")
    }

    /// Returns the lock that upgrades, restores and prunes share.
    pub fn lock(&self) -> PathBuf {
        self.root.join("run").join(&self.app).join("upgrade.lock")
    }

    /// Returns the operator's word that holds the gate open; units ask for it beside the mark.
    pub fn gate_open(&self) -> PathBuf {
        self.root.join("run").join(&self.app).join("gate-open")
    }

    /// Returns the lock of rehearsals, which upgrades do not know: neither waits for the other.
    pub fn rehearsal_lock(&self) -> PathBuf {
        self.root.join("run").join(&self.app).join("rehearsal.lock")
    }

    /// Returns the unit in which rollbacks run.
    pub fn rollback_unit(&self) -> String {
        format!("{}-rollback.service", self.app)
    }

    /// Returns the unit in which upgrades run.
    pub fn upgrade_unit(&self) -> String {
        format!("{}-upgrade.service", self.app)
    }
}

/// Completes every quoted command of this program with the application that it is about, so that it
/// can be run as printed. Here, because a capability that names a command does not know for whom.
pub fn for_app<'t>(app: &str, text: &'t str) -> Cow<'t, str> {
    const OURS: &str = "`openwatch ";
    if app == "openwatch" || !text.contains(OURS) {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split(OURS);
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        told.push_str(OURS);
        // Some know it and have named it already.
        if !part.starts_with("--app ") {
            told.push_str(&format!("--app {app} "));
        }
        told.push_str(part);
    }
    Cow::Owned(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_commands_name_the_application_once() {
        let told = for_app("shop", "Run `openwatch backup list`, or `openwatch --app x status`.");
        assert_eq!(told, "Run `openwatch --app shop backup list`, or `openwatch --app x status`.");
        assert_eq!(for_app("openwatch", "Run `openwatch status`."), "Run `openwatch status`.");
        assert_eq!(for_app("shop", "Run `ls`."), "Run `ls`.");
    }
}

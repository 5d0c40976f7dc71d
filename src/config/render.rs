//! The effective settings as text, one per line, in a stable order.

use std::fmt::{Display, Write as _};
use std::path::PathBuf;

use super::migrations::AUTO;
use super::retention::NO_LIMIT;
use super::{
    ANY_TIME, Act, Config, ForeignSessions, Format, MigrationsSpec, NotifySpec, OnFailure,
    ProbeSpec, Question, Requirement, Restart, RestorePointSpec, Retention, SecretSpec, Stated,
    Verify,
};

impl OnFailure {
    /// Returns the word of the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Restore => "restore",
        }
    }
}

impl ForeignSessions {
    /// Returns the word of the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Refuse => "refuse",
            Self::End => "end",
        }
    }
}

impl Verify {
    /// Returns the word of the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Restore => "restore",
        }
    }
}

impl Config {
    /// Returns every setting that holds, `key = value` on a line each, without secrets.
    pub fn render(&self) -> String {
        let mut lines = Lines::default();
        lines.list("app.services", &self.app.services);
        if !self.app.start_first.is_empty() {
            lines.list("app.start_first", &self.app.start_first);
        }
        if self.app.restart == Restart::Rolling {
            lines.text("app.restart", self.app.restart.word());
            let pause = humantime::format_duration(self.app.restart_pause);
            lines.text("app.restart_pause", &pause.to_string());
        }
        if !self.app.equal_versions.is_empty() {
            lines.list("app.equal_versions", &self.app.equal_versions);
        }
        lines.maybe("app.version", self.app.version.as_ref().map(|v| v.as_str()));
        lines.maybe("app.min_upgrade_from", self.app.min_upgrade_from.as_ref().map(|v| v.as_str()));
        lines.files("app.keep_files", &self.app.keep_files);
        lines.files("app.fingerprint_files", &self.app.fingerprint_files);
        self.render_databases(&mut lines);
        self.render_tree(&mut lines);
        for (at, probe) in self.probes.iter().enumerate() {
            render_probe(&format!("health[{at}]"), probe, &mut lines);
        }
        for (at, expect) in self.expect.iter().enumerate() {
            let key = |name: &str| format!("expect[{at}].{name}");
            lines.text(&key("change"), &expect.change.told());
            lines.maybe(&key("database"), expect.database.as_deref());
            lines.maybe(&key("migration"), expect.migration.as_deref());
        }
        for (at, setting) in self.settings.iter().enumerate() {
            let told =
                format!("{} {}: {}", setting.file.display(), setting.key, setting.rule.told());
            lines.text(&format!("setting[{at}]"), &told);
        }
        self.render_policy(&mut lines);
        self.render_notify(&mut lines);
        lines.0
    }

    fn render_notify(&self, lines: &mut Lines) {
        let notify = &self.notify;
        for (name, url) in [
            ("notify.report_url", &notify.url),
            ("notify.success_url", &notify.success_url),
            ("notify.failure_url", &notify.failure_url),
        ] {
            lines.maybe(name, url.as_deref().map(host).as_deref());
        }
        for (name, secret) in [("token", &notify.token), ("hmac", &notify.hmac)] {
            render_secret(&format!("notify.{name}"), secret.as_ref(), lines);
        }
        if notify.limit != NotifySpec::default().limit {
            lines.text("notify.limit", &humantime::format_duration(notify.limit).to_string());
        }
    }

    fn render_tree(&self, lines: &mut Lines) {
        if let Some(tree) = &self.tree {
            lines.text("source.tree", &tree.link.to_string_lossy());
            lines.text("source.versions", &tree.versions.to_string_lossy());
            for (name, command) in [
                ("fetch", Some(&tree.fetch)),
                ("build", tree.build.as_ref()),
                ("switch", tree.switch.as_ref()),
            ] {
                if let Some(command) = command {
                    lines.list(&format!("source.{name}"), command);
                }
            }
            lines.maybe("source.version_file", tree.version_file.as_deref());
            lines.maybe("source.user", tree.user.as_deref());
            lines.text("source.timeout", &humantime::format_duration(tree.timeout).to_string());
            lines.plain("source.keep", tree.keep);
            for side in &tree.sides {
                lines.list(&format!("source.sides.{}", side.name), &side.services);
            }
        }
        for (at, require) in self.require.iter().enumerate() {
            let key = |name: &str| format!("require[{at}].{name}");
            match &require.what {
                Requirement::Program { command, at_least } => {
                    lines.list(&key("command"), command);
                    lines.maybe(&key("at_least"), at_least.as_ref().map(|v| v.as_str()));
                }
                Requirement::Free { bytes, path } => {
                    lines.plain(&key("free"), bytes);
                    lines.text(&key("path"), &path.to_string_lossy());
                }
            }
            lines.plain(&key("required"), require.required);
            lines.maybe(&key("hint"), require.hint.as_deref());
        }
    }

    fn render_databases(&self, lines: &mut Lines) {
        for (at, database) in self.databases.iter().enumerate() {
            let key = |name: &str| format!("database[{at}].{name}");
            lines.text(&key("name"), &database.name);
            if let Some(file) = &database.file {
                lines.text(&key("kind"), "sqlite");
                lines.text(&key("path"), &file.to_string_lossy());
            }
            lines.maybe(&key("url_env"), database.url_env.as_deref());
            lines.maybe(&key("service"), database.service.as_deref());
            lines.maybe(&key("user"), database.user.as_deref());
            render_migrations(&key("migrations"), &database.migrations, lines);
        }
    }

    fn render_policy(&self, lines: &mut Lines) {
        let policy = &self.policy;
        lines.plain("auto_backup", policy.auto_backup);
        lines.text("backup_dir", &policy.backup_dir.to_string_lossy());
        render_restore_point(&policy.restore_point, lines);
        if !policy.restore_point_after.is_empty() {
            let words = policy.restore_point_after.iter().map(|step| step.word().to_owned());
            lines.list("restore_point_after", &words.collect::<Vec<_>>());
        }
        let encryption = &policy.encryption;
        if !encryption.recipients.is_empty() {
            let texts = encryption.recipients.iter().map(|found| found.as_str().to_owned());
            lines.list("backup_recipients", &texts.collect::<Vec<_>>());
        }
        for (key, file) in [
            ("backup_recipients_file", &encryption.recipients_file),
            ("backup_identity_file", &encryption.identity_file),
        ] {
            lines.maybe(key, file.as_ref().map(|path| path.to_string_lossy()).as_deref());
        }
        render_retention(&policy.retention, lines);
        lines.text("on_failure", policy.on_failure.word());
        lines.plain("attempts", policy.attempts);
        lines.plain("rollback_package", policy.rollback_package);
        lines.plain("keep_packages", policy.keep_packages);
        lines.text("database_wait", &humantime::format_duration(policy.database_wait).to_string());
        lines.text("lock_timeout", &humantime::format_duration(policy.lock_timeout).to_string());
        lines.text("host_wait", &humantime::format_duration(policy.host_wait).to_string());
        lines.text("foreign_sessions", policy.foreign_sessions.word());
        lines.plain("reserve", policy.reserve);
        lines.text("verify", policy.verify.word());
        lines.text("verify_limit", &humantime::format_duration(policy.verify_limit).to_string());
        for (at, check) in policy.checks.iter().enumerate() {
            lines.list(&format!("checks[{at}]"), check);
        }
        lines.text("hook_timeout", &humantime::format_duration(policy.hook_timeout).to_string());
        let file = policy.maintenance_file.as_ref().map(|path| path.to_string_lossy());
        lines.maybe("maintenance_file", file.as_deref());
        match policy.window.written().as_slice() {
            [] => lines.text("window", ANY_TIME),
            [one] => lines.text("window", one),
            all => lines.list("window", &all.iter().map(ToString::to_string).collect::<Vec<_>>()),
        }
        lines.plain("guard", policy.guard);
        if !policy.baseline_stop.is_empty() {
            let words = policy.baseline_stop.iter().map(|check| check.word().to_owned());
            lines.list("baseline_stop", &words.collect::<Vec<_>>());
        }
        lines.files("keep_files", &policy.keep_files);
        lines.files("fingerprint_files", &policy.fingerprint_files);
        if let Some(file) = &policy.metrics_textfile {
            lines.text("metrics_textfile", &file.display().to_string());
        }
        if !policy.console_names.is_empty() {
            lines.list("console_names", &policy.console_names);
        }
        if policy.console_acts != Act::ALL {
            let words = policy.console_acts.iter().map(|act| act.word().to_owned());
            lines.list("console_acts", &words.collect::<Vec<_>>());
        }
    }
}

/// What only concerns the operator's own commands is told where there are any.
fn render_restore_point(spec: &RestorePointSpec, lines: &mut Lines) {
    let time = |limit| humantime::format_duration(limit).to_string();
    lines.text("restore_point", spec.method.word());
    if let Some(command) = &spec.command {
        lines.list("restore_point_command", command);
        lines.text("restore_point_timeout", &time(spec.timeout));
    }
    if let Some(command) = &spec.restore_command {
        lines.list("restore_command", command);
        lines.text("restore_timeout", &time(spec.restore_timeout));
    }
}

fn render_retention(retention: &Retention, lines: &mut Lines) {
    match retention.days {
        Some(days) => lines.plain("backup_retention_days", days),
        None => lines.text("backup_retention_days", "keep everything"),
    }
    match retention.keep {
        u32::MAX => lines.text("backup_keep", "keep everything"),
        keep => lines.plain("backup_keep", keep),
    }
    match retention.max_bytes {
        Stated::Unset => lines.text("backup_max_bytes", NO_LIMIT),
        Stated::Value(bytes) => lines.plain("backup_max_bytes", bytes),
        Stated::Nonsense => lines.text("backup_max_bytes", "keep everything"),
    }
    for (reason, rule) in retention.rules() {
        for (name, value) in [("days", rule.days), ("keep", rule.keep)] {
            let key = format!("retention.{reason}.{name}");
            match value {
                Stated::Unset => {}
                Stated::Value(number) => lines.plain(&key, number),
                Stated::Nonsense => lines.text(&key, "keep everything"),
            }
        }
    }
}

fn render_migrations(name: &str, spec: &MigrationsSpec, lines: &mut Lines) {
    let key = |part: &str| format!("{name}.{part}");
    match spec {
        MigrationsSpec::Files(files) => {
            lines.text(&key("format"), files.format.map_or(AUTO, Format::word));
            lines.text(&key("dir"), &files.dir.to_string_lossy());
            if let Some(table) = &files.table {
                let schema = table.schema.as_ref().map_or(String::new(), |s| format!("{s}."));
                lines.text(&key("table"), &format!("{schema}{}", table.name));
            }
            for (version, checksums) in &files.accepted_checksums {
                lines.list(&key(&format!("accepted_checksums.{version}")), checksums);
            }
            if !files.removed.is_empty() {
                lines.list(&key("removed"), &files.removed);
            }
        }
        MigrationsSpec::Command(command) => {
            lines.list(&key("command"), &command.apply);
            for (part, list) in
                [("status_command", &command.status), ("version_command", &command.version)]
            {
                if let Some(list) = list {
                    lines.list(&key(part), list);
                }
            }
            let rule = &command.rule;
            if let (Some(exit), Some(_)) = (rule.pending_exit, &command.status) {
                lines.plain(&key("pending_exit"), exit);
            }
            lines.maybe(&key("pending_lines"), rule.pending_lines.as_deref());
            lines.maybe(&key("applied_lines"), rule.applied_lines.as_deref());
            lines.maybe(&key("user"), command.user.as_deref());
            if let Some(directory) = &command.directory {
                lines.text(&key("directory"), &directory.to_string_lossy());
            }
            lines.maybe(&key("url_variable"), command.url_variable.as_deref());
            // Values may hold a token; the names tell what is set.
            let names: Vec<String> = command.environment.keys().cloned().collect();
            if !names.is_empty() {
                lines.list(&key("environment"), &names);
            }
            if let Some(timeout) = command.timeout {
                lines.text(&key("timeout"), &humantime::format_duration(timeout).to_string());
            }
        }
    }
}

fn render_probe(name: &str, probe: &ProbeSpec, lines: &mut Lines) {
    let key = |part: &str| format!("{name}.{part}");
    match &probe.question {
        Question::Unit(unit) => lines.text(&key("unit"), unit),
        Question::Tcp(target) => lines.text(&key("tcp"), target),
        Question::Http { url, status, body, expect_version, token } => {
            lines.text(&key("http"), &without_secrets(url));
            lines.plain(&key("status"), status);
            lines.maybe(&key("body"), body.as_deref());
            lines.plain(&key("expect_version"), expect_version);
            render_secret(&key("token"), token.as_ref(), lines);
        }
        Question::WebSocket { url, token } => {
            lines.text(&key("websocket"), &without_secrets(url));
            render_secret(&key("token"), token.as_ref(), lines);
        }
        Question::Sql { database, statement } => {
            lines.text(&key("sql"), statement);
            lines.text(&key("database"), database);
        }
        Question::Command(arguments) => lines.list(&key("command"), arguments),
    }
    lines.plain(&key("required"), probe.required);
    lines.text(&key("deadline"), &humantime::format_duration(probe.deadline).to_string());
    lines.maybe(&key("answered_by"), probe.answered_by.as_deref());
    if !probe.compare.is_empty() {
        lines.list(&key("compare"), &probe.compare);
    }
}

fn render_secret(name: &str, secret: Option<&SecretSpec>, lines: &mut Lines) {
    match secret {
        None => {}
        Some(SecretSpec::Variable(own)) => lines.text(&format!("{name}_env"), own),
        Some(SecretSpec::File(path)) => {
            lines.text(&format!("{name}_file"), &path.to_string_lossy());
        }
    }
}

/// Returns an address without its user part and its query, which may hold a token.
fn without_secrets(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(start);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let end = rest.find('/').unwrap_or(rest.len());
    let host = rest[..end].rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}{}", &rest[host..])
}

/// Returns an address up to its host: the path of a web hook is often its token.
fn host(url: &str) -> String {
    let shown = without_secrets(url);
    let start = shown.find("://").map_or(0, |at| at + 3);
    let end = shown[start..].find('/').map_or(shown.len(), |at| start + at);
    shown[..end].to_owned()
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn plain(&mut self, key: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn text(&mut self, key: &str, value: &str) {
        self.plain(key, format_args!("{value:?}"));
    }

    fn maybe(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// Only where there are any.
    fn files(&mut self, key: &str, paths: &[PathBuf]) {
        if !paths.is_empty() {
            let texts: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            self.list(key, &texts);
        }
    }

    fn list(&mut self, key: &str, values: &[String]) {
        self.plain(key, format_args!("{values:?}"));
    }
}

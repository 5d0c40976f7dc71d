//! The files of an application's package, made from those that our own package ships: what is tested with
//! ours is what others get.

use super::Wanted;

/// One file to write.
pub(super) struct Item {
    /// Where, below the directory that was asked for.
    pub(super) path: String,
    /// What.
    pub(super) text: String,
    /// Permissions.
    pub(super) mode: u32,
}

const PROGRAM: &str = "/usr/bin/openwatch";

/// Words of our texts that mean the program and not the application.
const KEPT: [&str; 4] = ["openwatch(1)", "`openwatch ", "such as: openwatch ", PROGRAM];

/// Returns every file.
pub(super) fn all(wanted: &Wanted<'_>) -> Vec<Item> {
    let app = wanted.app;
    let plain = |path: String, text: String| Item { path, text, mode: 0o644 };
    let mut items = vec![
        plain("README.md".into(), readme(wanted)),
        plain(format!("files/usr/share/{app}/upgrade.conf"), packager_conf(wanted)),
        plain(
            format!("files/etc/{app}/upgrade.conf"),
            of_app(include_str!("../../../etc/openwatch/upgrade.conf"), app),
        ),
        Item { mode: 0o640, ..plain(format!("files/etc/{app}/secrets.env"), secrets(wanted)) },
        plain(
            format!("files/usr/lib/tmpfiles.d/{app}.conf"),
            of_app(include_str!("../../../systemd/openwatch.tmpfiles"), app),
        ),
        plain(
            format!("files/usr/lib/sysusers.d/{app}.conf"),
            of_app(include_str!("../../../systemd/openwatch.sysusers"), app),
        ),
        plain(
            format!("files/usr/lib/systemd/system-preset/90-{app}.preset"),
            with_services(
                &of_app(include_str!("../../../systemd/openwatch.preset"), app),
                wanted,
                "\nenable ",
            ),
        ),
    ];
    for (name, text) in [
        ("upgrade.service", include_str!("../../../systemd/openwatch-upgrade.service")),
        ("rollback.service", include_str!("../../../systemd/openwatch-rollback.service")),
        ("failure@.service", include_str!("../../../systemd/openwatch-failure@.service")),
        (
            "backup-cleanup.service",
            include_str!("../../../systemd/openwatch-backup-cleanup.service"),
        ),
        ("backup-cleanup.timer", include_str!("../../../systemd/openwatch-backup-cleanup.timer")),
    ] {
        items.push(plain(format!("files/usr/lib/systemd/system/{app}-{name}"), of_app(text, app)));
    }
    for unit in wanted.services {
        let path = format!("files/usr/lib/systemd/system/{unit}.d/50-start-gate.conf");
        items.push(plain(path, gate(unit, app)));
    }
    for (name, text) in [
        ("deb/preinst", include_str!("../../../packaging/deb/preinst")),
        ("deb/postinst", include_str!("../../../packaging/deb/postinst")),
        ("deb/prerm", include_str!("../../../packaging/deb/prerm")),
        ("deb/postrm", include_str!("../../../packaging/deb/postrm")),
        ("rpm/pre.sh", include_str!("../../../packaging/rpm/pre.sh")),
        ("rpm/post.sh", include_str!("../../../packaging/rpm/post.sh")),
        ("rpm/preun.sh", include_str!("../../../packaging/rpm/preun.sh")),
        ("rpm/postun.sh", include_str!("../../../packaging/rpm/postun.sh")),
        ("rpm/posttrans.sh", include_str!("../../../packaging/rpm/posttrans.sh")),
    ] {
        let text = with_services(&of_app(&without_ours_alone(text), app), wanted, " ");
        items.push(Item { path: name.to_owned(), text, mode: 0o755 });
    }
    let triggers = of_app(include_str!("../../../packaging/deb/triggers"), app);
    items.push(plain("deb/triggers".into(), triggers));
    items
}

/// Puts the application in the place of ours; the program keeps its name and is told whom it is for.
fn of_app(text: &str, app: &str) -> String {
    let mark = |place: usize| format!("\u{1}{place}\u{2}");
    let mut text = text.to_owned();
    for (place, kept) in KEPT.iter().enumerate() {
        text = text.replace(kept, &mark(place));
    }
    text = text.replace("OpenWatch", app).replace("openwatch", app);
    for (place, kept) in KEPT.iter().enumerate() {
        let kept = match *kept {
            "openwatch(1)" | PROGRAM => (*kept).to_owned(),
            words => format!("{words}--app {app} "),
        };
        text = text.replace(&mark(place), &kept);
    }
    for verb in ["scriptlet", "upgrade", "rollback", "backup"] {
        let call = format!("{PROGRAM} {verb} ");
        text = text.replace(&call, &format!("{PROGRAM} --app {app} {verb} "));
    }
    text
}

/// Puts the application's units in the place of the one that ours has.
fn with_services(text: &str, wanted: &Wanted<'_>, between: &str) -> String {
    text.replace(&format!("{}.service", wanted.app), &wanted.services.join(between))
}

/// What only our package brings, and for every application: a part of a script from its comment on,
/// and the words of single lines.
const OURS_ALONE: [(&str, &str); 2] =
    [("# Where dnf 4 looks", "done"), ("# Where /lib is a directory of its own", "fi")];
const OURS_IN_A_LINE: [&str; 2] = ["dnf-plugins/", "generator"];

/// Leaves out the guard of whole runs and the generator of drop-ins.
fn without_ours_alone(text: &str) -> String {
    let mut until: Option<&str> = None;
    let mut kept: Vec<&str> = Vec::new();
    for line in text.lines() {
        let part = OURS_ALONE.iter().find(|(begin, _)| line.trim_start().starts_with(begin));
        until = until.or(part.map(|(_, end)| *end));
        if until.is_none() && !OURS_IN_A_LINE.iter().any(|words| line.contains(words)) {
            kept.push(line);
        }
        until = until.filter(|end| line.trim() != *end);
    }
    kept.join("\n") + "\n"
}

fn gate(unit: &str, app: &str) -> String {
    let text = include_str!("../../../systemd/gate.conf");
    let (_, text) = text.split_once("[Unit]\n").unwrap_or(("", text));
    let text = match unit.ends_with(".service") {
        true => text,
        false => text.split_once("\n[Service]").map_or(text, |(units, _)| units),
    };
    let text = text.replace("(openwatch gate", "(openwatch --app NAME gate");
    format!("[Unit]\n{}", text.replace("NAME", app))
}

fn packager_conf(wanted: &Wanted<'_>) -> String {
    let quoted: Vec<String> = wanted.services.iter().map(|unit| format!("{unit:?}")).collect();
    let mut text = format!(
        "# What the packager of {app} knows about it. Replaced by every upgrade; described in upgrade.conf(5).\n\n\
         [app]\n\
         # Stopped in this order, started in reverse.\n\
         services = [{services}]\n\n\
         [[database]]\n\
         name = \"main\"\n\
         url_env = {env:?}\n\
         # System user, for peer authentication.\n\
         user = {app:?}\n\
         migrations = {{ format = {format:?}, dir = {dir:?} }}\n",
        app = wanted.app,
        services = quoted.join(", "),
        env = wanted.database_env,
        format = wanted.format,
        dir = wanted.migrations,
    );
    for unit in wanted.services.iter().filter(|unit| unit.ends_with(".service")) {
        text.push_str(&format!("\n[[health]]\nunit = {unit:?}\n"));
    }
    if let Some(url) = wanted.health {
        text.push_str(&format!("\n[[health]]\nhttp = {url:?}\n"));
    }
    text
}

fn secrets(wanted: &Wanted<'_>) -> String {
    let (app, variable) = (wanted.app, wanted.database_env);
    format!(
        "# How {app} reaches its database: read by systemd as an EnvironmentFile and by its upgrades.\n\
         # Keep it 0640 root:{app}. Any connection string that libpq takes will do:\n\
         #{variable}=postgresql://{app}:PASSWORD@127.0.0.1/{app}\n\
         #{variable}=postgresql:///{app}?host=/run/postgresql\n"
    )
}

fn readme(wanted: &Wanted<'_>) -> String {
    let app = wanted.app;
    format!(
        "# Packaging {app} with openwatch\n\n\
         Written by `openwatch --app {app} init`; from now on it is yours.\n\n\
         1. Depend on `openwatch`.\n\
         2. Ship `files/` as it is; `/etc/{app}/upgrade.conf` and `/etc/{app}/secrets.env` are conffiles\n   \
            (`%config(noreplace)`), the second 0640 root:{app}.\n\
         3. Ship your migrations in `{dir}`, and the line `VERSION-RELEASE` in `/usr/share/{app}/version`.\n\
         4. deb: the scripts of `deb/` with `triggers`, `#DEBHELPER#` where debhelper is used.\n\
         5. rpm: the scripts of `rpm/` as `%pre`, `%post`, `%preun`, `%postun`, `%posttrans`; put version and\n   \
            release in the place of `@EVR@` in `pre.sh`. Flag the last one critical where you can (cargo-generate-rpm:\n   \
            `post_trans_script_flags = 4`). A spec file cannot: dnf then says `Complete!` after a failed upgrade until\n   \
            rpm 6, and automation has to ask `openwatch --app {app} status --json` or `gate`.\n\
         6. Nothing below `/var/lib/{app}` is a packaged file.\n\n\
         The packager's guide tells the rest: docs/PACKAGING.md of openwatch.\n",
        dir = wanted.migrations,
    )
}

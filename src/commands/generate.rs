//! Called by systemd at boot and at each reload: the walls that our units need, and what an appliance's
//! units need to wait for its disk.
//!
//! The services do not start without the disk, start by themselves when it is mounted, and stop when it
//! goes; between the mount and all of them stands a unit that looks whose disk it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::config::{App, Appliance, appliance_of};
use crate::disk;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::progress::{Progress, Silent};
use crate::system::fs;
use crate::upgrade::machine::Machine;
use crate::upgrade::unit::walls::drop_ins;

use super::Reply;

/// Writes the units of every application that has a data disk, and the walls of those that need others;
/// what is wrong with one is told and keeps none of the others from theirs.
pub fn run(root: &Path, dir: &Path, progress: &dyn Progress) -> Result<Reply> {
    let share = root.join("usr/share");
    let entries = std::fs::read_dir(&share).map_err(|error| {
        Error::new(Outcome::Failed, format!("cannot read {}", share.display())).source(error)
    })?;
    let mut apps: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("upgrade.conf").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    apps.sort();
    let mut written = Vec::new();
    for app in apps {
        let layout = Layout::new(root, &app);
        let made = appliance_of(&layout).and_then(|found| match found {
            Some((app, appliance)) => write(&layout, &app, &appliance, dir),
            None => Ok(Vec::new()),
        });
        // A machine whose configuration is wrong has nothing done in its units: they stay shut.
        let walls = Machine::open(layout, None, Arc::new(Silent)).map(|machine| drop_ins(&machine));
        let made = made.and_then(|mut files| {
            files.extend(write_all(walls.unwrap_or_default(), dir)?);
            Ok(files)
        });
        match made {
            Ok(files) => written.extend(files),
            Err(error) => progress.warn(&format!("{app}: {}", error.message())),
        }
    }
    Ok(Reply::ok("", json!({"written": written})))
}

fn write(layout: &Layout, app: &App, appliance: &Appliance, dir: &Path) -> Result<Vec<PathBuf>> {
    let files = units(layout, app, appliance).into_iter();
    write_all(files.map(|(name, text)| (PathBuf::from(name), text)).collect(), dir)
}

fn write_all(files: Vec<(PathBuf, String)>, dir: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (name, text) in files {
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            fs::make_dir(parent, 0o755)?;
        }
        fs::replace(&path, text.as_bytes(), 0o644)?;
        written.push(path);
    }
    Ok(written)
}

/// Returns each file by its path below the generator's directory.
fn units(layout: &Layout, app: &App, appliance: &Appliance) -> Vec<(String, String)> {
    let name = layout.app();
    let disk = layout.disk_unit();
    let mount = unit_of(&appliance.data_disk, "mount");
    let point = escaped(&appliance.data_disk);
    let from = layout.packager_conf();
    let head = format!("# Written by openwatch at boot, from {}.\n[Unit]\n", from.display());
    let command = |words: &str| match name {
        "openwatch" => format!("/usr/bin/openwatch {words}"),
        app => format!("/usr/bin/openwatch --app {app} {words}"),
    };
    let servers = appliance.units.join(" ");
    let mut files = vec![(
        disk.clone(),
        format!(
            "{head}Description=Data disk of {name}\nDocumentation=man:openwatch(1)\n\
             SourcePath={}\nBindsTo={mount}\nAfter={mount}\nRequiresMountsFor={point}\n\n\
             [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={}\nExecStop=-{}\nUMask=0022\n",
            from.display(),
            command("disk attach"),
            command("disk detach"),
        ),
    )];
    let drop_in = |unit: &str, more: &str| {
        let text = format!("{head}BindsTo={disk}\nAfter={disk}{more}");
        (format!("{unit}.d/50-{name}-disk.conf"), text)
    };
    for unit in &appliance.units {
        files.push(drop_in(unit, "\n"));
    }
    for unit in &app.services {
        files.push(drop_in(unit, &format!(" {servers}\n")));
    }
    let job = command("upgrade --unit --boot");
    let job = format!(" {servers}\n\n[Service]\nExecStart=\nExecStart={job}\n");
    files.push(drop_in(&layout.upgrade_unit(), &job));
    files.push(drop_in(&layout.rollback_unit(), &format!(" {servers}\n")));
    if name == "openwatch" {
        files.extend(request_units(&head, &disk));
    }
    let mut wanted = vec![disk];
    wanted.extend(appliance.units.iter().cloned());
    wanted.push(layout.upgrade_unit());
    // What is disabled stays disabled: the mount asks for what the boot asks for.
    wanted.extend(app.services.iter().filter(|unit| is_enabled(layout.root(), unit)).cloned());
    let wants = format!("{head}Wants={}\n", wanted.join(" "));
    files.push((format!("{mount}.d/50-{name}-disk.conf"), wants));
    // A mount of fstab with `nofail` is asked for at boot and never again, so a disk that is attached
    // later would lie there unmounted (seen with systemd 252).
    if let Some(device) = disk::fstab_device(&appliance.data_disk, layout.root()) {
        let wants = format!("{head}Wants={mount}\n");
        files.push((format!("{}.d/50-{name}-disk.conf", unit_of(&device, "device")), wants));
    }
    files
}

/// Returns what lets the unprivileged service ask for a preparation: an empty file in its own runtime
/// directory, taken away and taken up by root, whose options stand in a file of root.
fn request_units(head: &str, disk: &str) -> [(String, String); 3] {
    // By default it would come before basic.target, and the disk after: a cycle, which systemd breaks
    // at shutdown by not letting the disk go.
    let path = format!(
        "{head}Description=Requests to prepare the data disk\nDefaultDependencies=no\n\
         Conflicts=shutdown.target\nBefore=shutdown.target\nBindsTo={disk}\nAfter={disk}\n\n\
         [Path]\nPathExists=/run/openwatch-request/prepare\n"
    );
    let service = format!(
        "{head}Description=Prepare the data disk, as the service was asked to\n\
         Documentation=man:openwatch(1)\nBindsTo={disk}\nAfter={disk}\n\n\
         [Service]\nType=oneshot\nExecStartPre=/bin/rm -f -- /run/openwatch-request/prepare\n\
         EnvironmentFile=-/etc/openwatch/prepare.env\n\
         ExecStart=/usr/bin/openwatch upgrade --prepare $PREPARE_OPTIONS\n\
         UMask=0077\nNoNewPrivileges=yes\nProtectSystem=yes\nPrivateMounts=yes\n"
    );
    let serve = format!(
        "{head}Wants=openwatch-prepare.path\n\n\
         [Service]\nRuntimeDirectory=openwatch-request\nRuntimeDirectoryMode=0700\n"
    );
    [
        ("openwatch-prepare.path".to_owned(), path),
        ("openwatch-prepare.service".to_owned(), service),
        ("openwatch.service.d/51-openwatch-prepare.conf".to_owned(), serve),
    ]
}

/// Returns whether something pulls a unit in at boot.
fn is_enabled(root: &Path, unit: &str) -> bool {
    let wanting = |path: &Path| {
        path.extension().is_some_and(|kind| kind == "wants" || kind == "requires")
            && path.join(unit).symlink_metadata().is_ok()
    };
    let dirs = std::fs::read_dir(root.join("etc/systemd/system"));
    dirs.is_ok_and(|dirs| dirs.flatten().any(|dir| wanting(&dir.path())))
}

/// Returns the unit of a mount point or a device, as systemd-escape(1) --path --suffix=KIND writes it.
fn unit_of(path: &Path, kind: &str) -> String {
    let text = path.to_string_lossy();
    let text = text.trim_matches('/');
    let mut name = String::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if at > 0 => name.push('.'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' => name.push(char::from(byte)),
            other => name.push_str(&format!("\\x{other:02x}")),
        }
    }
    format!("{name}.{kind}")
}

/// Returns a path as a value of a unit file.
fn escaped(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', "\\\\").replace('%', "%%");
    text.replace(' ', "\\x20").replace('\t', "\\x09")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_named_as_systemd_names_it() {
        // As systemd-escape 252 prints them.
        for (point, unit) in [
            ("/srv/data", "srv-data.mount"),
            ("/srv/my-data/", "srv-my\\x2ddata.mount"),
            ("/srv/a b", "srv-a\\x20b.mount"),
            ("/.data/x.y", "\\x2edata-x.y.mount"),
        ] {
            assert_eq!(unit_of(Path::new(point), "mount"), unit);
        }
    }

    #[test]
    fn services_server_and_upgrade_hang_on_the_disk_and_the_mount_asks_for_what_is_enabled() {
        let root = tempfile::tempdir().unwrap();
        let wants = root.path().join("etc/systemd/system/multi-user.target.wants");
        std::fs::create_dir_all(&wants).unwrap();
        std::os::unix::fs::symlink("/x", wants.join("shop.service")).unwrap();
        let layout = Layout::new(root.path(), "shop");
        let app =
            App { services: vec!["shop.timer".into(), "shop.service".into()], ..App::default() };
        let appliance = Appliance {
            data_disk: "/srv/data".into(),
            units: vec!["postgresql@15-main.service".into()],
        };
        let files = units(&layout, &app, &appliance);
        let text = |name: &str| {
            let found = files.iter().find(|(file, _)| file == name);
            found.unwrap_or_else(|| panic!("no {name}")).1.clone()
        };
        let disk = text("shop-disk.service");
        assert!(disk.contains("\nBindsTo=srv-data.mount\nAfter=srv-data.mount\n"), "{disk}");
        assert!(disk.contains("ExecStart=/usr/bin/openwatch --app shop disk attach\n"), "{disk}");
        for unit in ["shop.service", "shop.timer", "postgresql@15-main.service"] {
            let held = text(&format!("{unit}.d/50-shop-disk.conf"));
            assert!(held.contains("BindsTo=shop-disk.service\nAfter=shop-disk.service"), "{held}");
        }
        let job = text("shop-upgrade.service.d/50-shop-disk.conf");
        assert!(job.contains("After=shop-disk.service postgresql@15-main.service\n"), "{job}");
        let job_line =
            "ExecStart=\nExecStart=/usr/bin/openwatch --app shop upgrade --unit --boot\n";
        assert!(job.contains(job_line), "{job}");
        let mount = text("srv-data.mount.d/50-shop-disk.conf");
        let wants = "Wants=shop-disk.service postgresql@15-main.service shop-upgrade.service shop.service\n";
        assert!(mount.ends_with(wants), "{mount}");
        assert!(!files.iter().any(|(file, _)| file.contains(".device.d/")), "no fstab, no device");
    }

    #[test]
    fn a_disk_that_is_attached_later_is_mounted_as_fstab_says() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc")).unwrap();
        let row = "UUID=79d5-c6 /srv/data ext4 nofail 0 2\n";
        std::fs::write(root.path().join("etc/fstab"), row).unwrap();
        let layout = Layout::new(root.path(), "shop");
        let appliance = Appliance { data_disk: "/srv/data".into(), units: Vec::new() };
        let files = units(&layout, &App::default(), &appliance);
        let device = "dev-disk-by\\x2duuid-79d5\\x2dc6.device.d/50-shop-disk.conf";
        let found = files.iter().find(|(file, _)| file == device).expect("a device");
        assert!(found.1.ends_with("[Unit]\nWants=srv-data.mount\n"), "{}", found.1);
    }
}

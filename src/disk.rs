//! Free space of file systems.
//!
//! `statvfs` tells what an unprivileged writer may still take on the whole file system. A user,
//! group or project quota is not visible in it: a dump that runs into one fails closed like a full
//! disk, with `Disk quota exceeded` in the detail line.

use std::io;
use std::path::{Path, PathBuf};

/// What is left on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Bytes that a new file may take.
    pub bytes: u64,
    /// Files that may still be made; `None` where the file system has no fixed number.
    pub inodes: Option<u64>,
}

/// Returns what is left on the file system that holds `path`; the nearest existing parent stands
/// for a path that is still to be made.
pub fn free(path: &Path) -> io::Result<Free> {
    let data = rustix::fs::statvfs(nearest_existing(path))?;
    let inodes = (data.f_files > 0).then_some(data.f_favail);
    Ok(Free { bytes: data.f_bavail.saturating_mul(data.f_frsize), inodes })
}

/// Returns the mount point that a directory lies on by fstab(5) and where nothing is mounted now: what
/// is written there would fill the file system above, and be hidden by the next mount.
///
/// Paths of that file are below `root`.
pub fn missing_mount(dir: &Path, root: &Path) -> Option<PathBuf> {
    let table = std::fs::read_to_string(root.join("etc/fstab")).ok()?;
    let mounted = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    absent(dir, root, &table, &mounted)
}

fn absent(dir: &Path, root: &Path, table: &str, mounted: &str) -> Option<PathBuf> {
    let mut mounted = mounted.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    let points = table.lines().filter(|line| !line.trim_start().starts_with('#'));
    let points = points.filter_map(|line| line.split_whitespace().nth(1)).map(unescaped);
    let expected = points
        .filter_map(|point| {
            Some(root.join(point.strip_prefix('/').filter(|rest| !rest.is_empty())?))
        })
        .filter(|point| dir.starts_with(point))
        .max_by_key(|point| point.components().count())?;
    (!mounted.any(|point| Path::new(&point) == expected)).then_some(expected)
}

/// Returns the name in `/dev` of the device that fstab(5) below `root` mounts at a directory by itself; none
/// where it does not, or where somebody else decides when (`noauto`, an automount).
pub fn fstab_device(point: &Path, root: &Path) -> Option<PathBuf> {
    device_in(point, &std::fs::read_to_string(root.join("etc/fstab")).ok()?)
}

fn device_in(point: &Path, table: &str) -> Option<PathBuf> {
    let mut rows = table.lines().filter(|line| !line.trim_start().starts_with('#'));
    let (what, options) = rows.find_map(|row| {
        let mut words = row.split_whitespace();
        let (what, at) = (words.next()?, unescaped(words.next()?));
        (Path::new(&at) == point).then(|| (unescaped(what), words.nth(1).unwrap_or_default()))
    })?;
    if options.split(',').any(|word| ["noauto", "x-systemd.automount"].contains(&word)) {
        return None;
    }
    let Some((tag, value)) = what.split_once('=') else {
        return what.starts_with("/dev/").then(|| PathBuf::from(what));
    };
    let kind = match tag {
        "UUID" => "by-uuid",
        "LABEL" => "by-label",
        "PARTUUID" => "by-partuuid",
        "PARTLABEL" => "by-partlabel",
        _ => return None,
    };
    Some(Path::new("/dev/disk").join(kind).join(udev_name(value.trim_matches('"'))))
}

/// Returns a label as udev writes it into the name of a link (`encode_devnode_name` of systemd).
fn udev_name(label: &str) -> String {
    let mut name = String::new();
    for letter in label.chars() {
        if letter.is_ascii_alphanumeric() || "#+-.:=@_".contains(letter) || !letter.is_ascii() {
            name.push(letter);
        } else {
            name.push_str(&format!("\\x{:02x}", u32::from(letter)));
        }
    }
    name
}

/// What is mounted at a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Number of the mount, new at each mount while the machine runs.
    pub id: String,
    /// Device as the kernel names it, such as `/dev/vdb`.
    pub source: String,
    /// Its type, such as `ext4`.
    pub kind: String,
}

/// Returns what is mounted at exactly this directory, the topmost; none where nothing is.
pub fn mounted_at(point: &Path) -> Option<Mounted> {
    mounted_in(point, &std::fs::read_to_string("/proc/self/mountinfo").ok()?)
}

fn mounted_in(point: &Path, table: &str) -> Option<Mounted> {
    let here = |line: &&str| {
        line.split(' ').nth(4).map(unescaped).is_some_and(|at| Path::new(&at) == point)
    };
    // The last one covers those before it.
    let line = table.lines().rfind(here)?;
    let (first, last) = line.split_once(" - ")?;
    let mut last = last.split(' ');
    let (kind, source) = (last.next()?.to_owned(), unescaped(last.next()?));
    Some(Mounted { id: first.split(' ').next()?.to_owned(), source, kind })
}

/// Undoes what fstab(5) and proc(5) do to blanks: a backslash and three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

/// Returns whether the file system that holds a directory copies files by reflink: tried with two
/// files that have no name and are gone at once.
pub fn reflinks(dir: &Path) -> bool {
    use rustix::fs::{Mode, OFlags};
    let nameless = || {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR)
    };
    let attempt = || -> rustix::io::Result<()> {
        let (from, to) = (nameless()?, nameless()?);
        rustix::io::write(&from, &[0; 4096])?;
        rustix::fs::ioctl_ficlone(&to, &from)
    };
    attempt().is_ok()
}

fn nearest_existing(path: &Path) -> PathBuf {
    path.ancestors().find(|part| part.exists()).unwrap_or(Path::new("/")).to_owned()
}

/// Says a number of bytes as people do: `512 bytes`, `3.1 GiB`.
pub fn spoken(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let (mut tenths, mut unit) = (bytes.saturating_mul(10) / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_of_a_mount_point_is_named_as_udev_names_it() {
        let table = "# /dev/old /srv/data ext4\nUUID=1234-ab /srv/data ext4 nofail 0 2\n\
                     LABEL=\"my\\040data\" /srv/a\\040b ext4\nPARTUUID=77 /boot vfat noauto\n\
                     /dev/vdb1 /srv/plain ext4\nserver:/x /srv/nfs nfs _netdev\n";
        let device = |point: &str| device_in(Path::new(point), table);
        assert_eq!(device("/srv/data"), Some("/dev/disk/by-uuid/1234-ab".into()));
        assert_eq!(device("/srv/a b"), Some("/dev/disk/by-label/my\\x20data".into()));
        assert_eq!(device("/srv/plain"), Some("/dev/vdb1".into()));
        for nothing in ["/boot", "/srv/nfs", "/srv"] {
            assert_eq!(device(nothing), None, "{nothing}");
        }
    }

    /// Row 9.
    #[test]
    fn a_directory_below_a_mount_point_of_fstab_wants_it_mounted() {
        let table = "# <device> <point>\nUUID=1 / ext4 defaults 0 1\n/dev/sdb1\t/srv/back\\040up\text4\n\
                     nas:/x /srv/back\\040up/nas nfs noauto 0 0\nUUID=2 none swap sw 0 0\n";
        let mounted =
            "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 8:2 / /srv/back\\040up rw - ext4 x rw\n";
        let of = |dir: &str| absent(Path::new(dir), Path::new("/"), table, mounted);
        assert_eq!(of("/var/lib/openwatch/backups"), None);
        assert_eq!(of("/srv/back up/openwatch"), None);
        assert_eq!(of("/srv/back upper"), None);
        assert_eq!(of("/srv/back up/nas/openwatch"), Some("/srv/back up/nas".into()));
        let below = absent(Path::new("/r/srv/back up"), Path::new("/r"), table, mounted);
        assert_eq!(below, Some("/r/srv/back up".into()));
    }

    #[test]
    fn what_is_mounted_last_at_a_directory_counts() {
        let table = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                     30 22 7:0 / /srv/data rw,noatime shared:9 - ext4 /dev/loop0 rw\n\
                     31 30 7:1 / /srv/data rw - xfs /dev/loop1 rw\n";
        let found = mounted_in(Path::new("/srv/data"), table).unwrap();
        assert_eq!((found.id.as_str(), found.source.as_str()), ("31", "/dev/loop1"));
        assert_eq!(found.kind, "xfs");
        assert_eq!(mounted_in(Path::new("/srv"), table), None);
    }

    #[test]
    fn bytes_are_said_in_the_largest_unit_that_fits() {
        assert_eq!(spoken(0), "0 bytes");
        assert_eq!(spoken(1024), "1.0 KiB");
        assert_eq!(spoken(3_328_599_654), "3.0 GiB");
        assert_eq!(spoken(1024 * 1024 - 1), "1023.9 KiB");
    }

    #[test]
    fn a_directory_that_does_not_exist_yet_has_the_space_of_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free(&dir.path().join("a/b/c")).unwrap().bytes > 0);
    }
}

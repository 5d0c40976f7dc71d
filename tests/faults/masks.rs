//! The mask for new files that somebody left behind.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::support::machine::TestMachine;

/// The modes of what lies below a directory, and of itself.
fn modes(dir: &Path, found: &mut BTreeSet<(char, u32)>) {
    let mode = |path: &Path| path.symlink_metadata().unwrap().permissions().mode() & 0o7777;
    found.insert(('d', mode(dir)));
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            modes(&path, found);
        } else {
            found.insert(('f', mode(&path)));
        }
    }
}

/// Row 23.
#[test]
fn restore_points_and_state_are_private_whatever_the_mask_of_the_run_is() {
    for mask in ["0000", "0022"] {
        let shell = format!("umask {mask}; exec \"$0\" \"$@\"");
        let machine = TestMachine::new().ship("good").within(&["sh".into(), "-c".into(), shell]);
        machine.run(["backup", "create"]).success();
        machine.run(["upgrade", "--from", "1.0.0-1"]).success();
        let mut found = BTreeSet::new();
        modes(&machine.backups(), &mut found);
        assert_eq!(found, BTreeSet::from([('d', 0o700), ('f', 0o600)]), "umask {mask}");
        let mut found = BTreeSet::new();
        modes(&machine.upgrade_dir(), &mut found);
        let open: Vec<_> = found.iter().filter(|(_, mode)| mode & 0o022 != 0).collect();
        assert_eq!(open, [&(' ', 0); 0], "umask {mask}: others may write to the state");
        let out = machine.dir().join("out.tar");
        let id = machine.points().pop().unwrap();
        machine.run(["backup", "export", &id, out.to_str().unwrap()]).success();
        let mode = out.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "umask {mask}: the export");
        machine.run(["backup", "verify", &id]).success();
    }
}

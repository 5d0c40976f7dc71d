//! Acting as the system user that a database is reached as, in one thread at a time.

use crate::error::{Error, Result};
use crate::system::identity::Identity;

/// Makes the calling thread, and only it, act as a system user.
///
/// The server's peer authentication sees the effective user of the thread that connects. The real
/// and the saved user stay root, so that processes of that user may not send this one signals.
pub fn become_user(identity: &Identity) -> Result<()> {
    use rustix::process::{Gid, Uid};
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    if rustix::process::geteuid().as_raw() == identity.uid {
        return Ok(());
    }
    let failed = |error: rustix::io::Errno| {
        Error::config(format!("cannot act as system user {}", identity.name))
            .hint("Run the same command as root.")
            .source(error)
    };
    // Groups first: the right to change them goes with the user.
    set_thread_groups(&identity.groups()).map_err(failed)?;
    set_thread_res_gid(None, Gid::from_raw(identity.gid), None).map_err(failed)?;
    set_thread_res_uid(None, Uid::from_raw(identity.uid), None).map_err(failed)
}

/// Does work with no more rights than the system user has.
///
/// Service files, password files and keys lie in that user's home directory. Read with the rights of
/// root, a link there could name any file of the machine, and a service file the server to which its
/// content goes. Who is not root has no rights to give up.
pub fn with_rights_of<T: Send>(
    identity: Option<&Identity>,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let Some(identity) = identity.filter(|_| rustix::process::geteuid().is_root()) else {
        return work();
    };
    let job = move || become_user(identity).and_then(|()| work());
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("files".into()).spawn_scoped(scope, job);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => {
                Err(Error::failed("the work with the files of a database ended unexpectedly"))
            }
            Err(error) => Err(Error::failed("cannot start a thread").source(error)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn files_of_root_are_not_read_for_another_user() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: giving up the rights of root needs root");
            return;
        }
        let nobody = Identity::of("nobody").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(file.path(), mode).unwrap();
        let read = || Ok(std::fs::read(file.path()).map_err(|error| error.kind()));
        let denied = with_rights_of(Some(&nobody), read).unwrap();
        assert_eq!(denied, Err(std::io::ErrorKind::PermissionDenied));
        assert!(with_rights_of(None, read).unwrap().is_ok());
        // Only that thread changed.
        assert!(read().unwrap().is_ok());
    }
}

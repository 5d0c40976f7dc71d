//! System users, looked up through NSS.

use std::path::PathBuf;

use crate::error::{Error, Result};

/// Returns who asks, for whoever reads it later: whom `sudo` names, or the user of this process.
pub fn caller() -> Option<String> {
    let plain = |name: &String| {
        !name.is_empty() && name.len() < 256 && !name.chars().any(|c| c.is_control() || c == ' ')
    };
    let sudo = std::env::var("SUDO_USER").ok().filter(plain);
    sudo.or_else(|| Some(nix::unistd::User::from_uid(nix::unistd::getuid()).ok()??.name))
}

/// The system user that a child runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home directory, where libpq looks for `.pgpass`.
    pub home: PathBuf,
}

impl Identity {
    /// Looks a system user up (through NSS, so that directory services work).
    pub fn of(name: &str) -> Result<Self> {
        match nix::unistd::User::from_name(name) {
            Ok(Some(user)) => Ok(Self {
                name: user.name,
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
                home: user.dir,
            }),
            Ok(None) => Err(Error::config(format!("there is no system user {name}"))),
            Err(errno) => {
                Err(Error::failed(format!("cannot look up the system user {name}")).source(errno))
            }
        }
    }

    /// Looks a system user up by its number; one that has no entry is known by its number alone.
    pub fn of_uid(uid: u32) -> Result<Self> {
        match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
            Ok(Some(user)) => {
                Ok(Self { name: user.name, uid, gid: user.gid.as_raw(), home: user.dir })
            }
            Ok(None) => Ok(Self { name: uid.to_string(), uid, gid: uid, home: "/".into() }),
            Err(errno) => {
                Err(Error::failed(format!("cannot look up the system user {uid}")).source(errno))
            }
        }
    }

    /// Returns every group that the user is a member of.
    pub fn groups(&self) -> Vec<rustix::process::Gid> {
        let own = nix::unistd::Gid::from_raw(self.gid);
        let name = std::ffi::CString::new(self.name.as_str()).unwrap_or_default();
        let all = nix::unistd::getgrouplist(&name, own).unwrap_or_else(|_| vec![own]);
        all.into_iter().map(|group| rustix::process::Gid::from_raw(group.as_raw())).collect()
    }

    /// Makes the calling thread, and only it, this user in every respect and for good: what it
    /// starts can not become root again.
    pub fn assume(&self) -> std::io::Result<()> {
        use rustix::process::{Gid, Uid};
        use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
        if rustix::process::geteuid().as_raw() == self.uid {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        // Groups first: the right to change them goes with the user.
        set_thread_groups(&self.groups())?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    }
}

/// Returns who runs this, as far as the machine knows: the user, and who logged in to become it.
pub fn person() -> String {
    let named = |uid: u32| {
        let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
        user.ok().flatten().map_or_else(|| format!("uid {uid}"), |user| user.name)
    };
    let uid = rustix::process::getuid().as_raw();
    // -1 for what nobody's login started, such as a service.
    let text = super::fs::read_text(std::path::Path::new("/proc/self/loginuid"), 32);
    let login = text.ok().and_then(|text| text.trim().parse::<u32>().ok());
    match login.filter(|login| *login != u32::MAX && *login != uid) {
        Some(login) => format!("{}, logged in as {}", named(uid), named(login)),
        None => named(uid),
    }
}

/// Returns the name of a user, where the machine knows one.
pub fn user_name(uid: u32) -> Option<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
    user.ok().flatten().map(|user| user.name)
}

/// Returns the name of a group, where the machine knows one.
pub fn group_name(gid: u32) -> Option<String> {
    let group = nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(gid));
    group.ok().flatten().map(|group| group.name)
}

/// Returns the id of a user.
pub fn user_id(name: &str) -> Option<u32> {
    nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
}

/// Returns the id of a group.
pub fn group_id(name: &str) -> Option<u32> {
    nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}

//! System users, looked up through NSS.

use std::path::PathBuf;

use crate::error::{Error, Result};

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
}

//! What is wrong with a package file, before it is told with the file's name.

use std::io;
use std::path::Path;

use super::stream::Stopped;
use crate::error::Error;
use crate::outcome::Outcome;

/// What is wrong with a package file.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is no package at all.
    Foreign(String),
    /// It ends early or its bytes do not fit together.
    Damaged(String),
    /// It is made so that unpacking it would do harm; no packager's tool makes such a file.
    Hostile(String),
    /// It is a package, in a form that we do not read.
    Unread(String),
    /// We were asked to stop.
    Stopped(String),
    /// This machine failed, not the file.
    Machine(Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let stopped = error.get_ref().and_then(|inner| inner.downcast_ref::<Stopped>());
        match stopped {
            Some(Stopped::TooMuch(_)) => Self::Hostile(format!("it {error}")),
            Some(Stopped::Signal(_)) => Self::Stopped(error.to_string()),
            // tar tells it in words only.
            None if error.kind() == io::ErrorKind::UnexpectedEof
                || error.to_string().contains("EOF") =>
            {
                Self::Damaged("it ends too early".into())
            }
            None => Self::Damaged(error.to_string()),
        }
    }
}

impl Fault {
    /// Tells it as an operator reads it.
    pub(super) fn told(self, file: &Path) -> Error {
        let shown = file.display();
        let error = match self {
            Self::Foreign(why) => {
                Error::new(Outcome::Usage, format!("{shown} is not a package: {why}"))
                    .hint("Name a .deb or .rpm file.")
            }
            Self::Damaged(why) => Error::config(format!("the package {shown} is damaged: {why}"))
                .hint(format!(
                    "Get it again, and compare `sha256sum {shown}` with what its repository says."
                )),
            Self::Hostile(why) => Error::config(format!("the package {shown} is refused: {why}"))
                .detail("no packager's tool makes such a file")
                .hint("Do not install it; get the package from its packager again."),
            Self::Unread(why) => {
                Error::config(format!("the package {shown} cannot be read: {why}"))
                    .detail(
                        "gzip, xz and zstd are read, in a .deb with tar and in an .rpm with cpio",
                    )
                    .hint("Ask its packager for one that is packed like that.")
            }
            Self::Stopped(why) => {
                Error::failed(format!("the package {shown} was not read to its end: {why}"))
                    .hint("Run the same command again.")
            }
            Self::Machine(error) => error,
        };
        error.state("nothing was changed")
    }
}

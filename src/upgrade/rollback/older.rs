//! The older version of the program, as a rollback has it at hand.

use crate::error::Result;
use crate::layout::Layout;
use crate::package::candidate::Installed;
use crate::version::Version;

use super::super::tree::Tree;
use super::order::Program;
use super::source::{self, Source};

/// Who brings the older version.
#[derive(Clone, Debug)]
pub enum Older {
    /// The package tool, which knows the installed package so, from there.
    Package(Installed, Source),
    /// A directory of its own.
    Tree(Tree),
}

impl Older {
    /// Says where it comes from.
    pub fn told(&self) -> String {
        match self {
            Self::Package(_, source) => source.told(),
            Self::Tree(tree) => format!("in {}", tree.dir.display()),
        }
    }

    /// Returns the name of the package, where there is one.
    pub fn package(&self) -> Option<&Installed> {
        match self {
            Self::Package(installed, _) => Some(installed),
            Self::Tree(_) => None,
        }
    }

    /// Brings it to where nothing takes it away, and says who puts it in place.
    pub fn bring(&self, layout: &Layout, to: &Version) -> Result<Program> {
        match self {
            Self::Package(installed, source) => {
                let file = source::bring(layout, installed, to, source)?;
                Ok(Program::Exchanged { file })
            }
            Self::Tree(_) => Ok(Program::Tree),
        }
    }
}

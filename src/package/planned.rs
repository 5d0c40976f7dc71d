//! What a package tool is about to do, as it tells those who ask before it begins.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::version::Version;

/// One package that will be unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Name of the package.
    pub name: String,
    /// The installed version, where the tool tells it.
    pub from: Option<Version>,
    /// The version that would be unpacked.
    pub to: Version,
    /// Where the package lies, where the tool tells it.
    pub file: Option<PathBuf>,
}

/// Reads what apt writes to a hook of `DPkg::Pre-Install-Pkgs`, version 2 or 3 of the protocol.
///
/// Configuration comes first, until an empty line; then a line for each action: name, old version
/// (with architecture and kind in version 3), a direction, the new version likewise, and the file,
/// or `**CONFIGURE**`, `**REMOVE**`.
pub fn from_apt(text: &str) -> Result<Vec<Planned>> {
    let width = match text.lines().next() {
        Some("VERSION 3") => 9,
        Some("VERSION 2") => 5,
        _ => return Err(Error::failed("apt does not say what it plans in a version we know")),
    };
    let body = text.split_once("\n\n").map_or("", |(_, body)| body);
    let mut found = Vec::new();
    for line in body.lines() {
        // The file's name is last and may hold spaces.
        let words: Vec<&str> = line.splitn(width, ' ').collect();
        let (Some(name), Some(file)) = (words.first(), words.get(width - 1)) else { continue };
        // Version 3 has an architecture and a kind behind each version.
        let (from, to) = (words[1], words[width / 2 + 1]);
        if file.starts_with("**") || to == "-" {
            continue;
        }
        let from = (from != "-").then(|| Version::new(from));
        let file = Some(PathBuf::from(file));
        found.push(Planned { name: (*name).to_owned(), from, to: Version::new(to), file });
    }
    Ok(found)
}

/// Says before the words that each version is followed by the file of the package.
const WITH_FILES: &str = "--files";

/// Reads names and versions, one after the other, and files behind them where the first word says so.
pub fn from_words(words: &[String]) -> Result<Vec<Planned>> {
    let (words, width) = match words.split_first() {
        Some((first, rest)) if first == WITH_FILES => (rest, 3),
        Some(_) | None => (words, 2),
    };
    if !words.len().is_multiple_of(width) {
        return Err(Error::new(Outcome::Usage, "each package needs its version behind it"));
    }
    let one = |of: &[String]| {
        // Epoch 0 is none, as in the version file of a package.
        let to = of[1].strip_prefix("0:").unwrap_or(&of[1]);
        let file = of.get(2).filter(|file| !file.is_empty()).map(PathBuf::from);
        Planned { name: of[0].clone(), from: None, to: Version::new(to), file }
    };
    Ok(words.chunks_exact(width).map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "APT::Architecture=amd64\nDPkg::Tools::Options::x::Version=3\n\n";

    fn planned(name: &str, from: Option<&str>, to: &str) -> Planned {
        Planned {
            name: name.into(),
            from: from.map(Version::new),
            to: Version::new(to),
            file: None,
        }
    }

    fn lying(file: &str, planned: Planned) -> Planned {
        Planned { file: Some(file.into()), ..planned }
    }

    #[test]
    fn what_apt_unpacks_is_read_from_either_version() {
        let three = "\
shop 1.0-1 amd64 none < 2.0-1 amd64 none /var/cache/apt/archives/shop 2.deb
tool - - none < 0.9 all none /tmp/tool.deb
gone 1.0 amd64 none > - - none **REMOVE**
shop 1.0-1 amd64 none < 2.0-1 amd64 none **CONFIGURE**
";
        let (shop, tool) = (planned("shop", Some("1.0-1"), "2.0-1"), planned("tool", None, "0.9"));
        let shop_file = "/var/cache/apt/archives/shop 2.deb";
        let expected = [lying(shop_file, shop.clone()), lying("/tmp/tool.deb", tool.clone())];
        assert_eq!(from_apt(&format!("VERSION 3\n{HEAD}{three}")).unwrap(), expected);
        let two = "shop 1.0-1 < 2.0-1 /a/shop.deb\ntool - < 0.9 /tool.deb\ngone 1 > - **REMOVE**\n";
        let expected = [lying("/a/shop.deb", shop), lying("/tool.deb", tool)];
        assert_eq!(from_apt(&format!("VERSION 2\n{HEAD}{two}")).unwrap(), expected);
        assert_eq!(from_apt(&format!("VERSION 3\n{HEAD}")).unwrap(), []);
    }

    #[test]
    fn what_apt_does_not_say_in_a_known_way_is_no_plan() {
        for text in ["", "/var/cache/apt/archives/shop.deb\n", "VERSION 4\n\n"] {
            assert!(from_apt(text).is_err(), "{text:?}");
        }
        // Cut off, or of another form: such lines say nothing.
        assert_eq!(from_apt("VERSION 3\n\nshop 1.0-1\n\n").unwrap(), []);
    }

    #[test]
    fn words_are_names_and_versions() {
        let words = ["shop", "0:2.0-1", "tool", "1:0.9-1"].map(str::to_owned);
        let expected = [planned("shop", None, "2.0-1"), planned("tool", None, "1:0.9-1")];
        assert_eq!(from_words(&words).unwrap(), expected);
        assert_eq!(from_words(&[]).unwrap(), []);
        assert!(from_words(&words[..3]).is_err());
        let words = ["--files", "shop", "0:2.0-1", "/a/shop.rpm"].map(str::to_owned);
        let shop = lying("/a/shop.rpm", planned("shop", None, "2.0-1"));
        assert_eq!(from_words(&words).unwrap(), [shop]);
    }
}

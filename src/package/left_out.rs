//! Files that dpkg left out at the installation, because its configuration says so.
//!
//! `path-exclude` and `path-include` are read as dpkg reads them: options in the order of dpkg.cfg.d,
//! dpkg.cfg and root's own file, patterns of fnmatch(3) in which `*` and `?` stand for `/` too, and the
//! last one that matches decides. dpkg has no command that answers this, and its `--verify` calls what
//! was left out missing. (rpm notes at the installation what it left out, and `rpm --verify` knows.)

use std::io;
use std::path::Path;

use crate::error::{Context as _, Result};
use crate::system::fs;

/// Far more than a configuration of dpkg has.
const MOST_BYTES: u64 = 1 << 20;

/// The path filters of a system, in the order in which dpkg asks them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filters(Vec<Filter>);

#[derive(Debug, PartialEq, Eq)]
enum Filter {
    Exclude(Vec<char>),
    Include(Vec<char>),
}

impl Filters {
    /// Reads the filters of the system below `root`.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        let dir = root.join("etc/dpkg/dpkg.cfg.d");
        match std::fs::read_dir(&dir) {
            Ok(entries) => {
                let names = entries.flatten().filter(|entry| is_read(&entry.file_name()));
                files.extend(names.map(|entry| entry.path()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(|| format!("cannot read {}", dir.display())),
        }
        files.sort();
        files.extend(["etc/dpkg/dpkg.cfg", "root/.dpkg.cfg"].map(|name| root.join(name)));
        let mut filters = Self::default();
        for file in files {
            match fs::read_text(&file, MOST_BYTES) {
                Ok(text) => filters.0.extend(text.lines().filter_map(filter)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // The home of root is root's alone; dpkg's own configuration is everybody's.
                Err(error)
                    if error.kind() == io::ErrorKind::PermissionDenied
                        && file.ends_with(".dpkg.cfg") => {}
                Err(error) => {
                    return Err(error).context(|| format!("cannot read {}", file.display()));
                }
            }
        }
        Ok(filters)
    }

    /// Returns whether dpkg does not unpack `path`.
    pub(super) fn leave_out(&self, path: &Path) -> bool {
        let path: Vec<char> = path.to_string_lossy().chars().collect();
        let decided = self.0.iter().rev().find_map(|filter| match filter {
            Filter::Exclude(pattern) => matches(pattern, &path).then_some(true),
            Filter::Include(pattern) => matches(pattern, &path).then_some(false),
        });
        decided.unwrap_or(false)
    }
}

/// dpkg passes over every other name, such as those of editors and of conffiles put aside.
fn is_read(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
}

/// Reads `NAME=VALUE` or `NAME VALUE`, the value with or without quotes; other options are none of ours.
fn filter(line: &str) -> Option<Filter> {
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '-')?;
    let (name, rest) = line.split_at(end);
    let mut value = rest.get(1..)?.trim();
    if !rest.starts_with('=') {
        value = value.strip_prefix('=').unwrap_or(value).trim_start();
    }
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            value = rest.strip_suffix(quote)?;
            break;
        }
    }
    let pattern = value.chars().collect();
    match name {
        "path-exclude" => Some(Filter::Exclude(pattern)),
        "path-include" => Some(Filter::Include(pattern)),
        _ => None,
    }
}

/// Matches as fnmatch(3) without flags does: `*`, `?` and `[…]` stand for `/` and a leading dot too.
fn matches(pattern: &[char], text: &[char]) -> bool {
    let (mut at, mut in_text) = (0, 0);
    // Behind the last `*`, and where in the text what follows it is tried.
    let mut again: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            at += 1;
            again = Some((at, in_text));
            continue;
        }
        let next = text.get(in_text);
        match (next, next.and_then(|next| one(pattern.get(at..)?, *next))) {
            (_, Some(length)) => (at, in_text) = (at + length, in_text + 1),
            (None, None) if at == pattern.len() => return true,
            (_, None) => match again {
                Some((behind, tried)) if tried < text.len() => {
                    again = Some((behind, tried + 1));
                    (at, in_text) = (behind, tried + 1);
                }
                Some(_) | None => return false,
            },
        }
    }
}

/// Returns how much of the pattern stands for this character; none where it does not.
fn one(pattern: &[char], next: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', literal, ..] => (*literal == next).then_some(2),
        ['[', inner @ ..] => match bracket(inner, next) {
            Some((length, found)) => found.then_some(length + 1),
            // Nothing closes it: it stands for itself.
            None => (next == '[').then_some(1),
        },
        [literal, ..] => (*literal == next).then_some(1),
        [] => None,
    }
}

/// Reads what stands behind `[`; none where nothing closes it. Returns its length with the `]`, and
/// whether the character is of it.
fn bracket(inner: &[char], next: char) -> Option<(usize, bool)> {
    let negated = matches!(inner.first(), Some('!' | '^'));
    let first = usize::from(negated);
    let (mut at, mut found) = (first, false);
    loop {
        match inner.get(at..)? {
            [']', ..] if at > first => return Some((at + 1, found != negated)),
            ['[', ':', rest @ ..] if rest.windows(2).any(|two| two == [':', ']']) => {
                let length = rest.windows(2).position(|two| two == [':', ']'])?;
                found |= is_of_class(&rest[..length].iter().collect::<String>(), next);
                at += length + 4;
            }
            _ => {
                let (low, length) = literal(inner, at)?;
                at += length;
                let range = inner.get(at) == Some(&'-') && inner.get(at + 1) != Some(&']');
                let (high, length) = if range { literal(inner, at + 1)? } else { (low, 0) };
                at += if range { length + 1 } else { 0 };
                found |= (low..=high).contains(&next);
            }
        }
    }
}

fn literal(inner: &[char], at: usize) -> Option<(char, usize)> {
    match inner.get(at..)? {
        ['\\', literal, ..] => Some((*literal, 2)),
        [literal, ..] => Some((*literal, 1)),
        [] => None,
    }
}

fn is_of_class(name: &str, next: char) -> bool {
    match name {
        "alnum" => next.is_alphanumeric(),
        "alpha" => next.is_alphabetic(),
        "blank" => matches!(next, ' ' | '\t'),
        "cntrl" => next.is_control(),
        "digit" => next.is_ascii_digit(),
        "graph" => !next.is_control() && !next.is_whitespace(),
        "lower" => next.is_lowercase(),
        "print" => !next.is_control(),
        "punct" => next.is_ascii_punctuation(),
        "space" => next.is_whitespace(),
        "upper" => next.is_uppercase(),
        "xdigit" => next.is_ascii_hexdigit(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(text: &str) -> Filters {
        Filters(text.lines().filter_map(filter).collect())
    }

    #[test]
    fn patterns_match_as_fnmatch_does() {
        // Each as Python's binding of the C library's fnmatch(3) says, flags 0.
        for (pattern, text, expected) in [
            ("/usr/share/doc/*", "/usr/share/doc/shop/copyright", true),
            ("/usr/share/doc/*", "/usr/share/doc", false),
            ("/usr/*/READ*", "/usr/share/doc/shop/README.gz", true),
            ("/usr/share/man/man?/*", "/usr/share/man/man1/shop.1.gz", true),
            ("/usr/share/man/man[1-8]/*", "/usr/share/man/man9/shop.9", false),
            ("/usr/share/locale/[!d]*", "/usr/share/locale/fr/shop.mo", true),
            ("/usr/share/locale/[^d]*", "/usr/share/locale/de/shop.mo", false),
            ("/a/[]x]", "/a/]", true),
            ("/a/[[:digit:]-]b", "/a/-b", true),
            ("/a/[[:upper:]]", "/a/b", false),
            ("/a/[x", "/a/[x", true),
            ("/a/\\*", "/a/*", true),
            ("/a/\\*", "/a/b", false),
            ("/a/[\\]]", "/a/]", true),
            ("*", "/.hidden/.file", true),
            ("/a?b", "/a/b", true),
            ("/*/*/*x", "/a/b/c/d/x", true),
            ("/a*b*c", "/aXbXbXd", false),
            ("", "", true),
            ("/a", "/a/b", false),
        ] {
            let chars = |text: &str| text.chars().collect::<Vec<char>>();
            assert_eq!(matches(&chars(pattern), &chars(text)), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_last_filter_that_matches_decides() {
        let filters = filters(
            "# path-exclude=/etc/*\nno-debsig\npath-exclude=/usr/share/doc/*\n\
             path-include /usr/share/doc/*/copyright\npath-exclude = \"/usr/share/doc/big/*\"\n\
             path-exclude='/srv/unbalanced\n",
        );
        for (path, left_out) in [
            ("/usr/share/doc/shop/changelog.gz", true),
            ("/usr/share/doc/shop/copyright", false),
            ("/usr/share/doc/big/copyright", true),
            ("/etc/shop.conf", false),
            ("/srv/unbalanced", false),
        ] {
            assert_eq!(filters.leave_out(Path::new(path)), left_out, "{path}");
        }
    }

    #[test]
    fn configuration_is_read_in_the_order_of_dpkg() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Filters::read(root.path()).unwrap(), Filters::default());
        let etc = root.path().join("etc/dpkg/dpkg.cfg.d");
        std::fs::create_dir_all(&etc).unwrap();
        for (name, text) in [
            ("dpkg.cfg.d/20-b", "path-include=/usr/share/doc/shop/*\n"),
            ("dpkg.cfg.d/10-a", "path-exclude=/usr/share/doc/*\n"),
            ("dpkg.cfg.d/30-c.dpkg-dist", "path-exclude=/usr/bin/*\n"),
            ("dpkg.cfg", "log /var/log/dpkg.log\npath-exclude=*/big.gz\n"),
        ] {
            std::fs::write(root.path().join("etc/dpkg").join(name), text).unwrap();
        }
        let filters = Filters::read(root.path()).unwrap();
        for (path, left_out) in [
            ("/usr/share/doc/shop/small.gz", false),
            ("/usr/share/doc/shop/big.gz", true),
            ("/usr/share/doc/other/small.gz", true),
            ("/usr/bin/shop", false),
        ] {
            assert_eq!(filters.leave_out(Path::new(path)), left_out, "{path}");
        }
    }
}

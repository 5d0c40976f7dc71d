//! Versions of packages and servers, and their order.

use std::cmp::Ordering;
use std::fmt;

/// A package version as dpkg or rpm writes it: `[epoch:]upstream[-release]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Version(String);

impl Version {
    /// Takes a version as it is written; surrounding white space is dropped.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().trim().to_owned())
    }

    /// Returns the version as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the part that the program itself knows: without epoch and package release.
    pub fn upstream(&self) -> &str {
        let text = self.0.split_once(':').map_or(self.0.as_str(), |(_, rest)| rest);
        text.rsplit_once('-').map_or(text, |(upstream, _)| upstream)
    }

    /// Compares two versions by the rules that dpkg and rpm share: epoch, then runs of digits as
    /// numbers and of letters as text, `~` before everything; the release only where both have one.
    pub fn order(&self, other: &Self) -> Ordering {
        let (own_epoch, own) = epoch(&self.0);
        let (other_epoch, others) = epoch(&other.0);
        let (own, own_release) = release(own);
        let (others, other_release) = release(others);
        own_epoch.cmp(&other_epoch).then_with(|| runs(own, others)).then_with(|| {
            match (own_release, other_release) {
                (Some(a), Some(b)) => runs(a, b),
                (None, _) | (_, None) => Ordering::Equal,
            }
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn epoch(text: &str) -> (u64, &str) {
    match text.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, text),
    }
}

fn release(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once('-') {
        Some((upstream, release)) => (upstream, Some(release)),
        None => (text, None),
    }
}

/// Compares by alternating runs; `~` sorts before the end, letters before other characters.
fn runs(mut a: &str, mut b: &str) -> Ordering {
    loop {
        let (text_a, rest_a) = split_run(a, |c| !c.is_ascii_digit());
        let (text_b, rest_b) = split_run(b, |c| !c.is_ascii_digit());
        let order = text_order(text_a, text_b);
        if order != Ordering::Equal {
            return order;
        }
        let (digits_a, after_a) = split_run(rest_a, |c| c.is_ascii_digit());
        let (digits_b, after_b) = split_run(rest_b, |c| c.is_ascii_digit());
        let order = number_order(digits_a, digits_b);
        if order != Ordering::Equal || (after_a.is_empty() && after_b.is_empty()) {
            return order;
        }
        (a, b) = (after_a, after_b);
    }
}

fn split_run(text: &str, inside: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !inside(c)).unwrap_or(text.len()))
}

fn number_order(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn text_order(a: &str, b: &str) -> Ordering {
    let weight = |c: Option<char>| match c {
        Some('~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i64::from(u32::from(c)),
        Some(c) => i64::from(u32::from(c)) + 256,
    };
    let (mut a, mut b) = (a.chars(), b.chars());
    loop {
        let (x, y) = (a.next(), b.next());
        match weight(x).cmp(&weight(y)) {
            Ordering::Equal if x.is_none() => return Ordering::Equal,
            Ordering::Equal => {}
            order => return order,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(a: &str, b: &str) -> Ordering {
        Version::new(a).order(&Version::new(b))
    }

    #[test]
    fn versions_order_as_dpkg_orders_them() {
        for (smaller, larger) in [
            ("1.0", "2.0"),
            ("1.9", "1.10"),
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0.1"),
            ("9.9", "1:0.1"),
            ("1.0-1", "1.0-2"),
            ("1.0a", "1.0b"),
            ("1.0~~", "1.0~"),
        ] {
            assert_eq!(order(smaller, larger), Ordering::Less, "{smaller} < {larger}");
            assert_eq!(order(larger, smaller), Ordering::Greater, "{larger} > {smaller}");
        }
    }

    #[test]
    fn a_missing_release_is_not_a_difference() {
        assert_eq!(order("2.0", "2.0-1"), Ordering::Equal);
        assert_eq!(order("1.00", "1.0"), Ordering::Equal);
    }

    #[test]
    fn the_upstream_part_has_neither_epoch_nor_release() {
        assert_eq!(Version::new("1:2.0~rc1-3").upstream(), "2.0~rc1");
        assert_eq!(Version::new("2.0").upstream(), "2.0");
    }
}

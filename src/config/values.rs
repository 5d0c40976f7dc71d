//! The forms of single values: durations, sizes, paths, units, addresses, programs.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::notes::{Notes, shown};
use super::section::{Value, last};

/// The longest duration: PostgreSQL counts timeouts in milliseconds of 31 bits, 24.8 days.
const LONGEST: Duration = Duration::from_secs(24 * 24 * 3600);

/// The shortest duration that is not nothing: PostgreSQL reads 0 ms as "for ever".
const SHORTEST: Duration = Duration::from_millis(1);

/// Whether a duration of nothing has a meaning.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    Allowed,
    Refused,
}

/// Reads a duration such as `60s` or `2 min`.
pub(super) fn duration(
    value: Value<'_>,
    zero: Zero,
    default: &str,
    notes: &mut Notes,
) -> Option<Duration> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let number = value.as_integer().or_else(|| value.as_text()?.trim().parse().ok());
    if let Some(number) = number {
        // A number alone means seconds to whoever writes it; we ask rather than guess.
        let seconds = u64::try_from(number).ok().filter(|n| (1..=LONGEST.as_secs()).contains(n));
        let meant = seconds.map_or(default.to_owned(), |seconds| format!("{seconds}s"));
        let message = format!("{name} needs a unit, as in \"{meant}\"");
        notes.write_instead(&place, message, &format!("{} = \"{meant}\"", last(&name)));
        return None;
    }
    let fix = format!("{} = \"{default}\"", last(&name));
    let text = value.text(&format!("\"{default}\""), notes)?;
    let reason = match humantime::parse_duration(text.trim()) {
        Err(error) => format!("is not a duration ({error})"),
        Ok(found) if found > LONGEST => "is longer than 24 days".to_owned(),
        Ok(found) if found < SHORTEST && (zero == Zero::Refused || !found.is_zero()) => {
            "is shorter than 1 ms".to_owned()
        }
        Ok(found) => return Some(found),
    };
    notes.write_instead(&place, format!("{name} {} {reason}", shown(&text)), &fix);
    None
}

/// Reads a size: bytes as a number, or text such as `512 MiB`.
pub(super) fn size(value: Value<'_>, default: &str, notes: &mut Notes) -> Option<u64> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let fix = format!("{} = \"{default}\"", last(&name));
    let found = match (value.as_integer(), value.as_text()) {
        (Some(number), _) => u64::try_from(number).map_err(|_| "is negative".to_owned()),
        (None, Some(text)) => {
            parse_size(text).ok_or_else(|| format!("{} is not a size", shown(text)))
        }
        (None, None) => Err(format!("must be a size, not {}", value.kind())),
    };
    found.map_err(|reason| notes.write_instead(&place, format!("{name} {reason}"), &fix)).ok()
}

/// Reads a size such as `512 MiB`, in bytes.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    const UNITS: &[(&str, u64)] = &[
        ("", 1),
        ("b", 1),
        ("k", 1 << 10),
        ("kib", 1 << 10),
        ("m", 1 << 20),
        ("mib", 1 << 20),
        ("g", 1 << 30),
        ("gib", 1 << 30),
        ("t", 1 << 40),
        ("tib", 1 << 40),
        ("kb", 1000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
    ];
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = UNITS.iter().find(|(known, _)| *known == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Reads one of a few words.
pub(super) fn choice<T: Copy>(
    value: Value<'_>,
    words: &[(&str, T)],
    notes: &mut Notes,
) -> Option<T> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let default = words.first().map_or("", |(word, _)| word);
    let text = value.text(&format!("\"{default}\""), notes)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
    if found.is_none() {
        let known: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let message = format!("{name} {} is not one of {}", shown(&text), known.join(", "));
        notes.write_instead(&place, message, &format!("{} = \"{default}\"", last(&name)));
    }
    found
}

/// Reads an absolute path without `..` that is not the root directory.
pub(super) fn path(value: Value<'_>, example: &Path, notes: &mut Notes) -> Option<PathBuf> {
    let root = Some("is the root directory");
    absolute(value, example, root, notes)
}

/// Reads an absolute path without `..` to look at, so that the root directory is one.
pub(super) fn place(value: Value<'_>, example: &Path, notes: &mut Notes) -> Option<PathBuf> {
    absolute(value, example, None, notes)
}

fn absolute(
    value: Value<'_>,
    example: &Path,
    root: Option<&str>,
    notes: &mut Notes,
) -> Option<PathBuf> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let example = format!("\"{}\"", example.display());
    let text = value.text(&example, notes)?;
    let found = PathBuf::from(&text);
    let reason = if !found.is_absolute() {
        "is not an absolute path"
    } else if found.components().any(|part| part == Component::ParentDir) {
        "contains `..`"
    } else if let Some(fault) = root.filter(|_| found.parent().is_none()) {
        fault
    } else if text.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Some(found);
    };
    let fix = format!("{} = {example}", last(&name));
    notes.write_instead(&place, format!("{name} {} {reason}", shown(&text)), &fix);
    None
}

/// Reads a list of absolute paths of files.
pub(super) fn files(value: Value<'_>, notes: &mut Notes) -> Option<Vec<PathBuf>> {
    const EXAMPLE: &str = "/etc/app/key";
    let mut files = Vec::new();
    for entry in value.list(&format!("[\"{EXAMPLE}\"]"), notes)? {
        files.push(path(entry, Path::new(EXAMPLE), notes)?);
    }
    Some(files)
}

/// Reads an argument list whose first entry is the absolute path of a program.
pub(super) fn program(value: Value<'_>, notes: &mut Notes) -> Option<Vec<String>> {
    const EXAMPLE: &str = "[\"/usr/bin/true\"]";
    let (name, place) = (value.name.clone(), value.place.clone());
    let entries = value.list(EXAMPLE, notes)?;
    let mut arguments = Vec::new();
    for entry in entries {
        arguments.push(entry.text(EXAMPLE, notes)?);
    }
    let reason = match arguments.first() {
        None => "is an empty list; its first entry is a program".to_owned(),
        Some(first) if !first.starts_with('/') => {
            format!("must begin with the absolute path of a program, not {}", shown(first))
        }
        Some(_) if arguments.iter().any(|argument| argument.contains('\0')) => {
            "contains a NUL character".to_owned()
        }
        Some(_) => return Some(arguments),
    };
    notes.problem(
        &place,
        format!("{name} {reason}"),
        "write the program's path and its arguments, each in double quotes",
    );
    None
}

/// Says why a text is no unit name, where it is none.
///
/// Characters and length are systemd's (`unit_name_is_valid` in src/basic/unit-name.c); templates
/// without an instance and patterns cannot be stopped and started again, so they are refused too.
pub(super) fn unit_fault(text: &str) -> Option<&'static str> {
    const KINDS: &[&str] = &[
        "service",
        "socket",
        "target",
        "timer",
        "path",
        "slice",
        "scope",
        "mount",
        "automount",
        "swap",
        "device",
    ];
    let Some((prefix, suffix)) = text.rsplit_once('.') else {
        return Some("has no suffix such as .service");
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || ":_.\\-@".contains(c);
    if !KINDS.contains(&suffix) {
        Some("does not end with a kind of unit such as .service")
    } else if text.len() > 255 {
        Some("is longer than 255 characters")
    } else if !text.chars().all(legal) {
        Some("contains a character that no unit name has")
    } else if prefix.is_empty() || prefix.starts_with('@') || prefix.starts_with('-') {
        Some("has no name before its suffix")
    } else if prefix.ends_with('@') {
        Some("is a template; name an instance of it")
    } else {
        None
    }
}

/// Says why a text is no `http://` or `https://` address, where it is none.
///
/// Messages never show an address: a path or a query may hold a token.
pub(super) fn url_fault(text: &str, schemes: Schemes) -> Option<String> {
    let Schemes { plain, tls } = schemes;
    let Some(rest) = text.strip_prefix(plain).or_else(|| text.strip_prefix(tls)) else {
        return Some(format!("does not begin with {plain} or {tls}"));
    };
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Some("contains white space".to_owned());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    if host.ends_with(':') || host_port_fault(host, Port::Optional).is_some() {
        return Some("has no valid host and port".to_owned());
    }
    None
}

/// How addresses of one kind begin.
#[derive(Clone, Copy)]
pub(super) struct Schemes {
    /// In clear.
    pub(super) plain: &'static str,
    /// With TLS.
    pub(super) tls: &'static str,
}

/// Whether a port must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    Optional,
    Needed,
}

/// Says why a text is no `host:port`, where it is none; addresses of IPv6 are in brackets.
pub(super) fn host_port_fault(text: &str, need: Port) -> Option<&'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => return Some("has something other than a port behind the bracket"),
            },
            None => return Some("lacks the closing bracket"),
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let bracketed = text.starts_with('[');
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let host_is_good = match bracketed {
        true => host.parse::<std::net::Ipv6Addr>().is_ok(),
        false => !host.is_empty() && host.chars().all(legal),
    };
    if !host_is_good {
        return Some("has no valid host");
    }
    match port {
        None if need == Port::Needed => Some("has no port"),
        None => None,
        Some(port) => match port.parse::<u16>() {
            Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => None,
            _ => Some("has no valid port"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: Schemes = Schemes { plain: "http://", tls: "https://" };

    #[test]
    fn sizes_are_bytes_or_numbers_with_a_unit() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("1GiB", Some(1 << 30)),
            (" 1 GiB ", Some(1 << 30)),
            ("1g", Some(1 << 30)),
            ("1GB", Some(1_000_000_000)),
            ("512 mib", Some(512 << 20)),
            ("", None),
            ("GiB", None),
            ("-1", None),
            ("1.5GiB", None),
            ("1 parsec", None),
            ("99999999999TiB", None),
            ("99999999999999999999999", None),
        ] {
            // A unit alone is no number.
            assert_eq!(parse_size(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn unit_names_are_those_that_can_be_started_again() {
        for good in ["openwatch.service", "app@1.service", "a-b_c.d.timer", "dev-x\\x2dy.mount"] {
            assert_eq!(unit_fault(good), None, "{good}");
        }
        for bad in [
            "",
            "openwatch",
            "openwatch.conf",
            ".service",
            "app@.service",
            "@1.service",
            "app*.service",
            "a b.service",
            "a/b.service",
            "--now.service",
            "a\n.service",
        ] {
            assert!(unit_fault(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_need_a_scheme_and_a_host() {
        for good in [
            "http://127.0.0.1:8480/readyz",
            "https://example.org",
            "http://[::1]:80/x?y=z#f",
            "https://user:word@example.org/hook",
        ] {
            assert_eq!(url_fault(good, WEB), None, "{good}");
        }
        for bad in [
            "",
            "example.org",
            "ftp://example.org",
            "http://",
            "http:///x",
            "http://host:0/",
            "http://host:/",
            "http://host:99999/",
            "http://host:+80/",
            "http://a b/",
            "http://[::1/",
        ] {
            assert!(url_fault(bad, WEB).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn a_tcp_target_is_a_host_and_a_port() {
        assert_eq!(host_port_fault("localhost:80", Port::Needed), None);
        assert_eq!(host_port_fault("[::1]:80", Port::Needed), None);
        for bad in ["localhost", ":80", "::1:80", "[::1]", "localhost:http", "localhost:70000"] {
            assert!(host_port_fault(bad, Port::Needed).is_some(), "{bad}");
        }
    }
}

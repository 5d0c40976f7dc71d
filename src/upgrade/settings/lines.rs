//! Keys of a configuration file by line: `key = value`, `key: value` and `KEY=value`, below
//! `[section]` as `section.key`.
//!
//! One scanner for INI, TOML, environment files and flat YAML: enough to find a key and its line, and
//! no judge of whether the file is well formed, which the application itself is.

/// One key, as a file has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'t> {
    pub(super) number: usize,
    pub(super) key: String,
    /// Without the quotes around it.
    pub(super) value: &'t str,
}

pub(super) fn read(text: &str) -> Vec<Line<'_>> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = name.trim_start_matches('[').trim().to_owned();
            continue;
        }
        let Some(end) = line.find(['=', ':']) else { continue };
        let key = bare(line[..end].trim_start_matches("export ").trim());
        let value = bare(line[end + 1..].trim());
        let key = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
        found.push(Line { number: at + 1, key, value });
    }
    found
}

/// Takes the quotes off, and a comment behind what stands without them.
fn bare(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(rest) = text.strip_prefix(quote) {
            return rest.split(quote).next().unwrap_or(rest);
        }
    }
    text.split(" #").next().unwrap_or(text).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<(usize, String, &str)> {
        read(text).into_iter().map(|line| (line.number, line.key, line.value)).collect()
    }

    #[test]
    fn keys_are_found_in_every_common_form() {
        for (text, key, value) in [
            ("port = 80", "port", "80"),
            ("  PORT=80", "PORT", "80"),
            ("export PORT='80'", "PORT", "80"),
            ("port: 80 # of the proxy", "port", "80"),
            ("\"port\" = \"80\" # quoted", "port", "80"),
            ("[listen]\nport = 80", "listen.port", "80"),
            ("[[listen.on]]\nport = 80", "listen.on.port", "80"),
            ("url = http://host:80/#here", "url", "http://host:80/#here"),
        ] {
            assert_eq!(keys(text).last().unwrap(), &(text.lines().count(), key.into(), value));
        }
    }

    #[test]
    fn comments_and_lines_without_a_key_say_nothing() {
        assert_eq!(keys("# port = 80\n; port = 80\n\nport\n[open\n"), []);
    }
}

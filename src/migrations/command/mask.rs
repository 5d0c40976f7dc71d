//! Secrets of the connection, taken out of whatever a tool prints.

/// What a secret is replaced with.
const MASK: &str = "********";

/// Shorter values are left: they would tear ordinary words apart.
const SHORTEST: usize = 4;

/// The most of one line that is shown, in characters.
const SHOWN: usize = 500;

/// Knows the secrets that a tool was given, in every form in which it may print them.
#[derive(Clone, Default)]
pub(super) struct Mask {
    secrets: Vec<String>,
}

impl Mask {
    /// Returns a mask for these secrets.
    pub(super) fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut all: Vec<String> = secrets
            .into_iter()
            .flat_map(|secret| [percent_decoded(&secret), percent_encoded(&secret), secret])
            .filter(|secret| secret.len() >= SHORTEST)
            .collect();
        // The longest first: a password may be part of the connection string.
        all.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        all.dedup();
        Self { secrets: all }
    }

    /// Returns a line as it may be shown: without secrets, without control characters, not too long.
    pub(super) fn shown(&self, line: &str) -> String {
        let masked = self
            .secrets
            .iter()
            .fold(line.to_owned(), |text, secret| text.replace(secret.as_str(), MASK));
        let plain = without_escapes(&without_passwords(&masked));
        match plain.char_indices().nth(SHOWN) {
            Some((cut, _)) => format!("{}…", &plain[..cut]),
            None => plain,
        }
    }
}

/// Masks `user:password@` in addresses of any server: the tool may know others than we gave it.
fn without_passwords(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(after.len());
        rest = match after[..end].rsplit_once('@').and_then(|(login, _)| login.split_once(':')) {
            Some((user, password)) => {
                shown.push_str(user);
                shown.push(':');
                shown.push_str(MASK);
                &after[user.len() + 1 + password.len()..]
            }
            None => after,
        };
    }
    shown + rest
}

/// Removes colours and other orders to a terminal.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                // Parameters, then one letter that ends the order.
                while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
            '\t' => plain.push_str("    "),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().fold(String::new(), |encoded, byte| match plain(byte) {
        true => encoded + char::from(byte).encode_utf8(&mut [0; 4]),
        false => encoded + &format!("%{byte:02X}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_masked_in_every_form() {
        let mask = Mask::new(["p@ss/word".to_owned()]);
        for line in ["it is p@ss/word.", "it is p%40ss%2Fword."] {
            assert_eq!(mask.shown(line), "it is ********.");
        }
        assert_eq!(Mask::new(["p%40ss".to_owned()]).shown("p@ss"), MASK);
    }

    #[test]
    fn passwords_of_other_servers_are_masked_too() {
        let mask = Mask::default();
        for (line, shown) in [
            ("amqp://guest:gu:est@mq/x?y=a@b", "amqp://guest:********@mq/x?y=a@b"),
            ("see https://example.org/a:b@c", "see https://example.org/a:b@c"),
            ("http://user@host and ftp://a:b@c d", "http://user@host and ftp://a:********@c d"),
        ] {
            assert_eq!(mask.shown(line), shown);
        }
    }

    #[test]
    fn orders_to_a_terminal_are_left_out() {
        let mask = Mask::default();
        assert_eq!(mask.shown("\u{1b}[1;31mred\u{1b}[0m\u{7}\tend"), "red    end");
        assert_eq!(mask.shown("\u{1b}[1;31"), "");
    }

    #[test]
    fn a_long_line_is_cut() {
        assert_eq!(Mask::default().shown(&"ä".repeat(SHOWN + 1)), "ä".repeat(SHOWN) + "…");
    }

    proptest::proptest! {
        #[test]
        fn no_secret_is_ever_shown(secret in "[ -~]{4,20}", before in ".{0,20}", after in ".{0,20}") {
            let shown = Mask::new([secret.clone()]).shown(&format!("{before}{secret}{after}"));
            proptest::prop_assert!(!shown.contains(&secret) || MASK.contains(&secret));
        }
    }
}

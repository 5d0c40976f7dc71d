//! SQL that a restore point recorded, matched against the few forms in which it is written: a point may
//! come from elsewhere, and what does not have such a form is neither run nor shown for pasting.

use super::globals::STAND_IN;

/// One word of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A plain word or number, in lower case.
    Word(String),
    /// A name in double quotes, without them.
    Name(String),
    /// A text in single quotes.
    Text,
    /// `,` `.` `-`: the only characters that stand by themselves.
    Sign(char),
}

/// Splits a text into words; none where it holds anything that none of our statements has.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            ' ' => {}
            ',' | '.' | '-' => found.push(Token::Sign(c)),
            '"' => found.push(Token::Name(quoted(&mut rest, '"', false)?)),
            '\'' => {
                quoted(&mut rest, '\'', false)?;
                found.push(Token::Text);
            }
            'E' if rest.peek() == Some(&'\'') => {
                rest.next();
                quoted(&mut rest, '\'', true)?;
                found.push(Token::Text);
            }
            c if c.is_ascii_alphanumeric() || c == '_' => {
                let mut word = String::from(c.to_ascii_lowercase());
                while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    word.push(c.to_ascii_lowercase());
                }
                found.push(Token::Word(word));
            }
            _ => return None,
        }
    }
    Some(found)
}

/// Reads to the closing quote; a backslash counts in `E''` only, and is refused in a plain text, which
/// the server would read otherwise with `standard_conforming_strings` off.
fn quoted(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    quote: char,
    escapes: bool,
) -> Option<String> {
    let mut inside = String::new();
    loop {
        match rest.next()? {
            c if c == quote => {
                if rest.next_if_eq(&quote).is_none() {
                    return Some(inside);
                }
                inside.push(quote);
            }
            '\\' if escapes => inside.push(rest.next()?),
            '\\' if quote == '\'' => return None,
            c => inside.push(c),
        }
    }
}

fn is_role(token: &Token) -> bool {
    matches!(token, Token::Word(_) | Token::Name(_))
}

/// Returns whether these are words of that list, texts, and signs such as the one of a number.
fn only(tokens: &[Token], words: &[&str]) -> bool {
    tokens.iter().all(|token| match token {
        Token::Word(word) => {
            words.contains(&word.as_str()) || word.chars().all(|c| c.is_ascii_digit())
        }
        Token::Text => true,
        Token::Name(_) | Token::Sign(_) => false,
    })
}

/// Returns whether this is encoding and locale as options of `CREATE DATABASE`, and nothing else.
pub(super) fn is_locale(text: &str) -> bool {
    let words = [
        "encoding",
        "lc_collate",
        "lc_ctype",
        "locale_provider",
        "icu",
        "icu_locale",
        "icu_rules",
        "builtin",
        "builtin_locale",
        "null",
    ];
    tokens(text).is_some_and(|tokens| only(&tokens, &words))
}

/// Returns whether these are attributes of `CREATE ROLE`, and nothing else.
pub(super) fn is_attributes(text: &str) -> bool {
    let words = [
        "superuser",
        "noinherit",
        "createrole",
        "createdb",
        "login",
        "replication",
        "bypassrls",
        "connection",
        "limit",
        "valid",
        "until",
    ];
    tokens(text).is_some_and(|tokens| only(&tokens, &words))
}

/// Returns whether this is a list of names as a setting holds it.
pub(super) fn is_list(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "_$/.:+~-, ".contains(c);
    let mut outside = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted(&mut rest, '"', false).is_none() => return false,
            '"' => {}
            c => outside.push(c),
        }
    }
    outside.chars().all(plain) && !outside.contains("--")
}

/// Returns whether this is a grant, a comment or a limit of the database itself.
pub(super) fn is_statement(text: &str) -> bool {
    let Some(tokens) = tokens(text) else { return false };
    let word = |word: &str| Token::Word(word.to_owned());
    let words = |text: &str| text.split(' ').map(word).collect::<Vec<_>>();
    let own = Token::Name(STAND_IN.to_owned());
    let begins = |text: &str, and: &str| {
        let head = [words(text), vec![own.clone()], words(and)].concat();
        tokens.strip_prefix(head.as_slice())
    };
    if let Some(rest) = begins("revoke all on database", "from public") {
        return matches!(rest, [Token::Sign(','), role] if is_role(role));
    }
    for right in ["create", "connect", "temporary", "temp"] {
        if let Some(rest) = begins(&format!("grant {right} on database"), "to") {
            let option = words("with grant option");
            return match rest {
                [role] => is_role(role),
                [role, rest @ ..] => is_role(role) && rest == option.as_slice(),
                [] => false,
            };
        }
    }
    if let Some(rest) = begins("comment on database", "is") {
        return rest == [Token::Text];
    }
    if let Some(rest) = begins("alter database", "connection limit") {
        let digits = |word: &str| word.chars().all(|c| c.is_ascii_digit());
        return match rest {
            [Token::Word(number)] | [Token::Sign('-'), Token::Word(number)] => digits(number),
            _ => false,
        };
    }
    false
}

/// Returns whether this is the name of a table with its schema, as `format('%I.%I')` writes it.
pub(super) fn is_table(text: &str) -> bool {
    let written = |token: &Token| match token {
        Token::Word(word) => Some(word.clone()),
        Token::Name(name) => Some(super::swap::quoted(name)),
        Token::Text | Token::Sign(_) => None,
    };
    match tokens(text).as_deref() {
        Some([schema, Token::Sign('.'), table]) => {
            let both = written(schema).zip(written(table));
            both.is_some_and(|(schema, table)| format!("{schema}.{table}") == text)
        }
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_writes_has_its_form() {
        for locale in [
            "encoding 'UTF8' lc_collate 'de_DE.UTF-8' lc_ctype 'C'",
            "encoding 'UTF8' lc_collate 'C' lc_ctype 'C' locale_provider icu icu_locale 'en-US' \
             icu_rules '& a < ''b'''",
            "encoding 'UTF8' lc_collate 'C' lc_ctype 'C' locale_provider icu icu_locale 'x' \
             icu_rules E'\\\\u0041'",
            "encoding 'UTF8' lc_collate 'C' lc_ctype 'C' locale_provider builtin builtin_locale \
             NULL",
            "",
        ] {
            assert!(is_locale(locale), "{locale}");
        }
        let own = format!("\"{STAND_IN}\"");
        for statement in [
            format!("revoke all on database {own} from public, app"),
            format!("revoke all on database {own} from public, \"App \"\"x\"\"\""),
            format!("grant TEMPORARY on database {own} to public"),
            format!("grant CONNECT on database {own} to \"a b\" with grant option"),
            format!("comment on database {own} is 'it''s; ours\n\\! x'").replace('\\', ""),
            format!("comment on database {own} is E'a \\\\ b'"),
            format!("alter database {own} connection limit 7"),
        ] {
            assert!(is_statement(&statement), "{statement}");
        }
        for attributes in [
            "",
            "superuser createdb login connection limit 3",
            "login valid until '2027-01-01 00:00:00+00'",
        ] {
            assert!(is_attributes(attributes), "{attributes}");
        }
        for list in ["\"$user\", public", "auto_explain, $libdir/plugins/x", "/run/postgresql", ""]
        {
            assert!(is_list(list), "{list}");
        }
        for table in
            ["public.readings", "\"My Schema\".\"a\"\"b\"", "public.\"größe\"", "a.\"x\ny\""]
        {
            assert!(is_table(table), "{table}");
        }
    }

    #[test]
    fn what_a_stranger_adds_does_not() {
        for locale in [
            "encoding 'UTF8'; drop database app",
            "encoding 'UTF8' owner postgres",
            "template app",
            "encoding 'UTF8' -- ",
            "encoding 'UTF8",
            "encoding 'a\\' owner postgres '",
        ] {
            assert!(!is_locale(locale), "{locale}");
        }
        let own = format!("\"{STAND_IN}\"");
        for statement in [
            "drop database app".to_owned(),
            "alter role app superuser".to_owned(),
            format!("comment on database {own} is 'x'; drop database app"),
            format!("grant connect on database {own} to app; alter role app superuser"),
            format!("grant connect on database {own} to a, b"),
            "grant connect on database app to public".to_owned(),
            format!("alter database {own} owner to app"),
            format!("alter database {own} connection limit 7 --"),
            format!("/* */ alter database {own} connection limit 7"),
        ] {
            assert!(!is_statement(&statement), "{statement}");
        }
        for attributes in ["login; drop table x", "login in role postgres", "password 'x'"] {
            assert!(!is_attributes(attributes), "{attributes}");
        }
        for list in ["public; drop database app", "a'b", "\"open", "a\nb", "a -- b"] {
            assert!(!is_list(list), "{list}");
        }
        for table in [
            "public.readings; drop table x",
            "public.x\n\\! touch /tmp/x",
            "readings",
            "public.readings, x",
            "public.f()",
            "public. readings",
            "a.b.c",
        ] {
            assert!(!is_table(table), "{table}");
        }
    }
}

//! Connection strings, good and bad.
#![cfg(test)]

use super::*;
use crate::database::differential::{as_keywords, as_uri, parameters};
use proptest::prelude::*;

fn pairs(text: &str) -> Vec<(&'static str, String)> {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}")).into_iter().collect()
}

fn read(text: &str) -> String {
    let pairs: Vec<String> =
        pairs(text).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join("|")
}

#[test]
fn keyword_strings_are_read() {
    for (text, values) in [
        ("", ""),
        ("  host = h\tport=5433\n", "host=h|port=5433"),
        ("password='a b\\'c\\\\d'", "password=a b'c\\d"),
        ("password=a\\ b dbname=x", "dbname=x|password=a b"),
        ("host='' user=ow", "host=|user=ow"),
        ("dbname=a dbname=b", "dbname=b"),
        ("requiressl=1", "sslmode=require"),
        ("host=h'x user=ö", "host=h'x|user=ö"),
    ] {
        assert_eq!(read(text), values, "{text}");
    }
}

#[test]
fn uris_are_read() {
    for (text, values) in [
        ("postgres://", ""),
        ("postgresql://u:p%40%2F@h:1/d%20b", "dbname=d b|host=h|password=p@/|port=1|user=u"),
        ("postgresql://h/db?user=me@corp", "dbname=db|host=h|user=me@corp"),
        ("postgresql://h?user=me@corp", "host=corp|user=h?user=me"),
        ("postgresql:///db?application_name=a@b", "application_name=a@b|dbname=db"),
        ("postgresql:///db?host=h1,h2&port=1,2", "dbname=db|host=h1,h2|port=1,2"),
        ("postgresql://h1:1,[::1],%2Ftmp/", "host=h1,::1,/tmp|port=1,,"),
        ("postgresql://u:@h", "host=h|user=u"),
        ("postgresql://h?ssl=true&sslrootcert=a+b", "host=h|sslmode=require|sslrootcert=a+b"),
    ] {
        assert_eq!(read(text), values, "{text}");
    }
}

#[test]
fn wrong_strings_are_refused_without_repeating_them() {
    for text in [
        "tr0ub4dor",
        "host=h password=a tr0ub4dor",
        "host=h password=a tr0ub4dor=x",
        "password='tr0ub4dor",
        "postgresql://u:tr0ub%4xdor@h",
        "postgresql://u:x@tr0ub4dor@h/db",
        "postgresql://u:1/tr0ub4dor@h/db",
        "postgresql://[::1",
        "postgresql://[]/",
        "postgresql://[::1]x",
        "postgresql://h?tr0ub4dor",
        "postgresql://h?tr0ub4dor=1",
        "postgresql://h?host=a=b",
        "postgresql://h?host=%00",
        "postgresql://h?host=%ff",
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.outcome(), crate::outcome::Outcome::Config);
        assert!(!format!("{error:?}").contains("r0ub"), "{error:?}");
    }
}

#[test]
fn the_place_of_an_error_is_counted_in_characters() {
    let error = parse("host=ä oops").unwrap_err();
    assert_eq!(
        error.message(),
        "the connection string is not understood: = is missing after the word at character 8"
    );
}

proptest! {
    #[test]
    fn a_uri_and_keywords_mean_the_same(words in parameters()) {
        let known = words
            .iter()
            .map(|(key, value)| (keywords::known(key).unwrap(), value.clone()))
            .collect::<Values>();
        prop_assert_eq!(&parse(&as_keywords(&words)).unwrap(), &known);
        prop_assert_eq!(&parse(&as_uri(&words)).unwrap(), &known);
    }

    #[test]
    fn no_string_makes_the_reader_panic(text in any::<String>()) {
        let _ = parse(&text);
        let _ = parse(&format!("postgres://{text}"));
        let _ = parse(&format!("host='{text}"));
    }

    #[test]
    fn no_uri_like_string_makes_the_reader_panic(
        text in "postgresql://[a-z0-9:@/?=&,%ä\\[\\]]{0,40}"
    ) {
        let _ = parse(&text);
    }
}

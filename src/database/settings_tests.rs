//! What the values of connection parameters may be.
#![cfg(test)]

use super::*;
use crate::database::conninfo;
use crate::database::keywords::Origin;

fn settings(text: &str) -> Result<Settings> {
    let mut parameters = Parameters::default();
    for (keyword, value) in conninfo::parse(text).unwrap() {
        parameters.fill(keyword, value, Origin::String);
    }
    of(&parameters, Some(Path::new("/home/ow")), "ow")
}

fn servers(text: &str) -> String {
    let found = settings(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    found.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn servers_are_paired_with_their_ports() {
    for (text, told) in [
        ("", "the local socket"),
        ("host=''", "the local socket"),
        ("port=5433", "the local socket:5433"),
        ("host=/run/pg,@abc,h port=,1,2", "/run/pg @abc:1 h:2"),
        ("host=a,b port=7", "a:7 b:7"),
        ("hostaddr=10.0.0.1,::1", "10.0.0.1 [::1]"),
        ("host=a,,::1 hostaddr=10.0.0.1,10.0.0.2, port=1", "a:1 10.0.0.2:1 [::1]:1"),
        ("host=a,", "a the local socket"),
    ] {
        assert_eq!(servers(text), told, "{text}");
    }
}

#[test]
fn nonsense_is_refused_with_the_keyword_and_without_the_value() {
    for (text, keyword) in [
        ("host=a,b port=1,2,3", "port"),
        ("host=a,b hostaddr=10.0.0.1", "hostaddr"),
        ("hostaddr=tr0ub4dor", "hostaddr"),
        ("port=tr0ub4dor", "port"),
        ("port=0", "port"),
        ("port=65536", "port"),
        ("host=tr0ub4dor@h", "host"),
        ("host=db;user=app;password=tr0ub4dor;port=1", "host"),
        ("host=db;user=app;pass=tr0ub4dor;port=1", "host"),
        ("host=127.0.0.1,user=app,password=tr0ub4dor", "host"),
        ("host=db&user=tr0ub4dor", "host"),
        ("host='/run/pg;Password = tr0ub4dor'", "host"),
        ("user=app;password=tr0ub4dor", "user"),
        ("user=app;Pwd=tr0ub4dor", "user"),
        ("user=postgres://app:tr0ub4dor@db", "user"),
        ("postgres://127.0.0.1:1/app&password=tr0ub4dor", "dbname"),
        ("dbname=postgres://app:tr0ub4dor@db/app", "dbname"),
        ("application_name=app;password=tr0ub4dor", "application_name"),
        ("connect_timeout=tr0ub4dor", "connect_timeout"),
        ("sslmode=tr0ub4dor", "sslmode"),
        ("sslnegotiation=direct", "sslmode"),
        ("ssl_max_protocol_version=TLSv1.1", "ssl_max_protocol_version"),
        ("ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2", "ssl_max"),
        ("target_session_attrs=tr0ub4dor", "target_session_attrs"),
        ("require_auth=scram-sha-256", "require_auth"),
        ("gssencmode=require", "gssencmode"),
        ("replication=database", "replication"),
        ("password=a\0b", "password"),
    ] {
        let error = settings(text).expect_err(text);
        assert!(error.message().contains(keyword), "{text}: {error:?}");
        assert!(error.hint_line().is_some(), "{text}");
        assert!(!format!("{error:?}").contains("r0ub"), "{error:?}");
    }
}

#[test]
fn limits_are_in_libpqs_units_and_never_endless() {
    for (text, seconds) in [
        ("", 10),
        ("connect_timeout=0", 10),
        ("connect_timeout=-1", 10),
        ("connect_timeout=1", 2),
        ("connect_timeout=30", 30),
    ] {
        assert_eq!(settings(text).unwrap().timeout, Duration::from_secs(seconds), "{text}");
    }
    let probes = "keepalives=0 keepalives_idle=7 keepalives_interval=0 tcp_user_timeout=3000";
    let keepalive = settings(probes).unwrap().keepalive;
    assert!(!keepalive.on);
    assert_eq!(keepalive.idle, Some(Duration::from_secs(7)));
    assert_eq!(keepalive.interval, None);
    assert_eq!(keepalive.user_timeout, Some(Duration::from_secs(3)));
}

#[test]
fn names_have_libpqs_defaults() {
    let found = settings("").unwrap();
    assert_eq!((found.user.as_str(), found.dbname.as_str()), ("ow", "ow"));
    assert_eq!(found.application_name, "openwatch");
    let found = settings("user=other fallback_application_name=app").unwrap();
    assert_eq!((found.user.as_str(), found.dbname.as_str()), ("other", "other"));
    assert_eq!(found.application_name, "app");
    assert_eq!(found.passfile.as_deref(), Some(Path::new("/home/ow/.pgpass")));
    assert_eq!(found.ssl.root.as_deref(), Some(Path::new("/home/ow/.postgresql/root.crt")));
    assert_eq!(found.ssl.mode, SslMode::Prefer);
}

#[test]
fn publicly_trusted_roots_need_the_full_check() {
    let Ok(found) = settings("sslrootcert=system") else {
        eprintln!("SKIPPED: this machine has no certificate bundle");
        return;
    };
    assert_eq!(found.ssl.mode, SslMode::VerifyFull);
    assert!(found.ssl.root.unwrap().is_absolute());
    assert!(settings("sslrootcert=system sslmode=require").is_err());
}

proptest::proptest! {
    #[test]
    fn no_values_make_the_settings_panic(
        values in proptest::collection::vec((0_usize..60, ".{0,12}|[0-9,:/@.-]{0,8}"), 0..6)
    ) {
        let mut parameters = Parameters::default();
        let keywords: Vec<_> = crate::database::keywords::variables().collect();
        for (at, value) in values {
            let (keyword, variable) = keywords[at % keywords.len()];
            parameters.fill(keyword, value, Origin::Variable(variable));
        }
        if let Ok(found) = of(&parameters, Some(Path::new("/home/ow")), "ow") {
            let _ = found.endpoints.iter().map(|one| format!("{one} {}", one.arguments())).count();
        }
    }
}

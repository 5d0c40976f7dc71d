//! Our reading of connection parameters beside libpq's own, through a script.
#![cfg(test)]

use std::collections::BTreeMap;
use std::io::Write as _;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::on_server::OnServer;
use super::settings::{Endpoint, Host};
use super::{Source, conninfo};
use crate::system::process::{self, Call};

type Words = BTreeMap<String, String>;

/// One question to libpq.
struct Case {
    conninfo: Option<String>,
    env: Words,
}

/// Asks libpq; none where it cannot be asked, which is said loudly.
fn libpq(cases: &[Case]) -> Option<Vec<(Option<Words>, Option<Words>)>> {
    let skipped = |why: &str| {
        eprintln!("SKIPPED: no comparison with libpq: {why}");
        None
    };
    let Some(python) = process::find("python3") else { return skipped("python3 is missing") };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let cases: Vec<Value> =
        cases.iter().map(|case| json!({"conninfo": case.conninfo, "env": case.env})).collect();
    file.write_all(Value::from(cases).to_string().as_bytes()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/libpq.py");
    let output = match Call::new(python).arg(script).arg(file.path()).run() {
        Ok(output) => output,
        Err(failure) if failure.stderr().contains("libpq.so.5: cannot open") => {
            return skipped("libpq.so.5 is missing");
        }
        Err(failure) => panic!("{failure}: {}", failure.stderr()),
    };
    let answers: Value = serde_json::from_slice(&output.stdout).unwrap();
    let words = |value: &Value| serde_json::from_value(value.clone()).unwrap();
    let answers = answers["answers"].as_array().unwrap();
    Some(answers.iter().map(|one| (words(&one["parsed"]), words(&one["defaults"]))).collect())
}

/// Draws the same values in every run.
fn draw<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, count: usize) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// Values as people have them, and as they should not have them.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-zA-Z0-9_.-]{1,12}",
        2 => "[ a-z'\\\\=%&?@:/,+#\\[\\]äß€\"$-]{1,12}",
    ]
}

/// Sets of parameters that have a meaning.
pub(super) fn parameters() -> impl Strategy<Value = Words> {
    let word =
        |words: &'static [&'static str]| proptest::sample::select(words).prop_map(String::from);
    let server = prop_oneof![
        3 => ("[a-z]{1,6}[.]example", Just("")).boxed(),
        2 => ("[a-z]{1,6}", Just("127.0.0.1")).boxed(),
        1 => (Just(String::new()), Just("10.1.2.3")).boxed(),
        1 => (Just(String::new()), Just("::1")).boxed(),
        2 => ("/[a-z/ ']{1,8}", Just("")).boxed(),
        1 => ("@[a-z]{1,8}", Just("")).boxed(),
        1 => (Just("::1".to_owned()), Just("")).boxed(),
    ];
    let servers = proptest::collection::vec((server, 1_u16..9000, any::<bool>()), 0..4);
    let modes = word(&["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]);
    let others = (
        proptest::option::of(value()),
        proptest::option::of(value()),
        proptest::option::of(value()),
        proptest::option::of(modes),
        proptest::option::of(word(&["/r.crt", "/with space/ä.crt"])),
        proptest::option::of(word(&["-c search_path=a\\ b", "-c lock_timeout=5s"])),
        proptest::option::of(value()),
        proptest::option::of((-1_i32..20).prop_map(|n| n.to_string())),
        proptest::option::of(word(&["disable", "prefer", "require"])),
        proptest::option::of(word(&["any", "read-write", "primary", "prefer-standby"])),
    );
    (servers, others).prop_map(|(servers, others)| {
        let mut words = Words::new();
        let list = |part: &dyn Fn(usize) -> String| {
            (0..servers.len()).map(part).collect::<Vec<_>>().join(",")
        };
        if !servers.is_empty() {
            let hosts = list(&|at| servers[at].0.0.clone());
            let addresses = list(&|at| servers[at].0.1.to_owned());
            let ports = list(&|at| match servers[at].2 {
                true => servers[at].1.to_string(),
                false => String::new(),
            });
            let given = |text: &str| text.bytes().any(|byte| byte != b',');
            let mut set = |keyword: &str, text: String| {
                if given(&text) {
                    words.insert(keyword.into(), text);
                }
            };
            set("host", hosts);
            set("hostaddr", addresses);
            set("port", ports);
        }
        let (user, password, dbname, mode, root, options, name, timeout, binding, attrs) = others;
        let pairs = [
            ("user", user),
            ("password", password),
            ("dbname", dbname),
            ("sslmode", mode),
            ("sslrootcert", root),
            ("options", options),
            ("application_name", name),
            ("connect_timeout", timeout),
            ("channel_binding", binding),
            ("target_session_attrs", attrs),
        ];
        words.extend(pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        words
    })
}

/// Writes parameters as `keyword = 'value'`.
pub(super) fn as_keywords(words: &Words) -> String {
    let quote = |value: &String| value.replace('\\', "\\\\").replace('\'', "\\'");
    let pairs: Vec<String> =
        words.iter().map(|(key, value)| format!("{key} = '{}'", quote(value))).collect();
    pairs.join(" ")
}

/// Percent-encodes everything that is not plain.
fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Writes parameters as a URI, with everything in its place that has one.
pub(super) fn as_uri(words: &Words) -> String {
    let get = |key: &str| words.get(key).map(String::as_str);
    let mut left = words.clone();
    let mut uri = String::from("postgresql://");
    if let Some(user) = get("user") {
        uri.push_str(&encoded(user));
        left.remove("user");
        if let Some(password) = get("password") {
            uri.push(':');
            uri.push_str(&encoded(password));
            left.remove("password");
        }
        uri.push('@');
    }
    let single = |key: &str| get(key).filter(|text| !text.contains(','));
    if let Some(host) = single("host").filter(|_| get("port").is_none_or(|p| !p.contains(','))) {
        if host.contains(':') {
            uri.push_str(&format!("[{host}]"));
        } else {
            uri.push_str(&encoded(host));
        }
        left.remove("host");
        if let Some(port) = get("port") {
            uri.push(':');
            uri.push_str(port);
            left.remove("port");
        }
    }
    uri.push('/');
    if let Some(dbname) = get("dbname") {
        uri.push_str(&encoded(dbname));
        left.remove("dbname");
    }
    for (at, (key, value)) in left.iter().enumerate() {
        uri.push(if at == 0 { '?' } else { '&' });
        uri.push_str(&format!("{key}={}", encoded(value)));
    }
    uri
}

fn ours(text: &str) -> Option<Words> {
    let values = conninfo::parse(text).ok()?;
    Some(values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

#[test]
fn strings_are_read_as_libpq_reads_them() {
    let mut texts: Vec<String> = draw(parameters(), 600)
        .iter()
        .flat_map(|words| [as_keywords(words), as_uri(words)])
        .collect();
    texts.extend(draw("[a-z '=\\\\\t]{0,24}", 300));
    texts.extend(draw("(user|host|port) ?= ?['a-z\\\\ ]{0,8} (dbname|user)=[a'\\\\ =]{0,8}", 600));
    let uri = "postgres(ql)?://[a:@/]{0,6}[a-z0-9:@,\\[\\]%/]{0,16}([?](host|port|user|ssl)=[%a20,=&]{0,9})?";
    texts.extend(draw(uri, 3000));
    texts.extend(
        [
            "",
            "postgresql://",
            "postgres://h/db?ssl=true",
            "postgresql:///db?requiressl=1",
            "postgresql://h,/db",
            "postgresql://[::1]:5433,[::2]/",
            "postgresql://%2Fvar%2Frun/db",
            "postgresql://u:@h/db",
            "postgresql://h/db?user=me@corp",
            "postgresql:///db?application_name=a@b",
            "postgresql:///db?host=h1,h2&port=1,2",
            "host=''",
            "dbname=a dbname=b",
            "requiressl=0",
        ]
        .map(String::from),
    );
    let cases: Vec<Case> =
        texts.iter().map(|text| Case { conninfo: Some(text.clone()), env: Words::new() }).collect();
    let Some(answers) = libpq(&cases) else { return };
    let mut stricter = 0;
    let mut understood = 0;
    for (text, (theirs, _)) in texts.iter().zip(answers) {
        match (ours(text), theirs) {
            (Some(ours), Some(theirs)) => {
                understood += 1;
                assert_eq!(ours, theirs, "{text}");
            }
            (None, None) => {}
            // The two rules by which a torn password is recognised.
            (None, Some(_)) if text.contains('@') => stricter += 1,
            // Bytes that are no text in UTF-8, which the script shows as this character.
            (None, Some(theirs)) if theirs.values().any(|value| value.contains('\u{fffd}')) => {}
            (ours, theirs) => panic!("{text}\n  ours: {ours:?}\n  libpq: {theirs:?}"),
        }
    }
    assert!(understood > 1000 && stricter < 1000, "{understood} {stricter}");
}

/// What libpq would make of one server of a database.
fn expected(database: &OnServer, server: &Endpoint) -> Words {
    let plan = super::connect::Plan {
        settings: &database.settings,
        identity: None,
        chosen: None,
        password: &|endpoint| database.password(endpoint).0,
    };
    let driver = plan.driver(server, super::connect::Encryption::Never);
    let mut words = Words::new();
    let mut set = |key: &str, value: Option<String>| {
        words.extend(value.map(|value| (key.to_owned(), value)));
    };
    set("user", driver.get_user().map(str::to_owned));
    set("dbname", driver.get_dbname().map(str::to_owned));
    set("password", driver.get_password().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()));
    set("options", driver.get_options().map(str::to_owned).or(Some(String::new())));
    set("application_name", driver.get_application_name().map(str::to_owned));
    set("port", driver.get_ports().first().map(u16::to_string));
    set("hostaddr", driver.get_hostaddrs().first().map(ToString::to_string));
    let host = match driver.get_hosts().first() {
        Some(postgres::config::Host::Tcp(_)) if matches!(server.host, Host::Address(_)) => None,
        Some(postgres::config::Host::Tcp(name)) => Some(name.clone()),
        Some(postgres::config::Host::Unix(path)) => {
            Some(path.display().to_string().replace('\0', "@"))
        }
        None => None,
    };
    set("host", host);
    set("connect_timeout", driver.get_connect_timeout().map(|limit| limit.as_secs().to_string()));
    set("channel_binding", Some(format!("{:?}", driver.get_channel_binding()).to_lowercase()));
    set("sslmode", Some(database.settings.ssl.mode.word().to_owned()));
    words
}

/// Row 21.
#[test]
fn session_and_client_programs_mean_the_same_server() {
    let homeless = |words: &Words| Source {
        name: "main".into(),
        conninfo: Some(as_uri(words)),
        environment: [("HOME".to_owned(), "/nonexistent".to_owned())].into(),
        ..Source::default()
    };
    let drawn = draw(parameters(), 500);
    let mut cases = Vec::new();
    let mut wanted = Vec::new();
    for words in &drawn {
        // The same by another road: nothing in the string, all in variables.
        let variables = |(key, value): (&String, &String)| {
            let (_, name) = super::keywords::variables().find(|(keyword, _)| keyword == key)?;
            Some((name.to_owned(), value.clone()))
        };
        let mut from_variables = homeless(&Words::new());
        from_variables.environment.extend(words.iter().filter_map(variables));
        for source in [homeless(words), from_variables] {
            let database = match OnServer::resolve(&source) {
                Ok(database) => database,
                // A host that is no host, which libpq finds out later.
                Err(error) => {
                    assert!(words.get("host").is_some(), "{error:?} {words:?}");
                    continue;
                }
            };
            for server in &database.settings.endpoints {
                *database.chosen.lock().unwrap() = Some(server.clone());
                let env = database
                    .variables()
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect();
                cases.push(Case { conninfo: None, env });
                wanted.push(expected(&database, server));
            }
        }
    }
    assert!(cases.len() > 1000, "{}", cases.len());
    let Some(answers) = libpq(&cases) else { return };
    for ((wanted, case), (_, theirs)) in wanted.iter().zip(&cases).zip(answers) {
        let mut theirs = theirs.expect("libpq knows its defaults");
        theirs.retain(|key, _| {
            wanted.contains_key(key) || ["host", "hostaddr", "password"].contains(&key.as_str())
        });
        assert_eq!(&theirs, wanted, "{:?}", case.env);
    }
}

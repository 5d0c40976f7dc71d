//! Encrypted connections: every kind of certificate and every sslmode, beside psql.

mod support;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use openwatch::database::{Database, Source};
use openwatch::error::Error;
use openwatch::outcome::Outcome;
use support::postgres::{Server, is_root, wait_for};

/// A server that listens on 127.0.0.1 too, and a directory of certificates.
struct Site {
    server: Server,
    port: u16,
    dir: tempfile::TempDir,
}

/// How a connection ended: encrypted or not, or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Encrypted,
    InClear,
    Refused,
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Site {
    fn new() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let server =
            Server::start_configured(&format!("listen_addresses = '127.0.0.1'\nport = {port}"));
        let dir = tempfile::Builder::new().prefix("ow-tls-").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let site = Self { server, port, dir };
        site.authority("ca");
        site.authority("other");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn openssl(&self, line: &str) {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        run(Command::new("openssl").args(words).current_dir(self.dir.path()));
    }

    fn authority(&self, name: &str) {
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
             -subj /CN={name} -keyout {name}.key -out {name}.crt"
        ));
    }

    /// Makes a certificate signed by `ca`: key algorithm, subject, extensions (none: version 1).
    fn signed(&self, name: &str, algorithm: &str, subject: &str, extensions: &str) {
        self.openssl(&format!(
            "req -new -newkey {algorithm} -nodes -subj {subject} -keyout {name}.key -out {name}.csr"
        ));
        let mut line = format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out {name}.crt"
        );
        if !extensions.is_empty() {
            std::fs::write(self.path("ext"), extensions).unwrap();
            line.push_str(" -extfile ext");
        }
        self.openssl(&line);
    }

    fn is_of_version_1(&self, name: &str) -> bool {
        let text = Command::new("openssl")
            .args(["x509", "-noout", "-text", "-in"])
            .arg(self.path(&format!("{name}.crt")))
            .output()
            .unwrap();
        String::from_utf8_lossy(&text.stdout).contains("Version: 1")
    }

    /// Makes the server show this certificate.
    fn show(&self, name: &str) {
        let key = self.path(&format!("{name}.server.key"));
        std::fs::copy(self.path(&format!("{name}.key")), &key).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&key));
        }
        let cert = self.path(&format!("{name}.crt"));
        self.configure(&[
            ("ssl_cert_file", &cert.display().to_string()),
            ("ssl_key_file", &key.display().to_string()),
            ("ssl", "on"),
        ]);
    }

    fn configure(&self, settings: &[(&str, &str)]) {
        for (name, value) in settings {
            self.server.psql("postgres", &format!("alter system set {name} = '{value}'"));
        }
        self.reload();
    }

    fn reload(&self) {
        let loaded = || self.server.psql("postgres", "select pg_conf_load_time()");
        let before = loaded();
        self.server.psql("postgres", "select pg_reload_conf()");
        wait_for("the new configuration", || loaded() != before);
    }

    fn hba(&self, rules: &str) {
        let file = self.server.psql("postgres", "show hba_file");
        std::fs::write(file, format!("local all all trust\n{rules}\n")).unwrap();
        self.reload();
    }

    /// Parameters of a connection by TCP.
    fn tcp(&self, more: &str) -> String {
        let port = self.port;
        let host = if more.contains("host") { "" } else { "host=localhost hostaddr=127.0.0.1" };
        let user = if more.contains("user=") { "" } else { "user=postgres" };
        format!("{host} port={port} {user} dbname=postgres {more}")
    }

    fn source(&self, more: &str) -> Source {
        let home = self.path("home").display().to_string();
        Source {
            name: "main".into(),
            conninfo: Some(self.tcp(more)),
            environment: [("HOME".to_owned(), home)].into(),
            ..Source::default()
        }
    }

    /// Connects three ways that must agree: our session, psql with the variables that we hand to
    /// client programs, and psql with the parameters as they were written.
    fn ends(&self, more: &str) -> [End; 3] {
        let question = "select case when ssl then 'encrypted' else 'in clear' end \
                        from pg_stat_ssl where pid = pg_backend_pid()";
        let end = |text: &str| match text.trim() {
            "encrypted" => End::Encrypted,
            "in clear" => End::InClear,
            _ => End::Refused,
        };
        let psql = self.server.bin().join("psql");
        let args = ["--no-password", "-X", "-A", "-t", "-c", question];
        let written = Command::new(&psql)
            .args(args)
            .arg("-d")
            .arg(self.tcp(more))
            .env_clear()
            .env("HOME", self.path("home"))
            .output()
            .unwrap();
        let written = end(&String::from_utf8_lossy(&written.stdout));
        let database = match Database::resolve(&self.source(more)) {
            Ok(database) => database,
            Err(error) => {
                assert_eq!(error.outcome(), Outcome::Config);
                return [End::Refused, End::Refused, written];
            }
        };
        let handed = database.call(&psql).args(args).run();
        let handed = handed.map_or(End::Refused, |output| end(&output.text()));
        let ours = match database.connect() {
            Ok(mut session) => end(session.rows(question, &[]).unwrap()[0].get(0)),
            Err(error) => {
                assert_eq!(error.outcome(), Outcome::Config, "{more}: {error:?}");
                assert!(error.hint_line().is_some(), "{error:?}");
                End::Refused
            }
        };
        [ours, handed, written]
    }

    fn agree(&self, more: &str, expected: End) {
        assert_eq!(self.ends(more), [expected; 3], "ours, with our variables, as written: {more}");
    }

    fn refusal(&self, more: &str) -> Error {
        match Database::resolve(&self.source(more)).and_then(|database| database.connect()) {
            Ok(_) => panic!("connected: {more}"),
            Err(error) => error,
        }
    }
}

const EC: &str = "ec -pkeyopt ec_paramgen_curve:P-256";
const LEAF: &str = "basicConstraints=CA:FALSE\n";

#[test]
fn certificates_are_judged_as_libpq_judges_them() {
    use End::{Encrypted, Refused};
    let site = Site::new();
    let san = |names: &str| format!("{LEAF}subjectAltName={names}\n");
    site.signed("dns", EC, "/CN=whatever", &san("DNS:localhost"));
    site.signed("address", EC, "/CN=whatever", &san("IP:127.0.0.1"));
    site.signed("wildcard", "rsa:2048", "/CN=whatever", &san("DNS:*.example,DNS:localhost"));
    site.signed("common", "rsa:2048", "/CN=localhost", LEAF);
    site.signed("shadowed", EC, "/CN=localhost", &san("DNS:other.example"));
    site.signed("ed", "ed25519", "/CN=localhost", &san("DNS:localhost"));
    site.openssl(
        "req -new -x509 -days 365 -nodes -newkey rsa:2048 -subj /CN=localhost \
         -keyout manual.key -out manual.crt",
    );
    site.openssl(
        "req -new -x509 -days 365 -nodes -newkey rsa:2048 -subj /CN=whatever \
         -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost \
         -keyout snakeoil.key -out snakeoil.crt",
    );
    for (name, root, by_name, by_address) in [
        ("dns", "ca", Encrypted, Refused),
        ("address", "ca", Refused, Encrypted),
        ("wildcard", "ca", Encrypted, Refused),
        ("common", "ca", Encrypted, Refused),
        ("shadowed", "ca", Refused, Refused),
        ("ed", "ca", Encrypted, Refused),
        ("manual", "manual", Encrypted, Refused),
        ("snakeoil", "snakeoil", Encrypted, Refused),
    ] {
        site.show(name);
        let root = site.path(&format!("{root}.crt")).display().to_string();
        let other = site.path("other.crt").display().to_string();
        site.agree("sslmode=require", Encrypted);
        site.agree(&format!("sslmode=require sslrootcert={root}"), Encrypted);
        site.agree(&format!("sslmode=require sslrootcert={other}"), Refused);
        site.agree(&format!("sslmode=verify-ca sslrootcert={root}"), Encrypted);
        site.agree(&format!("sslmode=verify-ca sslrootcert={other}"), Refused);
        site.agree(&format!("sslmode=verify-full sslrootcert={root}"), by_name);
        let by_number = format!("sslmode=verify-full sslrootcert={root} host=127.0.0.1");
        site.agree(&by_number, by_address);
    }
}

#[test]
fn certificates_that_rustls_cannot_read_still_encrypt() {
    let site = Site::new();
    std::fs::write(site.path("ext"), format!("{LEAF}subjectAltName=DNS:localhost\n")).unwrap();
    site.signed("v1", "rsa:2048", "/CN=localhost", "");
    if !site.is_of_version_1("v1") {
        eprintln!("SKIPPED: this openssl makes no certificates of version 1");
        return;
    }
    site.show("v1");
    site.agree("sslmode=require", End::Encrypted);
    site.agree("sslmode=require ssl_max_protocol_version=TLSv1.2", End::Encrypted);
    // The one known difference: its chain cannot be checked, and the message says what to do.
    let root = site.path("ca.crt").display().to_string();
    let error = site.refusal(&format!("sslmode=verify-ca sslrootcert={root}"));
    assert_eq!(error.outcome(), Outcome::Config);
    assert!(error.hint_line().unwrap().contains("X.509 version 3"), "{error:?}");
    // Signed by itself it needs no chain.
    site.openssl("x509 -req -in v1.csr -signkey v1.key -days 30 -out own.crt");
    std::fs::copy(site.path("v1.key"), site.path("own.key")).unwrap();
    site.show("own");
    let own = site.path("own.crt").display().to_string();
    site.agree(&format!("sslmode=verify-full sslrootcert={own}"), End::Encrypted);
    // A key of a kind that the TLS library does not speak.
    site.signed("large", "ec -pkeyopt ec_paramgen_curve:P-521", "/CN=localhost", "");
    site.show("large");
    let error = site.refusal("sslmode=require");
    assert_eq!(error.outcome(), Outcome::Config);
    assert!(error.hint_line().unwrap().contains("P-384"), "{error:?}");
    // The other one: RSA-PSS with a salt of another length than the digest, openssl's default.
    site.openssl(
        "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=rsa -keyout rsa.key -out rsa.crt",
    );
    site.openssl(
        "x509 -req -in v1.csr -CA rsa.crt -CAkey rsa.key -CAcreateserial -extfile ext \
         -sigopt rsa_padding_mode:pss -days 30 -out pss.crt",
    );
    std::fs::copy(site.path("v1.key"), site.path("pss.key")).unwrap();
    site.show("pss");
    site.agree("sslmode=require", End::Encrypted);
    let root = site.path("rsa.crt").display().to_string();
    let error = site.refusal(&format!("sslmode=verify-ca sslrootcert={root}"));
    assert_eq!(error.outcome(), Outcome::Config);
    assert!(error.message().ends_with("signed in an unusual way"), "{error:?}");
    assert!(error.hint_line().unwrap().contains("again"), "{error:?}");
    site.openssl(
        "x509 -req -in v1.csr -CA rsa.crt -CAkey rsa.key -CAcreateserial -extfile ext \
         -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest -days 30 -out pss.crt",
    );
    site.reload();
    site.agree(&format!("sslmode=verify-full sslrootcert={root}"), End::Encrypted);
}

#[test]
fn a_refused_certificate_is_told_with_what_to_do() {
    use End::{Encrypted, Refused};
    let site = Site::new();
    let names = format!("{LEAF}subjectAltName=DNS:db.example,IP:10.0.0.1\n");
    site.signed("named", EC, "/CN=localhost", &names);
    site.show("named");
    let (root, other) = (site.path("ca.crt"), site.path("other.crt"));
    let verify = |mode: &str, root: &Path| format!("sslmode={mode} sslrootcert={}", root.display());
    for (more, said, hint) in [
        (verify("verify-ca", &other), "no authority in the root file", "`sslrootcert`"),
        (verify("verify-full", &root), "only valid for db.example or 10.0.0.1", "`host`"),
    ] {
        let error = site.refusal(&more);
        assert!(error.message().contains(said), "{error:?}");
        assert!(error.hint_line().unwrap().contains(hint), "{error:?}");
    }
    // Past its date.
    let text = "[ca]\ndefault_ca=d\n[d]\ndatabase=index\ndefault_md=sha256\nnew_certs_dir=.\n\
                policy=p\nserial=serial\n[p]\ncommonName=supplied\n";
    std::fs::write(site.path("index"), "").unwrap();
    std::fs::write(site.path("serial"), "4711\n").unwrap();
    std::fs::write(site.path("ca.conf"), text).unwrap();
    site.openssl(
        "ca -batch -notext -config ca.conf -keyfile ca.key -cert ca.crt -in named.csr -out old.crt \
         -startdate 20200101000000Z -enddate 20200102000000Z -extfile ext",
    );
    std::fs::copy(site.path("named.key"), site.path("old.key")).unwrap();
    site.show("old");
    site.agree("sslmode=require", Encrypted);
    site.agree(&verify("verify-ca", &root), Refused);
    let error = site.refusal(&verify("verify-ca", &root));
    assert!(error.hint_line().unwrap().starts_with("Renew"), "{error:?}");
    // The certificate itself in the root file does not stand for the authority that issued it.
    site.show("named");
    site.agree(&verify("verify-ca", &site.path("named.crt")), Refused);
    // An authority between: the server sends it along.
    std::fs::write(site.path("between.ext"), "basicConstraints=critical,CA:TRUE\n").unwrap();
    site.openssl(&format!(
        "req -new -newkey {EC} -nodes -subj /CN=between -keyout between.key -out between.csr"
    ));
    site.openssl(
        "x509 -req -in between.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 \
         -extfile between.ext -out between.crt",
    );
    site.openssl(
        "x509 -req -in named.csr -CA between.crt -CAkey between.key -CAcreateserial -days 30 \
         -extfile ext -out leaf.crt",
    );
    let chain =
        ["leaf.crt", "between.crt"].map(|name| std::fs::read_to_string(site.path(name)).unwrap());
    std::fs::write(site.path("chain.crt"), chain.concat()).unwrap();
    std::fs::copy(site.path("named.key"), site.path("chain.key")).unwrap();
    site.show("chain");
    site.agree(&verify("verify-ca", &root), Encrypted);
    std::fs::copy(site.path("leaf.crt"), site.path("chain.crt")).unwrap();
    site.reload();
    site.agree(&verify("verify-ca", &root), Refused);
}

#[test]
fn the_modes_fall_back_as_in_libpq() {
    use End::{Encrypted, InClear, Refused};
    let site = Site::new();
    site.signed("dns", EC, "/CN=localhost", &format!("{LEAF}subjectAltName=DNS:localhost\n"));
    for (mode, end) in [
        ("disable", InClear),
        ("allow", InClear),
        ("prefer", InClear),
        ("require", Refused),
        ("verify-ca", Refused),
    ] {
        site.agree(&format!("sslmode={mode}"), end);
    }
    let error = site.refusal("sslmode=require");
    assert!(error.hint_line().unwrap().contains("ssl = on"), "{error:?}");
    site.show("dns");
    let other = site.path("other.crt").display().to_string();
    site.agree("", Encrypted);
    site.agree("sslmode=allow", InClear);
    // A certificate that the root file does not vouch for, where encryption is not insisted on.
    site.agree(&format!("sslmode=prefer sslrootcert={other}"), InClear);
    site.hba("hostssl all all 127.0.0.1/32 trust");
    site.agree("sslmode=disable", Refused);
    site.agree("sslmode=allow", Encrypted);
    site.agree("sslmode=prefer", Encrypted);
    site.agree(&format!("sslmode=prefer sslrootcert={other}"), Refused);
    let error = site.refusal(&format!("sslmode=prefer sslrootcert={other}"));
    assert!(error.message().contains("pg_hba.conf"), "{error:?}");
    assert!(error.details().iter().any(|line| line.contains("no authority")), "{error:?}");
    site.hba("hostnossl all all 127.0.0.1/32 trust");
    site.agree("sslmode=prefer", InClear);
    site.agree("sslmode=require", Refused);
    // Nothing of this matters on a socket.
    let socket = format!("host={} sslmode=verify-full", site.server.socket().display());
    site.agree(&socket, InClear);
}

#[test]
fn the_default_files_of_the_home_directory_count() {
    use End::{Encrypted, Refused};
    let site = Site::new();
    site.signed("dns", EC, "/CN=localhost", &format!("{LEAF}subjectAltName=DNS:localhost\n"));
    site.show("dns");
    let error = site.refusal("sslmode=verify-full");
    assert!(error.message().contains("root.crt does not exist"), "{error:?}");
    let dir = site.path("home/.postgresql");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::copy(site.path("other.crt"), dir.join("root.crt")).unwrap();
    site.agree("sslmode=require", Refused);
    std::fs::copy(site.path("ca.crt"), dir.join("root.crt")).unwrap();
    site.agree("sslmode=require", Encrypted);
    site.agree("sslmode=verify-full", Encrypted);
    site.agree("sslmode=verify-full hostaddr=127.0.0.1", Refused);
    site.agree("sslmode=verify-ca hostaddr=127.0.0.1", Encrypted);
    let missing = site.path("missing.crt").display().to_string();
    site.agree(&format!("sslmode=verify-ca sslrootcert={missing}"), Refused);
    std::fs::write(dir.join("root.crt"), "no certificate").unwrap();
    site.agree("sslmode=require", Refused);
}

#[test]
fn a_client_certificate_is_shown_and_its_key_kept_secret() {
    use End::{Encrypted, Refused};
    let site = Site::new();
    site.signed("dns", EC, "/CN=localhost", &format!("{LEAF}subjectAltName=DNS:localhost\n"));
    site.signed("own", "rsa:2048", "/CN=badger", LEAF);
    site.server.psql("postgres", "create role badger login");
    site.show("dns");
    site.configure(&[("ssl_ca_file", &site.path("ca.crt").display().to_string())]);
    site.hba("hostssl all badger 127.0.0.1/32 cert\nhost all all 127.0.0.1/32 trust");
    let (cert, key) = (site.path("own.crt"), site.path("own.key"));
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let with = |key: &Path| {
        format!("user=badger sslmode=require sslcert={} sslkey={}", cert.display(), key.display())
    };
    mode(&key, 0o600);
    site.agree(&with(&key), Encrypted);
    site.agree("user=badger sslmode=require", Refused);
    mode(&key, 0o644);
    site.agree(&with(&key), Refused);
    let error = site.refusal(&with(&key));
    assert!(error.message().contains("others can read client key"), "{error:?}");
    assert_eq!(error.hint_line().unwrap(), format!("Run `chmod 0600 {}`.", key.display()));
    mode(&key, 0o600);
    // PKCS#1, as older tools write it.
    let old = site.path("old.key");
    site.openssl("rsa -traditional -in own.key -out old.key");
    mode(&old, 0o600);
    site.agree(&with(&old), Encrypted);
    let locked = site.path("locked.key");
    site.openssl("pkey -aes256 -passout pass:x -in own.key -out locked.key");
    mode(&locked, 0o600);
    let error = site.refusal(&with(&locked));
    assert!(error.message().ends_with("locked.key is encrypted"), "{error:?}");
    site.agree(&with(&site.path("none.key")), Refused);
    site.agree(&with(&site.path("dns.key")), Refused);
    // Version 1, as `openssl x509 -req` without extensions made it.
    site.signed("plain", EC, "/CN=badger", "");
    let shown = |cert: &str, key: &str| {
        let (cert, key) = (site.path(cert), site.path(key));
        mode(&key, 0o600);
        format!("user=badger sslmode=require sslcert={} sslkey={}", cert.display(), key.display())
    };
    site.agree(&shown("plain.crt", "plain.key"), Encrypted);
    site.agree(&shown("plain.crt", "own.key"), Refused);
    let error = site.refusal(&shown("plain.crt", "own.key"));
    assert!(error.hint_line().unwrap().contains("its own key"), "{error:?}");
    // By default from the home directory.
    let dir = site.path("home/.postgresql");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::copy(&cert, dir.join("postgresql.crt")).unwrap();
    std::fs::copy(&key, dir.join("postgresql.key")).unwrap();
    site.agree("user=badger sslmode=require", Encrypted);
}

#[test]
fn a_revoked_certificate_is_refused() {
    let site = Site::new();
    site.signed("dns", EC, "/CN=localhost", &format!("{LEAF}subjectAltName=DNS:localhost\n"));
    site.signed("bad", EC, "/CN=localhost", &format!("{LEAF}subjectAltName=DNS:localhost\n"));
    let text = "[ca]\ndefault_ca=d\n[d]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=30\n\
                crlnumber=number\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n";
    std::fs::write(site.path("index"), "").unwrap();
    std::fs::write(site.path("number"), "01\n").unwrap();
    std::fs::write(site.path("ca.conf"), text).unwrap();
    site.openssl("ca -config ca.conf -keyfile ca.key -cert ca.crt -revoke bad.crt");
    site.openssl("ca -config ca.conf -keyfile ca.key -cert ca.crt -gencrl -out ca.crl");
    let root = site.path("ca.crt").display().to_string();
    let list = site.path("ca.crl").display().to_string();
    for (name, end) in [("dns", End::Encrypted), ("bad", End::Refused)] {
        site.show(name);
        site.agree(&format!("sslmode=verify-ca sslrootcert={root}"), End::Encrypted);
        site.agree(&format!("sslmode=verify-ca sslrootcert={root} sslcrl={list}"), end);
        site.agree(&format!("sslmode=verify-full sslrootcert={root} sslcrl={list}"), end);
    }
}

/// What `openssl ca` is told; it keeps its books beside it.
const AUTHORITY: &str = "[ca]\ndefault_ca=d\n[d]\ndatabase=index\ndefault_md=sha256\nnew_certs_dir=.\n\
                         policy=p\nserial=serial\ndefault_crl_days=30\ncrlnumber=number\n\
                         crl_extensions=e\n[p]\ncommonName=supplied\n[e]\n\
                         authorityKeyIdentifier=keyid\n";

impl Site {
    fn keep_books(&self) {
        for (name, text) in
            [("index", ""), ("serial", "4711\n"), ("number", "01\n"), ("ca.conf", AUTHORITY)]
        {
            std::fs::write(self.path(name), text).unwrap();
        }
        std::fs::write(self.path("above"), "basicConstraints=critical,CA:TRUE\n").unwrap();
        std::fs::write(self.path("leaf"), format!("{LEAF}subjectAltName=DNS:localhost\n")).unwrap();
    }

    /// Makes a certificate with the key of `request`, signed by `by`.
    fn issued(&self, name: &str, request: &str, by: &str, extensions: &str) {
        self.openssl(&format!(
            "x509 -req -in {request}.csr -CA {by}.crt -CAkey {by}.key -CAcreateserial -days 30 \
             -extfile {extensions} -out {name}.crt"
        ));
        let key = std::fs::read(self.path(&format!("{request}.key"))).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key).unwrap();
    }

    fn request(&self, name: &str) {
        self.openssl(&format!(
            "req -new -newkey {EC} -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
    }

    /// Writes a file of several; returns `sslmode=verify-full` with it.
    fn vouched_by(&self, names: &[&str]) -> String {
        let texts: Vec<String> = names
            .iter()
            .map(|name| std::fs::read_to_string(self.path(&format!("{name}.crt"))).unwrap())
            .collect();
        let path = self.path(&format!("{}.pem", names.join("-")));
        std::fs::write(&path, texts.concat()).unwrap();
        format!("sslmode=verify-full sslrootcert={}", path.display())
    }
}

#[test]
fn only_an_authority_that_is_valid_today_and_its_own_issuer_vouches_for_a_server() {
    use End::{Encrypted, Refused};
    let site = Site::new();
    site.keep_books();
    for name in ["server", "between", "former", "first"] {
        site.request(name);
    }
    // An authority below another.
    site.issued("between", "between", "ca", "above");
    site.issued("below", "server", "between", "leaf");
    site.show("below");
    site.agree(&site.vouched_by(&["ca", "between"]), Encrypted);
    site.agree(&site.vouched_by(&["between", "ca"]), Encrypted);
    site.agree(&site.vouched_by(&["other", "between", "ca"]), Encrypted);
    site.agree(&site.vouched_by(&["ca"]), Refused);
    site.agree(&site.vouched_by(&["between"]), Refused);
    let error = site.refusal(&site.vouched_by(&["between"]));
    assert!(error.hint_line().unwrap().contains("all above it"), "{error:?}");
    // One whose time is over, alone and beside its successor of the same name.
    site.openssl(
        "ca -batch -notext -selfsign -config ca.conf -keyfile former.key -in former.csr -out former.crt \
         -startdate 20200101000000Z -enddate 20200201000000Z -extfile above",
    );
    site.issued("late", "server", "former", "leaf");
    site.show("late");
    site.agree(&site.vouched_by(&["former"]), Refused);
    let error = site.refusal(&site.vouched_by(&["former"]));
    assert!(error.message().contains("expired"), "{error:?}");
    site.agree(&site.vouched_by(&["former", "ca"]), Refused);
    site.openssl(
        "x509 -req -in former.csr -signkey former.key -days 30 -extfile above -out again.crt",
    );
    site.agree(&site.vouched_by(&["former", "again"]), Encrypted);
    site.agree(&site.vouched_by(&["again", "former"]), Encrypted);
    // Version 1, as `openssl x509 -req` without extensions made it.
    site.openssl("x509 -req -in first.csr -signkey first.key -days 30 -out first.crt");
    site.issued("young", "server", "first", "leaf");
    site.show("young");
    // As an openssl that makes no such certificates makes it, it is no authority.
    let end = if site.is_of_version_1("first") { Encrypted } else { Refused };
    site.agree(&site.vouched_by(&["first"]), end);
    site.agree(&site.vouched_by(&["former", "first"]), end);
    // The certificate of another server, which must not sign any.
    site.openssl(&format!(
        "req -x509 -newkey {EC} -nodes -days 30 -subj /CN=otherhost \
         -addext basicConstraints=critical,CA:FALSE -keyout leafroot.key -out leafroot.crt"
    ));
    site.issued("forged", "server", "leafroot", "leaf");
    site.show("forged");
    site.agree(&site.vouched_by(&["leafroot"]), Refused);
    site.agree(&site.vouched_by(&["leafroot", "ca"]), Refused);
}

#[test]
fn a_revocation_list_that_says_nothing_is_none() {
    use End::{Encrypted, Refused};
    let site = Site::new();
    site.keep_books();
    site.request("server");
    site.issued("dns", "server", "ca", "leaf");
    let list = |name: &str, dates: &str| {
        site.openssl(&format!(
            "ca -config ca.conf -keyfile ca.key -cert ca.crt -gencrl {dates} -out {name}.crl"
        ));
    };
    list("new", "");
    list("old", "-crl_lastupdate 20200101000000Z -crl_nextupdate 20200201000000Z");
    list("early", "-crl_lastupdate 20990101000000Z -crl_nextupdate 20990201000000Z");
    let both = ["old.crl", "new.crl"].map(|n| std::fs::read_to_string(site.path(n)).unwrap());
    std::fs::write(site.path("both.crl"), both.concat()).unwrap();
    std::fs::create_dir(site.path("empty")).unwrap();
    site.show("dns");
    let root = site.vouched_by(&["ca"]);
    let with = |what: &str| format!("{root} {what}={}", site.dir.path().display());
    site.agree(&(with("sslcrl") + "/new.crl"), Encrypted);
    site.agree(&(with("sslcrl") + "/both.crl"), Encrypted);
    for (more, said, hint) in [
        (with("sslcrl") + "/old.crl", "a revocation list has expired", "today's lists"),
        (with("sslcrl") + "/early.crl", "no revocation list is of", "today's lists"),
        (with("sslcrldir") + "/empty", "there is no revocation list in", "`sslcrldir`"),
    ] {
        site.agree(&more, Refused);
        let error = site.refusal(&more);
        assert!(error.message().contains(said), "{error:?}");
        assert!(error.hint_line().unwrap().contains(hint), "{error:?}");
    }
    // A server that is its own authority would have to issue its list.
    site.openssl(&format!(
        "req -x509 -newkey {EC} -nodes -days 30 -subj /CN=localhost -keyout self.key -out self.crt"
    ));
    site.show("self");
    let root = site.vouched_by(&["self"]);
    site.agree(&root, Encrypted);
    site.agree(&format!("{root} sslcrl={}", site.path("new.crl").display()), Refused);
}

#[test]
fn the_password_is_bound_to_the_encrypted_channel() {
    use End::{Encrypted, Refused};
    let site = Site::new();
    site.signed("dns", EC, "/CN=localhost", &format!("{LEAF}subjectAltName=DNS:localhost\n"));
    site.show("dns");
    site.server.psql(
        "postgres",
        "set password_encryption = 'scram-sha-256'; create role badger login password 'hole'",
    );
    site.hba("host all all 127.0.0.1/32 scram-sha-256");
    let base = "user=badger password=hole";
    site.agree(&format!("{base} sslmode=require channel_binding=require"), Encrypted);
    site.agree(&format!("{base} sslmode=require channel_binding=disable"), Encrypted);
    site.agree(&format!("{base} sslmode=disable channel_binding=require"), Refused);
    site.agree("user=badger password=wrong sslmode=prefer", Refused);
    for (oldest, newest, version) in [("TLSv1.2", "TLSv1.2", "TLSv1.2"), ("TLSv1.3", "", "TLSv1.3")]
    {
        let more = format!(
            "{base} sslmode=require ssl_min_protocol_version={oldest} \
             ssl_max_protocol_version='{newest}'"
        );
        let database = Database::resolve(&site.source(&more)).unwrap();
        let question = "select version from pg_stat_ssl where pid = pg_backend_pid()";
        let mut session = database.connect().unwrap();
        assert_eq!(session.rows(question, &[]).unwrap()[0].get::<_, String>(0), version);
    }
}

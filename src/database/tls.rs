//! Encryption of a connection: which files, which rules, as libpq has them.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, InconsistentKeys};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, Result};
use crate::system::fs;

use super::roots::Roots;
use super::settings::{Protocol, Ssl, SslMode};
use super::verifier::{Name, Verifier, public_key};

/// No certificate file is this large; bytes. The bundle of a distribution has about 220 KB.
const LIMIT: u64 = 16 << 20;

/// Makes the encrypting half of a connection to the server of this name.
pub(super) fn connector(ssl: &Ssl, host: Option<&str>) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = roots(ssl, &provider)?;
    let name = match (ssl.mode, host) {
        (SslMode::VerifyFull, None) => {
            return Err(Error::config(
                "sslmode=verify-full needs a host name, not only an address",
            )
            .hint("Set `host` beside `hostaddr`, to a name that the certificate carries."));
        }
        (SslMode::VerifyFull, Some(host)) => Name::Must(host.to_owned()),
        (
            SslMode::Disable
            | SslMode::Allow
            | SslMode::Prefer
            | SslMode::Require
            | SslMode::VerifyCa,
            _,
        ) => Name::Any,
    };
    let verifier = Verifier::new(provider.signature_verification_algorithms, roots, name);
    let versions: Vec<_> =
        [(Protocol::Tls12, &rustls::version::TLS12), (Protocol::Tls13, &rustls::version::TLS13)]
            .into_iter()
            .filter(|(protocol, _)| (ssl.oldest..=ssl.newest).contains(protocol))
            .map(|(_, version)| version)
            .collect();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| Error::config("no version of TLS is left to speak").source(error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match own_certificate(ssl)? {
        Some((path, chain, key)) => {
            let own = own_key(chain, key, &provider).map_err(|error| {
                Error::config(format!("cannot use client certificate {}", path.display()))
                    .hint("Name a certificate and its own key in `sslcert` and `sslkey`.")
                    .source(error)
            })?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)))
        }
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = ssl.sni;
    if ssl.negotiation == postgres::config::SslNegotiation::Direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(MakeRustlsConnect::new(config))
}

/// Loads what vouches for the server. libpq checks the chain in every mode once the file is there;
/// only `verify-ca` and `verify-full` insist on the file.
fn roots(ssl: &Ssl, provider: &Arc<CryptoProvider>) -> Result<Option<Roots>> {
    let needed = ssl.mode >= SslMode::VerifyCa;
    let hint = "Set `sslrootcert` to a file with the certificate of the authority, or to `system`.";
    let Some(path) = ssl.root.as_deref().filter(|path| path.exists()) else {
        return match (needed, &ssl.root) {
            (false, _) => Ok(None),
            (true, Some(path)) => Err(Error::config(format!(
                "root certificate file {} does not exist, and sslmode={} needs it",
                path.display(),
                ssl.mode.word()
            ))
            .hint(hint)),
            (true, None) => {
                Err(Error::config(format!("sslmode={} needs sslrootcert", ssl.mode.word()))
                    .hint(hint))
            }
        };
    };
    let certificates = certificates(path, "root certificate")?;
    if certificates.is_empty() {
        return Err(
            Error::config(format!("there is no certificate in {}", path.display())).hint(hint)
        );
    }
    Roots::new(certificates, revoked(&ssl.revoked)?, provider).map(Some)
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>> {
    let plain = std::fs::metadata(path).and_then(|found| match found.is_file() {
        true => fs::read_limited(path, LIMIT),
        // A pipe could hold us for ever.
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a plain file")),
    });
    plain.map_err(|error| {
        Error::config(format!("cannot read {what} file {}", path.display()))
            .hint(format!("Check `ls -l {}`.", path.display()))
            .source(error)
    })
}

fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path, what)?;
    CertificateDer::pem_slice_iter(&bytes).collect::<std::result::Result<_, _>>().map_err(|error| {
        Error::config(format!("{what} file {} is damaged", path.display())).source(error)
    })
}

fn revoked(paths: &[PathBuf]) -> Result<Vec<CertificateRevocationListDer<'static>>> {
    let mut lists = Vec::new();
    for path in paths {
        let files = match std::fs::read_dir(path) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(_) => vec![path.clone()],
        };
        for file in files {
            let bytes = read(&file, "revocation list")?;
            for list in CertificateRevocationListDer::pem_slice_iter(&bytes) {
                lists.push(list.map_err(|error| {
                    Error::config(format!("revocation list {} is damaged", file.display()))
                        .source(error)
                })?);
            }
        }
    }
    // A file without a list is passed over, as libpq does. With a directory it looks for a list of each
    // authority in any case, and refuses where there is none.
    match paths.iter().find(|path| path.is_dir()).filter(|_| lists.is_empty()) {
        Some(dir) => {
            Err(Error::config(format!("there is no revocation list in {}", dir.display()))
                .hint("Put the lists of the authorities there, or correct `sslcrldir`."))
        }
        None => Ok(lists),
    }
}

type Own = (PathBuf, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Loads the certificate that we show, when its file exists.
fn own_certificate(ssl: &Ssl) -> Result<Option<Own>> {
    let Some(path) = ssl.cert.clone().filter(|path| path.exists()) else { return Ok(None) };
    let chain = certificates(&path, "client certificate")?;
    let Some(key) = &ssl.key else {
        return Err(Error::config(format!("client certificate {} has no key", path.display()))
            .hint("Set `sslkey`."));
    };
    check_mode(key)?;
    let key = private_key(key)?;
    Ok(Some((path, chain, key)))
}

/// Joins a certificate and its key. What cannot be read of a certificate, such as one of version 1, is the
/// server's to judge; that the key is its own can be told all the same.
fn own_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> std::result::Result<CertifiedKey, rustls::Error> {
    let own = CertifiedKey::new(chain, provider.key_provider.load_private_key(key)?);
    match own.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(own),
        Err(rustls::Error::InvalidCertificate(_))
            if own.key.public_key() == Some(public_key(own.end_entity_cert()?)?) =>
        {
            Ok(own)
        }
        Err(error) => Err(error),
    }
}

/// A key that others can read is no secret; the rule and its exception for root are libpq's.
fn check_mode(key: &Path) -> Result<()> {
    let found = match std::fs::metadata(key) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::config(format!(
                "there is a client certificate, but not its key {}",
                key.display()
            ))
            .hint("Set `sslkey`."));
        }
        Err(error) => {
            return Err(
                Error::config(format!("cannot read client key {}", key.display())).source(error)
            );
        }
    };
    if !found.is_file() {
        return Err(Error::config(format!("client key {} is not a plain file", key.display())));
    }
    let forbidden = if found.uid() == 0 { 0o037 } else { 0o077 };
    if found.mode() & forbidden != 0 {
        return Err(Error::config(format!("others can read client key {}", key.display()))
            .detail(format!("its mode is {:04o}", found.mode() & 0o7777))
            .hint(format!("Run `chmod 0600 {}`.", key.display())));
    }
    Ok(())
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let bytes = read(path, "client key")?;
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    if has("ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        return Err(Error::config(format!("client key {} is encrypted", path.display()))
            .detail("a key with a passphrase cannot be used without a person")
            .hint(format!(
                "Store it decrypted with mode 0600: `openssl pkey -in {0} -out {0}.plain`.",
                path.display()
            )));
    }
    PrivateKeyDer::from_pem_slice(&bytes)
        .or_else(|_| PrivateKeyDer::try_from(bytes))
        .map_err(|_| Error::config(format!("there is no private key in {}", path.display())))
}

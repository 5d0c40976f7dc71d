//! Whether a server's certificate is good enough, by the rules of libpq with OpenSSL.
//!
//! rustls alone refuses certificates that work everywhere else: the self-signed one of PostgreSQL's
//! manual (an authority used as a server), one without alternative names, X.509 version 1. An upgrade
//! whose `pg_dump` connects while its own session does not would help nobody, so the two rules that
//! differ are ours: a certificate that is itself in the root file is trusted, and the common name
//! counts where there is no alternative name of the kind. Chains are checked by rustls.

use std::net::IpAddr;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::roots::Roots;

/// What the certificate must be made out to.
#[derive(Debug)]
pub(super) enum Name {
    /// Whatever it says (`verify-ca` and less).
    Any,
    /// This host (`verify-full`).
    Must(String),
}

/// Judges certificates; without roots only the possession of the key is proved.
#[derive(Debug)]
pub(super) struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    roots: Option<Roots>,
    name: Name,
}

impl Verifier {
    pub(super) fn new(
        algorithms: WebPkiSupportedAlgorithms,
        roots: Option<Roots>,
        name: Name,
    ) -> Self {
        Self { algorithms, roots, name }
    }

    fn check_chain(
        &self,
        roots: &Roots,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let listed = roots.certificates.iter().any(|root| root.as_ref() == leaf.as_ref());
        if listed {
            let leaf = parsed(leaf)?;
            // As OpenSSL: one that another authority issued needs that authority in the file.
            if leaf.tbs_certificate.issuer == leaf.tbs_certificate.subject {
                // It would have to issue the list by which it is not revoked.
                return if roots.with_lists { Err(not_listed()) } else { check_dates(&leaf, now) };
            }
        }
        let intermediates: Vec<CertificateDer<'_>> =
            intermediates.iter().chain(&roots.between).cloned().collect();
        match &roots.checked {
            // No list is valid today, or there is nobody whose list it could be.
            None if roots.with_lists => Err(not_listed()),
            None => rustls::client::verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(leaf)?,
                &roots.anchors,
                &intermediates,
                now,
                self.algorithms.all,
            ),
            // The name is the last thing that this verifier looks at: an error about it means that
            // chain and revocation are in order, and names are judged below.
            Some(checked) => {
                match checked.verify_server_cert(leaf, &intermediates, name, &[], now) {
                    Ok(_)
                    | Err(Error::InvalidCertificate(
                        CertificateError::NotValidForName
                        | CertificateError::NotValidForNameContext { .. },
                    )) => Ok(()),
                    Err(other) => Err(other),
                }
            }
        }
    }
}

fn not_listed() -> Error {
    Error::InvalidCertificate(CertificateError::UnknownRevocationStatus)
}

fn parsed(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::from_der(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// Returns the key of a certificate of any version.
pub(super) fn public_key(
    certificate: &CertificateDer<'_>,
) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let key = parsed(certificate)?.tbs_certificate.subject_public_key_info.to_der();
    let key = key.map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    Ok(SubjectPublicKeyInfoDer::from(key))
}

pub(super) fn check_dates(certificate: &Certificate, now: UnixTime) -> Result<(), Error> {
    let validity = certificate.tbs_certificate.validity;
    let now = now.as_secs();
    if now < validity.not_before.to_unix_duration().as_secs() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now > validity.not_after.to_unix_duration().as_secs() {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            self.check_chain(roots, leaf, intermediates, name, now)?;
        }
        match &self.name {
            Name::Any => {}
            Name::Must(host) => {
                let leaf = parsed(leaf)?;
                if !is_made_out_to(&leaf, host) {
                    return Err(Error::InvalidCertificate(
                        CertificateError::NotValidForNameContext {
                            expected: name.to_owned(),
                            presented: names(&leaf),
                        },
                    ));
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if ParsedCertificate::try_from(leaf).is_ok() {
            return rustls::crypto::verify_tls12_signature(
                message,
                leaf,
                signature,
                &self.algorithms,
            );
        }
        // A version 1 certificate: rustls has no function for its key alone in TLS 1.2.
        let key = parsed(leaf)?.tbs_certificate.subject_public_key_info;
        let bad = || Error::InvalidCertificate(CertificateError::BadSignature);
        let kind = key.algorithm.to_der().map_err(|_| bad())?;
        let point = key.subject_public_key.as_bytes().ok_or_else(bad)?;
        self.algorithms
            .mapping
            .iter()
            .filter(|(scheme, _)| *scheme == signature.scheme)
            .flat_map(|(_, algorithms)| algorithms.iter())
            // An algorithm identifier in DER is two bytes of header, as it is short, and the rest.
            .filter(|algorithm| kind.get(2..) == Some(algorithm.public_key_alg_id().as_ref()))
            .find(|algorithm| {
                algorithm.verify_signature(point, message, signature.signature()).is_ok()
            })
            .map(|_| HandshakeSignatureValid::assertion())
            .ok_or_else(bad)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = public_key(leaf)?;
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Compares names as libpq 15 and newer do: alternative names first, the common name only where no
/// alternative name is of the host's kind.
fn is_made_out_to(certificate: &Certificate, host: &str) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    let alternatives = match certificate.tbs_certificate.get::<SubjectAltName>() {
        Ok(found) => found.map(|(_, names)| names.0).unwrap_or_default(),
        // Unreadable names are no names, and no reason to fall back to a weaker rule.
        Err(_) => return false,
    };
    let mut same_kind = false;
    for name in &alternatives {
        if let GeneralName::DnsName(pattern) = name {
            same_kind |= address.is_none();
            if names_match(pattern.as_str(), host) {
                return true;
            }
        } else if let (GeneralName::IpAddress(bytes), Some(address)) = (name, address) {
            same_kind = true;
            let matches = match address {
                IpAddr::V4(address) => address.octets()[..] == *bytes.as_bytes(),
                IpAddr::V6(address) => address.octets()[..] == *bytes.as_bytes(),
            };
            if matches {
                return true;
            }
        }
    }
    !same_kind && common_name(certificate).is_some_and(|name| names_match(&name, host))
}

/// Returns the names that a certificate carries, for messages.
fn names(certificate: &Certificate) -> Vec<String> {
    let alternatives = certificate.tbs_certificate.get::<SubjectAltName>().ok().flatten();
    let alternatives = alternatives.map(|(_, names)| names.0).unwrap_or_default();
    let mut names: Vec<String> = alternatives
        .iter()
        .filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
            GeneralName::IpAddress(bytes) => match bytes.as_bytes().len() {
                4 => {
                    <[u8; 4]>::try_from(bytes.as_bytes()).ok().map(|b| IpAddr::from(b).to_string())
                }
                _ => {
                    <[u8; 16]>::try_from(bytes.as_bytes()).ok().map(|b| IpAddr::from(b).to_string())
                }
            },
            _ => None,
        })
        .collect();
    if alternatives.is_empty() {
        names.extend(common_name(certificate));
    }
    names
}

fn common_name(certificate: &Certificate) -> Option<String> {
    let common_name = x509_cert::der::oid::db::rfc4519::CN;
    let subject = &certificate.tbs_certificate.subject;
    let value = subject
        .0
        .iter()
        .flat_map(|part| part.0.iter())
        .find(|part| part.oid == common_name)
        .map(|part| part.value.value())?;
    std::str::from_utf8(value).ok().filter(|name| !name.contains('\0')).map(str::to_owned)
}

/// Compares one name; `*.` stands for exactly one label at the start.
fn names_match(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(rest), Some((label, domain))) => {
            !rest.is_empty() && !label.is_empty() && rest.eq_ignore_ascii_case(domain)
        }
        (Some(_) | None, Some(_) | None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        for (pattern, host, matches) in [
            ("db.example", "DB.Example", true),
            ("*.example", "db.example", true),
            ("*.example", "a.db.example", false),
            ("*.example", "example", false),
            ("*.example", ".example", false),
            ("d*.example", "db.example", false),
            ("*.", "db.", false),
            ("*", "db", false),
            ("db.example", "db.example.", false),
        ] {
            assert_eq!(names_match(pattern, host), matches, "{pattern} {host}");
        }
    }
}

//! What vouches for servers: the certificates of the root file, each for what OpenSSL takes it for.
//!
//! webpki ends a chain at whatever it is given, also at the certificate of a server, at one that has
//! expired, and at one that another authority issued. With OpenSSL it ends at an authority that issued
//! itself and is valid today; the rest of the file may stand between.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, SubjectKeyIdentifier,
};
use x509_cert::{Certificate, TbsCertificate, Version};

use super::verifier::check_dates;
use crate::error::{Error, Result};

/// What vouches for servers.
#[derive(Debug)]
pub(super) struct Roots {
    /// The certificates of the root file as they are.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// Those at which a chain may end.
    pub(super) anchors: RootCertStore,
    /// Those that another one must vouch for.
    pub(super) between: Vec<CertificateDer<'static>>,
    /// Whether revoked certificates are looked for.
    pub(super) with_lists: bool,
    /// The anchors with the lists that have begun to be valid, where there are both.
    pub(super) checked: Option<Arc<WebPkiServerVerifier>>,
}

impl Roots {
    /// Sorts the certificates of a root file, and adds lists of revoked ones.
    pub(super) fn new(
        certificates: Vec<CertificateDer<'static>>,
        lists: Vec<CertificateRevocationListDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self> {
        let now = UnixTime::now();
        let mut anchors = RootCertStore::empty();
        let mut between = Vec::new();
        for certificate in &certificates {
            match use_of(certificate, now) {
                // One that webpki cannot read vouches for nothing.
                Use::Anchor => drop(anchors.add(certificate.clone())),
                Use::Between => between.push(certificate.clone()),
                Use::None => {}
            }
        }
        let with_lists = !lists.is_empty();
        let lists = in_order(lists, now);
        let checked = match !lists.is_empty() && !anchors.is_empty() {
            true => Some(
                WebPkiServerVerifier::builder_with_provider(
                    anchors.clone().into(),
                    Arc::clone(provider),
                )
                .with_crls(lists)
                .enforce_revocation_expiration()
                .build()
                .map_err(|error| {
                    Error::config("cannot use the revocation list of sslcrl")
                        .hint("Issue it as version 2, with a CRL number (`crlnumber` in openssl.cnf).")
                        .source(error)
                })?,
            ),
            false => None,
        };
        Ok(Self { certificates, anchors, between, with_lists, checked })
    }
}

/// What a certificate of the root file is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Anchor,
    Between,
    None,
}

fn use_of(certificate: &CertificateDer<'_>, now: UnixTime) -> Use {
    let Ok(certificate) = Certificate::from_der(certificate) else { return Use::None };
    let fields = &certificate.tbs_certificate;
    let own = fields.issuer == fields.subject && !is_of_another_key(fields);
    match (may_issue(fields), own && check_dates(&certificate, now).is_ok()) {
        (true, true) => Use::Anchor,
        // webpki reads no version 1 there.
        (true, false) if fields.version != Version::V1 => Use::Between,
        (true | false, _) => Use::None,
    }
}

/// Returns whether it is an authority, as OpenSSL decides it. One of version 1 cannot say so, and is one
/// only where it issued itself. What cannot be read allows nothing.
fn may_issue(fields: &TbsCertificate) -> bool {
    let (Ok(usage), Ok(basic)) = (fields.get::<KeyUsage>(), fields.get::<BasicConstraints>())
    else {
        return false;
    };
    let signs = usage.map(|(_, usage)| usage.key_cert_sign());
    match basic {
        Some((_, basic)) => basic.ca && signs != Some(false),
        None if fields.version == Version::V1 => fields.issuer == fields.subject,
        None => signs == Some(true),
    }
}

/// An authority that changed its key signs the new one with the old one, under one name.
fn is_of_another_key(fields: &TbsCertificate) -> bool {
    let own = fields.get::<SubjectKeyIdentifier>().ok().flatten().map(|(_, own)| own.0);
    let issuer = fields.get::<AuthorityKeyIdentifier>().ok().flatten();
    let issuer = issuer.and_then(|(_, issuer)| issuer.key_identifier);
    matches!((own, issuer), (Some(own), Some(issuer)) if own != issuer)
}

/// Puts the lists that are valid now before others, the newest first: webpki asks the first list of an
/// authority and no further one, and a directory may hold last month's beside it. One of the future is
/// none.
fn in_order(
    lists: Vec<CertificateRevocationListDer<'static>>,
    now: UnixTime,
) -> Vec<CertificateRevocationListDer<'static>> {
    let mut dated: Vec<_> = lists
        .into_iter()
        .map(|list| {
            // What cannot be read here is left to webpki, which says why.
            let found = CertificateList::from_der(&list).ok().map(|found| found.tbs_cert_list);
            let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
            let since = found.as_ref().map_or(0, |found| seconds(found.this_update));
            let until = found.and_then(|found| found.next_update).map_or(u64::MAX, seconds);
            ((now.as_secs() <= until, since), list)
        })
        .filter(|((_, since), _)| *since <= now.as_secs())
        .collect();
    dated.sort_by_key(|(date, _)| std::cmp::Reverse(*date));
    dated.into_iter().map(|(_, list)| list).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject as _;

    #[test]
    fn no_authority_of_the_distribution_is_lost() {
        let Ok(bytes) = std::fs::read("/etc/ssl/certs/ca-certificates.crt") else {
            eprintln!("SKIPPED: this machine has no bundle of certificates");
            return;
        };
        let now = UnixTime::now();
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            let certificate = certificate.unwrap();
            let read = Certificate::from_der(&certificate).unwrap();
            if check_dates(&read, now).is_ok() {
                let subject = read.tbs_certificate.subject;
                assert_eq!(use_of(&certificate, now), Use::Anchor, "{subject}");
            }
        }
    }
}

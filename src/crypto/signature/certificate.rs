//! Signatures that a certificate vouches for, and the roots that vouch for the certificate: how
//! time-stamping authorities sign (RFC 5280, RFC 3161 §2.3).
//!
//! The chain is judged at the time of the token, not now: what was dated while the authority's
//! certificate was valid stays dated. Deliberately absent: revocation, which nobody can look up
//! offline for a time that is past, and any root that the caller did not name.

use der::Decode;
use der::oid::db::rfc5280::ID_KP_TIME_STAMPING;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, aws_lc_rs};
use x509_cert::Certificate;
use x509_cert::ext::pkix::ExtendedKeyUsage;

/// 1.3.6.1.5.5.7.3.8, as it is encoded (RFC 3161 §2.3).
const TIME_STAMPING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];

/// Certificates in a chain at most, so that a hostile reply costs little.
pub const MAXIMUM_CERTIFICATES: usize = 16;

/// What certificates in a chain may be signed with.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    aws_lc_rs::ECDSA_P256_SHA256,
    aws_lc_rs::ECDSA_P256_SHA384,
    aws_lc_rs::ECDSA_P256_SHA512,
    aws_lc_rs::ECDSA_P384_SHA256,
    aws_lc_rs::ECDSA_P384_SHA384,
    aws_lc_rs::ECDSA_P384_SHA512,
    aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
    aws_lc_rs::RSA_PKCS1_2048_8192_SHA384,
    aws_lc_rs::RSA_PKCS1_2048_8192_SHA512,
];

/// How a signature was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// RSASSA-PKCS1-v1_5 (RFC 8017 §8.2), 2048 to 8192 bits.
    Rsa(Digest),
    /// ECDSA on P-256 or P-384, in DER (RFC 5480).
    Ecdsa(Digest),
}

/// The digest of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

/// Why a certificate or its signature is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The bytes are no certificate of this kind.
    #[error("a certificate cannot be read")]
    Unreadable,
    /// The file of roots holds no certificate.
    #[error("there is no certificate in PEM form")]
    NoRoots,
    /// It may be used for something else than time-stamps, or for more than time-stamps.
    #[error("the certificate is not one for time-stamps alone")]
    Purpose,
    /// The signature does not fit the key of the certificate.
    #[error("the signature does not hold")]
    Signature,
    /// No given root vouches for it.
    #[error("the chain ends at none of the given roots")]
    UnknownChain,
    /// A root vouches for it, at another time.
    #[error("the chain was not valid at the time of the token")]
    NotValidThen,
}

/// The roots that are believed.
#[derive(Clone, Debug, Default)]
pub struct Roots(Vec<Root>);

#[derive(Clone, Debug)]
struct Root {
    anchor: TrustAnchor<'static>,
    from: u64,
    until: u64,
}

impl Roots {
    /// Reads the certificates of a PEM file; everything else in it is passed over.
    ///
    /// # Errors
    /// [`CertificateError::NoRoots`], [`CertificateError::Unreadable`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let mut roots = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| CertificateError::Unreadable)?;
            let validity = *read(&certificate)?.tbs_certificate().validity();
            let anchor = anchor_from_trusted_cert(&certificate).map_err(|_| CertificateError::Unreadable)?;
            roots.push(Root {
                anchor: anchor.to_owned(),
                from: validity.not_before.to_unix_duration().as_secs(),
                until: validity.not_after.to_unix_duration().as_secs(),
            });
        }
        if roots.is_empty() { Err(CertificateError::NoRoots) } else { Ok(Self(roots)) }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These and those.
    pub fn add(&mut self, others: &Self) {
        self.0.extend_from_slice(&others.0);
    }
}

/// The certificate of whoever signed.
pub struct Signer<'a> {
    bytes: &'a CertificateDer<'a>,
    certificate: Certificate,
}

impl<'a> Signer<'a> {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`CertificateError::Unreadable`].
    pub fn read(bytes: &'a CertificateDer<'a>) -> Result<Self, CertificateError> {
        Ok(Self { bytes, certificate: read(bytes)? })
    }

    /// What it says.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Whether its key made this signature over this message.
    ///
    /// # Errors
    /// [`CertificateError::Unreadable`], [`CertificateError::Signature`].
    pub fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> Result<(), CertificateError> {
        let end = EndEntityCert::try_from(self.bytes).map_err(|_| CertificateError::Unreadable)?;
        let holds = |algorithm: &&dyn SignatureVerificationAlgorithm| {
            end.verify_signature(*algorithm, message, signature).is_ok()
        };
        if scheme.algorithms().iter().any(holds) { Ok(()) } else { Err(CertificateError::Signature) }
    }

    /// Whether it may sign time-stamps and nothing else, and says so critically (RFC 3161 §2.3).
    ///
    /// # Errors
    /// [`CertificateError::Purpose`].
    pub fn is_for_time_stamps(&self) -> Result<(), CertificateError> {
        match self.certificate.tbs_certificate().get_extension::<ExtendedKeyUsage>() {
            Ok(Some((true, ExtendedKeyUsage(usages)))) if usages == [ID_KP_TIME_STAMPING] => Ok(()),
            _ => Err(CertificateError::Purpose),
        }
    }

    /// Whether a chain over `between` leads to one of the roots, all of it valid at `seconds` since
    /// 1970 UTC.
    ///
    /// # Errors
    /// [`CertificateError::UnknownChain`], [`CertificateError::NotValidThen`].
    pub fn chain(&self, between: &[CertificateDer<'_>], roots: &Roots, seconds: u64) -> Result<(), CertificateError> {
        let end = EndEntityCert::try_from(self.bytes).map_err(|_| CertificateError::Unreadable)?;
        let lead = |roots: &[TrustAnchor<'static>]| {
            let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
            // The signer's own usage is judged more strictly, and issuers need not name any.
            let usage = KeyUsage::required_if_present(TIME_STAMPING);
            end.verify_for_usage(ALGORITHMS, roots, between, time, usage, None, None).map(drop)
        };
        let (now, others): (Vec<&Root>, Vec<&Root>) =
            roots.0.iter().partition(|root| (root.from..=root.until).contains(&seconds));
        let anchors = |roots: Vec<&Root>| roots.into_iter().map(|root| root.anchor.clone()).collect::<Vec<_>>();
        match lead(&anchors(now)) {
            Ok(()) => Ok(()),
            Err(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. }) => {
                Err(CertificateError::NotValidThen)
            }
            Err(_) if lead(&anchors(others)).is_ok() => Err(CertificateError::NotValidThen),
            Err(_) => Err(CertificateError::UnknownChain),
        }
    }
}

impl Scheme {
    /// One for each curve that the key may be on.
    fn algorithms(self) -> Vec<&'static dyn SignatureVerificationAlgorithm> {
        match self {
            Self::Rsa(Digest::Sha256) => vec![aws_lc_rs::RSA_PKCS1_2048_8192_SHA256],
            Self::Rsa(Digest::Sha384) => vec![aws_lc_rs::RSA_PKCS1_2048_8192_SHA384],
            Self::Rsa(Digest::Sha512) => vec![aws_lc_rs::RSA_PKCS1_2048_8192_SHA512],
            Self::Ecdsa(Digest::Sha256) => vec![aws_lc_rs::ECDSA_P256_SHA256, aws_lc_rs::ECDSA_P384_SHA256],
            Self::Ecdsa(Digest::Sha384) => vec![aws_lc_rs::ECDSA_P256_SHA384, aws_lc_rs::ECDSA_P384_SHA384],
            Self::Ecdsa(Digest::Sha512) => vec![aws_lc_rs::ECDSA_P256_SHA512, aws_lc_rs::ECDSA_P384_SHA512],
        }
    }
}

fn read(bytes: &[u8]) -> Result<Certificate, CertificateError> {
    Certificate::from_der(bytes).map_err(|_| CertificateError::Unreadable)
}

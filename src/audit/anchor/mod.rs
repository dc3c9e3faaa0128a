//! Time-stamps of others on our checkpoints (RFC 3161): asking for one, and judging the reply.
//!
//! An authority signs the digest of a checkpoint's text and a time. That proves that the log, as far as
//! the checkpoint covers it, is not younger: "not later than". It does not prove that there is only
//! one such log, because whoever forks a log can have both branches dated; only witnesses speak
//! against forks.
//!
//! A reply is judged offline and years later: the chain counts at the time of the token. The
//! authority's policy and the accuracy it claims are read and ignored.

mod asn1;

use der::asn1::{Any, ObjectIdentifier, OctetString, Uint};
use der::oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, ID_SHA_256, ID_SHA_384, ID_SHA_512, RSA_ENCRYPTION,
    SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
};
use der::{Decode, DecodeOwned, Encode, Tag, Tagged};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustls_pki_types::CertificateDer;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use x509_cert::attr::Attribute;
use x509_cert::ext::pkix::SubjectKeyIdentifier;
use x509_cert::spki::AlgorithmIdentifierOwned;

use self::asn1::{
    CertificateIdV2, MessageImprint, SignedData, SignerIdentifier, SignerInfo, SigningCertificate,
    SigningCertificateV2, TimeStampReply, TimeStampRequest, TokenInfo,
};
use crate::crypto::signature::certificate::{CertificateError, Digest, MAXIMUM_CERTIFICATES, Roots, Scheme, Signer};

/// The media type of a request (RFC 3161 §3.4).
pub const QUERY_TYPE: &str = "application/timestamp-query";
/// The media type of a reply.
pub const REPLY_TYPE: &str = "application/timestamp-reply";
/// Bytes of a reply at most; one with a chain has about 6,000.
pub const MAXIMUM_REPLY: usize = 64 << 10;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TOKEN_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.12");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");

/// Why a reply dates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// The bytes are no reply of an authority.
    #[error("the reply is malformed")]
    Malformed,
    /// The authority did not grant a token.
    #[error("the authority refused, with status {0}")]
    Refused(u32),
    /// The token dates something else.
    #[error("the token is for another text")]
    OtherText,
    /// The token answers another request.
    #[error("the token answers another request")]
    Nonce,
    /// A digest or a signature by a kind of algorithm that is not accepted.
    #[error("the token uses an algorithm that is not accepted")]
    Algorithm,
    /// What is signed is not what the token says.
    #[error("the token is not what was signed")]
    Altered,
    /// The certificate of the signer is not in the reply, or is not the one that was signed with.
    #[error("the certificate of the signer is missing or another one")]
    Signer,
    /// The signer's certificate, its signature or its chain.
    #[error("{0}")]
    Certificate(#[from] CertificateError),
}

impl AnchorError {
    /// Whether all of the token holds but nobody given vouches for its signer: it may be sound, and
    /// nobody here can tell.
    #[must_use]
    pub const fn is_unvouched(self) -> bool {
        matches!(self, Self::Certificate(CertificateError::UnknownChain | CertificateError::NotValidThen))
    }
}

impl From<der::Error> for AnchorError {
    fn from(_: der::Error) -> Self {
        Self::Malformed
    }
}

/// The request to date a text, with a number that the reply must repeat.
///
/// # Errors
/// [`AnchorError::Malformed`], which no text leads to.
pub fn query(text: &str, nonce: &[u8; 16]) -> Result<Vec<u8>, AnchorError> {
    let request = TimeStampRequest {
        version: 1,
        message_imprint: MessageImprint {
            hash_algorithm: AlgorithmIdentifierOwned { oid: ID_SHA_256, parameters: Some(Any::null()) },
            hashed_message: OctetString::new(Sha256::digest(text.as_bytes()).as_slice())?,
        },
        nonce: Uint::new(nonce)?,
        cert_req: true,
    };
    Ok(request.to_der()?)
}

/// Judges a reply. Gives the time that the token dates `text` with.
///
/// `nonce` is that of the request, known only to whoever asked. `roots` vouch for the authority.
///
/// # Errors
/// An [`AnchorError`]; one of the chain only if everything else holds.
pub fn check(reply: &[u8], text: &str, nonce: Option<&[u8; 16]>, roots: &Roots) -> Result<Timestamp, AnchorError> {
    if reply.len() > MAXIMUM_REPLY {
        return Err(AnchorError::Malformed);
    }
    let signed = token(reply)?;
    let content = signed.content.content.as_ref().ok_or(AnchorError::Malformed)?.as_bytes();
    let info = TokenInfo::from_der(content)?;
    check_info(&info, text, nonce)?;
    let time = time_of(&info.gen_time)?;

    let [signature] = signed.signers.as_slice() else { return Err(AnchorError::Malformed) };
    let certificates = certificates(&signed)?;
    let place = certificates.iter().position(|bytes| is_of(&signature.signer, bytes)).ok_or(AnchorError::Signer)?;
    let bytes = certificates.get(place).ok_or(AnchorError::Signer)?;
    check_attributes(signature, content, bytes)?;

    let signer = Signer::read(bytes)?;
    signer.is_for_time_stamps()?;
    let attributes = signature.signed_attributes.as_ref().ok_or(AnchorError::Altered)?;
    signer.verify(scheme(signature)?, &attributes.to_der()?, signature.signature.as_bytes())?;
    // A time before 1970 is before every certificate.
    signer.chain(&certificates, roots, u64::try_from(time.as_second()).unwrap_or(0))?;
    Ok(time)
}

/// The signed token of a reply that grants one.
fn token(reply: &[u8]) -> Result<SignedData, AnchorError> {
    let reply = TimeStampReply::from_der(reply)?;
    // 0 granted, 1 granted with modifications (RFC 3161 §2.4.2).
    if reply.status.status > 1 {
        return Err(AnchorError::Refused(reply.status.status));
    }
    let token = reply.token.ok_or(AnchorError::Malformed)?;
    if token.content_type != SIGNED_DATA {
        return Err(AnchorError::Malformed);
    }
    let signed: SignedData = token.content.decode_as()?;
    if signed.content.content_type == TOKEN_INFO { Ok(signed) } else { Err(AnchorError::Malformed) }
}

fn check_info(info: &TokenInfo, text: &str, nonce: Option<&[u8; 16]>) -> Result<(), AnchorError> {
    if info.version != 1 {
        return Err(AnchorError::Malformed);
    }
    // An extension that must be understood, and is not.
    if info.extensions.iter().flatten().any(|extension| extension.critical) {
        return Err(AnchorError::Malformed);
    }
    let imprint = &info.message_imprint;
    let is_text = imprint.hash_algorithm.oid == ID_SHA_256
        && imprint.hashed_message.as_bytes() == Sha256::digest(text.as_bytes()).as_slice();
    if !is_text {
        return Err(AnchorError::OtherText);
    }
    if let Some(nonce) = nonce {
        let wanted = Uint::new(nonce)?.to_der()?;
        let is_answer = info.nonce.as_ref().is_some_and(|said| said.to_der().is_ok_and(|said| said == wanted));
        if !is_answer {
            return Err(AnchorError::Nonce);
        }
    }
    Ok(())
}

/// The certificates that came along, whoever they are of.
fn certificates(signed: &SignedData) -> Result<Vec<CertificateDer<'static>>, AnchorError> {
    let given = signed.certificates.as_ref().map_or(&[][..], |given| given.as_slice());
    if given.len() > MAXIMUM_CERTIFICATES {
        return Err(AnchorError::Malformed);
    }
    // Other kinds of certificate are written with tags of their own.
    given
        .iter()
        .filter(|given| given.tag() == Tag::Sequence)
        .map(|given| Ok(CertificateDer::from(given.to_der()?)))
        .collect()
}

fn is_of(identifier: &SignerIdentifier, bytes: &CertificateDer<'_>) -> bool {
    let Ok(signer) = Signer::read(bytes) else { return false };
    let certificate = signer.certificate().tbs_certificate();
    match identifier {
        SignerIdentifier::IssuerAndSerialNumber(named) => {
            named.issuer == *certificate.issuer() && named.serial_number == *certificate.serial_number()
        }
        SignerIdentifier::SubjectKeyIdentifier(named) => {
            matches!(certificate.get_extension::<SubjectKeyIdentifier>(), Ok(Some((_, own))) if own == *named)
        }
    }
}

/// What is signed are the attributes: they must name the content by its digest, and the certificate,
/// so that no other one with the same key can be put in its place (RFC 3161 §2.4.2, RFC 5816).
fn check_attributes(signature: &SignerInfo, content: &[u8], certificate: &[u8]) -> Result<(), AnchorError> {
    let kind: ObjectIdentifier = attribute(signature, CONTENT_TYPE)?.ok_or(AnchorError::Altered)?;
    let digest: OctetString = attribute(signature, MESSAGE_DIGEST)?.ok_or(AnchorError::Altered)?;
    let is_signed = kind == TOKEN_INFO && digest.as_bytes() == digest_of(&signature.digest_algorithm)?.of(content);
    if !is_signed {
        return Err(AnchorError::Altered);
    }
    let names = match attribute::<SigningCertificateV2>(signature, SIGNING_CERTIFICATE_V2)? {
        Some(named) => named.certificates.first().map(|first| is_named(first, certificate)).transpose()?,
        None => match attribute::<SigningCertificate>(signature, SIGNING_CERTIFICATE)? {
            Some(named) => {
                named.certificates.first().map(|first| first.hash.as_bytes() == Sha1::digest(certificate).as_slice())
            }
            None => None,
        },
    };
    if names == Some(true) { Ok(()) } else { Err(AnchorError::Signer) }
}

fn is_named(named: &CertificateIdV2, certificate: &[u8]) -> Result<bool, AnchorError> {
    let digest = named.hash_algorithm.as_ref().map_or(Ok(Digest::Sha256), digest_of)?;
    Ok(named.hash.as_bytes() == digest.of(certificate))
}

/// The one value of an attribute that stands at most once.
fn attribute<T: DecodeOwned<Error = der::Error>>(
    signature: &SignerInfo,
    kind: ObjectIdentifier,
) -> Result<Option<T>, AnchorError> {
    let mut found = signature.signed_attributes.iter().flat_map(|all| all.iter()).filter(|one| one.oid == kind);
    let Some(Attribute { values, .. }) = found.next() else { return Ok(None) };
    let (None, [value]) = (found.next(), values.as_slice()) else { return Err(AnchorError::Malformed) };
    Ok(Some(T::from_der(&value.to_der()?)?))
}

fn scheme(signature: &SignerInfo) -> Result<Scheme, AnchorError> {
    Ok(match signature.signature_algorithm.oid {
        RSA_ENCRYPTION => Scheme::Rsa(digest_of(&signature.digest_algorithm)?),
        SHA_256_WITH_RSA_ENCRYPTION => Scheme::Rsa(Digest::Sha256),
        SHA_384_WITH_RSA_ENCRYPTION => Scheme::Rsa(Digest::Sha384),
        SHA_512_WITH_RSA_ENCRYPTION => Scheme::Rsa(Digest::Sha512),
        ECDSA_WITH_SHA_256 => Scheme::Ecdsa(Digest::Sha256),
        ECDSA_WITH_SHA_384 => Scheme::Ecdsa(Digest::Sha384),
        ECDSA_WITH_SHA_512 => Scheme::Ecdsa(Digest::Sha512),
        _ => return Err(AnchorError::Algorithm),
    })
}

const fn digest_of(algorithm: &AlgorithmIdentifierOwned) -> Result<Digest, AnchorError> {
    match algorithm.oid {
        ID_SHA_256 => Ok(Digest::Sha256),
        ID_SHA_384 => Ok(Digest::Sha384),
        ID_SHA_512 => Ok(Digest::Sha512),
        _ => Err(AnchorError::Algorithm),
    }
}

/// `YYYYMMDDhhmmss[.s…]Z`.
fn time_of(written: &Any) -> Result<Timestamp, AnchorError> {
    let text = std::str::from_utf8(written.value()).map_err(|_| AnchorError::Malformed)?;
    let text = text.strip_suffix('Z').ok_or(AnchorError::Malformed)?;
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    let is_plain = whole.len() == 14 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if written.tag() != Tag::GeneralizedTime || !is_plain {
        return Err(AnchorError::Malformed);
    }
    let time = DateTime::strptime("%Y%m%d%H%M%S%.f", text).map_err(|_| AnchorError::Malformed)?;
    let time = time.to_zoned(TimeZone::UTC).map_err(|_| AnchorError::Malformed)?;
    Ok(time.timestamp())
}

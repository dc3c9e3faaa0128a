//! The forms of RFC 3161 and of as much of RFC 5652 (CMS) as a time-stamp token uses. What is read
//! here is written as it stands in those RFCs; bytes are read and made by `der`.

use der::asn1::{Any, Int, ObjectIdentifier, OctetString, SetOfVec, Uint};
use der::{Choice, Sequence, ValueOrd};
use x509_cert::attr::Attribute;
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::SubjectKeyIdentifier;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;

/// `TimeStampReq` (RFC 3161 §2.4.1), without policy and extensions.
#[derive(Sequence)]
pub(super) struct TimeStampRequest {
    pub(super) version: u8,
    pub(super) message_imprint: MessageImprint,
    pub(super) nonce: Uint,
    pub(super) cert_req: bool,
}

/// `MessageImprint`.
#[derive(Sequence)]
pub(super) struct MessageImprint {
    pub(super) hash_algorithm: AlgorithmIdentifierOwned,
    pub(super) hashed_message: OctetString,
}

/// `TimeStampResp` (§2.4.2).
#[derive(Sequence)]
pub(super) struct TimeStampReply {
    pub(super) status: StatusInfo,
    #[asn1(optional = "true")]
    pub(super) token: Option<ContentInfo>,
}

/// `PKIStatusInfo`.
#[derive(Sequence)]
pub(super) struct StatusInfo {
    pub(super) status: u32,
    #[asn1(optional = "true")]
    pub(super) status_string: Option<Vec<Any>>,
    #[asn1(optional = "true")]
    pub(super) fail_info: Option<der::asn1::BitString>,
}

/// `TSTInfo`.
#[derive(Sequence)]
pub(super) struct TokenInfo {
    pub(super) version: u8,
    pub(super) policy: ObjectIdentifier,
    pub(super) message_imprint: MessageImprint,
    pub(super) serial_number: Int,
    /// A `GeneralizedTime` that, unlike those of certificates, may have fractions of a second.
    pub(super) gen_time: Any,
    #[asn1(optional = "true")]
    pub(super) accuracy: Option<Accuracy>,
    #[asn1(default = "Default::default")]
    pub(super) ordering: bool,
    #[asn1(optional = "true")]
    pub(super) nonce: Option<Int>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) tsa: Option<Any>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) extensions: Option<Extensions>,
}

/// `Accuracy`.
#[derive(Sequence)]
pub(super) struct Accuracy {
    #[asn1(optional = "true")]
    pub(super) seconds: Option<u64>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) millis: Option<u16>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) micros: Option<u16>,
}

/// `ContentInfo` (RFC 5652 §3).
#[derive(Sequence)]
pub(super) struct ContentInfo {
    pub(super) content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    pub(super) content: Any,
}

/// `SignedData` (§5.1).
#[derive(Sequence)]
pub(super) struct SignedData {
    pub(super) version: u8,
    pub(super) digest_algorithms: SetOfVec<AlgorithmIdentifierOwned>,
    pub(super) content: EncapsulatedContent,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) certificates: Option<SetOfVec<Any>>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) revocations: Option<SetOfVec<Any>>,
    pub(super) signers: SetOfVec<SignerInfo>,
}

/// `EncapsulatedContentInfo` (§5.2).
#[derive(Sequence)]
pub(super) struct EncapsulatedContent {
    pub(super) content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    pub(super) content: Option<OctetString>,
}

/// `SignerInfo` (§5.3).
#[derive(Sequence, ValueOrd)]
pub(super) struct SignerInfo {
    pub(super) version: u8,
    pub(super) signer: SignerIdentifier,
    pub(super) digest_algorithm: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) signed_attributes: Option<SetOfVec<Attribute>>,
    pub(super) signature_algorithm: AlgorithmIdentifierOwned,
    pub(super) signature: OctetString,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) unsigned_attributes: Option<SetOfVec<Any>>,
}

/// `SignerIdentifier`.
#[derive(Choice, ValueOrd)]
pub(super) enum SignerIdentifier {
    IssuerAndSerialNumber(IssuerAndSerialNumber),
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    SubjectKeyIdentifier(SubjectKeyIdentifier),
}

/// `IssuerAndSerialNumber`.
#[derive(Sequence, ValueOrd)]
pub(super) struct IssuerAndSerialNumber {
    pub(super) issuer: Name,
    pub(super) serial_number: SerialNumber,
}

/// `SigningCertificate` (RFC 2634 §5.4): the certificate by its SHA-1.
#[derive(Sequence)]
pub(super) struct SigningCertificate {
    pub(super) certificates: Vec<CertificateId>,
    #[asn1(optional = "true")]
    pub(super) policies: Option<Vec<Any>>,
}

/// `ESSCertID`.
#[derive(Sequence)]
pub(super) struct CertificateId {
    pub(super) hash: OctetString,
    #[asn1(optional = "true")]
    pub(super) issuer_serial: Option<IssuerSerial>,
}

/// `SigningCertificateV2` (RFC 5035 §3): the certificate by any digest.
#[derive(Sequence)]
pub(super) struct SigningCertificateV2 {
    pub(super) certificates: Vec<CertificateIdV2>,
    #[asn1(optional = "true")]
    pub(super) policies: Option<Vec<Any>>,
}

/// `ESSCertIDv2`; no algorithm means SHA-256.
#[derive(Sequence)]
pub(super) struct CertificateIdV2 {
    #[asn1(optional = "true")]
    pub(super) hash_algorithm: Option<AlgorithmIdentifierOwned>,
    pub(super) hash: OctetString,
    #[asn1(optional = "true")]
    pub(super) issuer_serial: Option<IssuerSerial>,
}

/// `IssuerSerial`.
#[derive(Sequence)]
pub(super) struct IssuerSerial {
    pub(super) issuer: Vec<GeneralName>,
    pub(super) serial_number: SerialNumber,
}

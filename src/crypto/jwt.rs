//! Access tokens of services: EdDSA only, every claim checked here with `now` as a parameter
//! (`cryptography.md` §12, RFC 9068).

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Error;
use super::key::Key;
use super::mac::hash;
use super::signature::Signing;
use crate::domain::id::{RecipientId, TokenId};

/// How long an issued token is good, in seconds.
pub const LIFE_SECONDS: i64 = 300;
/// The longest life that is accepted, in seconds.
pub const LIFE_LIMIT_SECONDS: i64 = 900;
/// How far clocks may differ, in seconds.
pub const LEEWAY_SECONDS: i64 = 5;
/// The longest token that is looked at, in bytes.
pub const TOKEN_LIMIT: usize = 4096;

const TYPE: &str = "at+jwt";
/// What comes before the seed in PKCS #8 (RFC 8410 §7), the form the signing crate reads.
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A key that signs access tokens.
pub struct JwtSigner {
    encoding: EncodingKey,
    public: JwtPublicKey,
}

/// A public key under its `kid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtPublicKey {
    kid: String,
    public_key: [u8; 32],
}

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessClaims {
    /// The API token it was made from; it must still be live.
    pub subject: TokenId,
    /// The recipient it acts for.
    pub recipient: RecipientId,
    /// Scopes, separated by spaces.
    pub scope: String,
    /// Its own id.
    pub id: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl JwtSigner {
    /// The signer of a 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &Key) -> Self {
        let mut der = Zeroizing::new(Vec::with_capacity(48));
        der.extend_from_slice(&PKCS8_HEAD);
        der.extend_from_slice(seed.bytes());
        let public = JwtPublicKey::new(Signing::from_seed(seed).public_key());
        Self { encoding: EncodingKey::from_ed_der(&der), public }
    }

    /// Its public key.
    #[must_use]
    pub fn public(&self) -> &JwtPublicKey {
        &self.public
    }

    /// Issues a token good from `now` for [`LIFE_SECONDS`].
    ///
    /// # Errors
    /// [`Error::Signature`] if the key cannot sign.
    pub fn issue(
        &self,
        public_url: &str,
        subject: TokenId,
        recipient: &RecipientId,
        scope: &str,
        id: &str,
        now: Timestamp,
    ) -> Result<String, Error> {
        let now = now.as_second();
        let header = json!({ "alg": "EdDSA", "typ": TYPE, "kid": self.public.kid });
        let claims = json!({
            "iss": public_url,
            "aud": audience(public_url),
            "sub": subject.to_string(),
            "recipient": recipient.as_str(),
            "scope": scope,
            "iat": now,
            "nbf": now,
            "exp": now + LIFE_SECONDS,
            "jti": id,
        });
        let header = BASE64URL_NOPAD.encode(header.to_string().as_bytes());
        let claims = BASE64URL_NOPAD.encode(claims.to_string().as_bytes());
        let message = format!("{header}.{claims}");
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.encoding, Algorithm::EdDSA)
            .map_err(|_| Error::Signature)?;
        Ok(format!("{message}.{signature}"))
    }
}

impl JwtPublicKey {
    /// The key with these bytes. Its `kid` is made of the first 8 bytes of their SHA-256.
    #[must_use]
    pub fn new(public_key: [u8; 32]) -> Self {
        let digest = hash(&public_key);
        let mut kid = data_encoding::HEXLOWER.encode(&digest);
        kid.truncate(16);
        Self { kid, public_key }
    }

    /// The `kid`: 16 lower-case hex digits.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }
}

/// The document at `/.well-known/jwks.json` (RFC 7517, RFC 8037).
#[must_use]
pub fn jwks(keys: &[JwtPublicKey]) -> Value {
    let keys: Vec<Value> = keys
        .iter()
        .map(|key| {
            json!({
                "kty": "OKP",
                "crv": "Ed25519",
                "use": "sig",
                "alg": "EdDSA",
                "kid": key.kid,
                "x": BASE64URL_NOPAD.encode(&key.public_key),
            })
        })
        .collect();
    json!({ "keys": keys })
}

/// Verifies an access token against the keys that may verify now. Whether the API token behind it
/// is still live is for the caller to look up.
///
/// # Errors
/// [`Error::AccessToken`], whatever is wrong: callers must not be able to tell.
pub fn verify(token: &str, public_url: &str, keys: &[JwtPublicKey], now: Timestamp) -> Result<AccessClaims, Error> {
    check(token, public_url, keys, now).ok_or(Error::AccessToken)
}

fn check(token: &str, public_url: &str, keys: &[JwtPublicKey], now: Timestamp) -> Option<AccessClaims> {
    let Compact { message, kid, claims, signature } = Compact::split(token, TOKEN_LIMIT, TYPE)?;
    let key = keys.iter().find(|key| key.kid == kid)?;
    // The crate decodes leniently; only one spelling of a signature is ours.
    let canonical = BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?;
    if canonical.len() != 64 {
        return None;
    }
    let decoding = DecodingKey::from_ed_der(&key.public_key);
    let verified = jsonwebtoken::crypto::verify(signature, message.as_bytes(), &decoding, Algorithm::EdDSA);
    if !verified.unwrap_or(false) {
        return None;
    }

    let mut claims = members(claims)?;
    if claims.text("iss")? != public_url || claims.text("aud")? != audience(public_url) {
        return None;
    }
    let (issued, not_before, expires) = (claims.seconds("iat")?, claims.seconds("nbf")?, claims.seconds("exp")?);
    let now = now.as_second();
    let in_time = issued <= now + LEEWAY_SECONDS
        && not_before <= now + LEEWAY_SECONDS
        && now < expires.checked_add(LEEWAY_SECONDS)?
        && issued < expires
        && expires.checked_sub(issued)? <= LIFE_LIMIT_SECONDS;
    if !in_time {
        return None;
    }
    Some(AccessClaims {
        subject: TokenId::parse(&claims.text("sub")?)?,
        recipient: RecipientId::new(&claims.text("recipient")?),
        scope: claims.text("scope")?,
        id: claims.text("jti")?,
        issued_at: Timestamp::from_second(issued).ok()?,
        expires_at: Timestamp::from_second(expires).ok()?,
    })
}

/// A compact JWS taken apart (RFC 7515 §3.1), its header looked at, its signature not.
pub(super) struct Compact<'a> {
    /// What is signed.
    pub(super) message: &'a str,
    pub(super) kid: String,
    /// Still encoded.
    pub(super) claims: &'a str,
    /// Still encoded.
    pub(super) signature: &'a str,
}

impl<'a> Compact<'a> {
    /// Takes a token of this type apart; `None` if it is longer than `limit` bytes or none.
    pub(super) fn split(token: &'a str, limit: usize, of: &str) -> Option<Self> {
        if token.len() > limit {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let mut header = members(header)?;
        let kid = header.text("kid")?;
        // Exactly these three: `jwk`, `crit`, `zip` and every other member is an attack or a mistake.
        let is_ours = header.text("alg")? == "EdDSA" && header.text("typ")? == of && header.0.is_empty();
        is_ours.then_some(Self { message, kid, claims, signature })
    }
}

fn audience(public_url: &str) -> String {
    format!("{public_url}/v1")
}

/// The members of a header or of claims; refuses one that stands twice.
pub(super) struct Members(pub(super) BTreeMap<String, Value>);

pub(super) fn members(encoded: &str) -> Option<Members> {
    let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?;
    serde_json::from_slice(&bytes).ok()
}

impl Members {
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.0.remove(name)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn seconds(&mut self, name: &str) -> Option<i64> {
        self.0.remove(name)?.as_i64()
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object without repeated members")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if members.insert(name, value).is_some() {
                return Err(de::Error::custom("a member stands twice"));
            }
        }
        Ok(Members(members))
    }
}

//! Signatures of Standard Webhooks 1.0.0: version `v1`, HMAC-SHA-256 (`ecosystem.md` 2.4). Pure.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Error;

/// The value of `webhook-signature`: one `v1,…` for each secret, in the order given (newest first),
/// so that a receiver that knows only the old or only the new one accepts the message while we
/// rotate.
///
/// Signed are `{id}.{timestamp}.{body}`, the body exactly as sent and the time in whole Unix seconds.
#[must_use]
pub fn signature_header(secrets: &[SigningSecret], message_id: &str, timestamp: Timestamp, body: &[u8]) -> String {
    let mut header = String::new();
    for secret in secrets {
        if !header.is_empty() {
            header.push(' ');
        }
        header.push_str("v1,");
        header.push_str(&BASE64.encode(&secret.sign(message_id, timestamp, body)));
    }
    header
}

/// One signing secret of one recipient, as bytes. It neither prints nor compares, and is wiped.
pub struct SigningSecret(Zeroizing<Vec<u8>>);

impl SigningSecret {
    /// Reads `whsec_` and the base64 of 24 to 64 bytes. The key is the decoded bytes.
    ///
    /// # Errors
    ///
    /// [`Error::SecretUnreadable`], which says nothing about the text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let encoded = text.strip_prefix("whsec_").ok_or(Error::SecretUnreadable)?;
        let bytes = BASE64.decode(encoded.as_bytes()).map(Zeroizing::new).map_err(|_| Error::SecretUnreadable)?;
        if !(24..=64).contains(&bytes.len()) {
            return Err(Error::SecretUnreadable);
        }
        Ok(Self(bytes))
    }

    /// A new secret from 32 fresh random bytes.
    #[must_use]
    pub fn from_random(random: &Zeroizing<[u8; 32]>) -> Self {
        Self(Zeroizing::new(random.to_vec()))
    }

    /// The text that the recipient is given, once.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(96));
        text.push_str("whsec_");
        BASE64.encode_append(&self.0, &mut text);
        text
    }

    fn sign(&self, message_id: &str, timestamp: Timestamp, body: &[u8]) -> [u8; 32] {
        // HMAC takes a key of any length (RFC 2104 §2), so the empty code cannot come out; it would
        // fit no message.
        let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0) else {
            return [0; 32];
        };
        mac.update(message_id.as_bytes());
        mac.update(b".");
        mac.update(timestamp.as_second().to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const BODY: &[u8] = br#"{"type":"amanat.test","timestamp":"2026-11-22T10:34:01Z","data":{}}"#;

    #[test]
    fn the_vector_of_the_design_page() {
        let secret = SigningSecret::parse(SECRET).unwrap();
        let timestamp = Timestamp::from_second(1_795_343_641).unwrap();
        assert_eq!(
            signature_header(&[secret], "msg_amanat0001", timestamp, BODY),
            "v1,XGoEMZFMhWnlydrTlH7VY66mhTOEAcn3+Akl6jHqwfk="
        );
    }

    #[test]
    fn while_rotating_both_secrets_sign_the_newest_first() {
        let old = SigningSecret::parse(SECRET).unwrap();
        let new = SigningSecret::from_random(&Zeroizing::new([7; 32]));
        let header = signature_header(&[new, old], "msg_amanat0001", Timestamp::UNIX_EPOCH, BODY);
        let signatures: Vec<&str> = header.split(' ').collect();
        let old = SigningSecret::parse(SECRET).unwrap();
        let alone = signature_header(&[old], "msg_amanat0001", Timestamp::UNIX_EPOCH, BODY);
        assert_eq!(signatures.len(), 2);
        assert_eq!(signatures[1], alone);
        assert_ne!(signatures[0], alone);
    }

    #[test]
    fn a_secret_survives_its_own_text() {
        let secret = SigningSecret::parse(SECRET).unwrap();
        assert_eq!(secret.text().as_str(), SECRET);
    }

    #[test]
    fn a_short_long_or_misspelt_secret_is_refused() {
        let short = format!("whsec_{}", BASE64.encode(&[0; 23]));
        let long = format!("whsec_{}", BASE64.encode(&[0; 65]));
        for text in ["", "whsec_", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "whsec_!", &short, &long] {
            assert!(SigningSecret::parse(text).is_err(), "{text}");
        }
    }
}

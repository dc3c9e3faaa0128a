//! Snapshot tokens of notices: a compact JWS by which a collector proves that this gateway handed
//! out the very text that a person was shown (`consent.md` §3). No personal data, no session.
//!
//! The algorithm is fixed and never read from the header to be obeyed; `exp` has no leeway.

use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::jwt::{Compact, JwtPublicKey, members};
use super::signature::{Signing, verify_strict};

/// How long a token is good, in seconds.
pub const LIFE_SECONDS: i64 = 24 * 3_600;
/// The longest token that is looked at, in bytes.
pub const TOKEN_LIMIT: usize = 16_384;

const TYPE: &str = "amanat-notice+jwt";

/// What a snapshot token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeClaims {
    /// Whom it was handed to: the id of a collector.
    pub audience: String,
    /// When.
    pub issued_at: Timestamp,
    /// Its own id: 128 random bits, hexadecimal.
    pub id: String,
    /// The notice.
    pub notice: String,
    /// Its version.
    pub version: u32,
    /// BCP 47 tag.
    pub language: String,
    /// SHA-256 of the text, lower-case hexadecimal.
    pub text_hash: String,
    /// Content hash of the policy in force, lower-case hexadecimal.
    pub policy: String,
    /// The purposes that the text names.
    pub purposes: Vec<String>,
    /// The recipients that it names.
    pub recipients: Vec<String>,
}

/// Why a token proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// Not ours, not for this collector, or not well formed.
    Foreign,
    /// Ours, and too old.
    Expired,
}

/// Signs a token with the receipt key.
#[must_use]
pub fn issue(signing: &Signing, issuer: &str, claims: &NoticeClaims) -> String {
    let kid = JwtPublicKey::new(signing.public_key());
    let issued = claims.issued_at.as_second();
    let header = json!({ "alg": "EdDSA", "typ": TYPE, "kid": kid.kid() });
    let body = json!({
        "iss": issuer,
        "aud": claims.audience,
        "iat": issued,
        "exp": issued + LIFE_SECONDS,
        "jti": claims.id,
        "nid": claims.notice,
        "ver": claims.version,
        "lang": claims.language,
        "sha": claims.text_hash,
        "pol": claims.policy,
        "pur": claims.purposes,
        "rcp": claims.recipients,
    });
    let message = format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(header.to_string().as_bytes()),
        BASE64URL_NOPAD.encode(body.to_string().as_bytes())
    );
    let signature = BASE64URL_NOPAD.encode(&signing.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// Reads a token that this audience presents.
///
/// # Errors
/// [`Unproven`]; a token is looked at for its age only after its signature holds.
pub fn verify(
    token: &str,
    issuer: &str,
    audience: &str,
    keys: &[[u8; 32]],
    now: Timestamp,
) -> Result<NoticeClaims, Unproven> {
    let (claims, expires) = read(token, issuer, audience, keys).ok_or(Unproven::Foreign)?;
    if now.as_second() >= expires || claims.issued_at > now {
        return Err(Unproven::Expired);
    }
    Ok(claims)
}

fn read(token: &str, issuer: &str, audience: &str, keys: &[[u8; 32]]) -> Option<(NoticeClaims, i64)> {
    let Compact { message, kid, claims, signature } = Compact::split(token, TOKEN_LIMIT, TYPE)?;
    let key = keys.iter().find(|key| JwtPublicKey::new(**key).kid() == kid)?;
    let signature: [u8; 64] = BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?.try_into().ok()?;
    verify_strict(key, message.as_bytes(), &signature).ok()?;

    let mut claims = members(claims)?;
    if claims.text("iss")? != issuer || claims.text("aud")? != audience {
        return None;
    }
    let (issued, expires) = (claims.seconds("iat")?, claims.seconds("exp")?);
    if expires.checked_sub(issued)? != LIFE_SECONDS {
        return None;
    }
    let mut texts = |name: &str| -> Option<Vec<String>> {
        let Value::Array(values) = claims.0.remove(name)? else { return None };
        values.into_iter().map(|value| value.as_str().map(str::to_owned)).collect()
    };
    let (purposes, recipients) = (texts("pur")?, texts("rcp")?);
    let version = u32::try_from(claims.0.remove("ver")?.as_u64()?).ok()?;
    let read = NoticeClaims {
        audience: audience.to_owned(),
        issued_at: Timestamp::from_second(issued).ok()?,
        id: claims.text("jti")?,
        notice: claims.text("nid")?,
        version,
        language: claims.text("lang")?,
        text_hash: claims.text("sha")?,
        policy: claims.text("pol")?,
        purposes,
        recipients,
    };
    Some((read, expires))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::key::Key;
    use zeroize::Zeroizing;

    fn signing(byte: u8) -> Signing {
        Signing::from_seed(&Key::from_bytes(&mut Zeroizing::new([byte; 32])))
    }

    fn claims() -> NoticeClaims {
        NoticeClaims {
            audience: "shop-web".to_owned(),
            issued_at: Timestamp::from_second(1_000_000).unwrap(),
            id: "00ff".to_owned(),
            notice: "shop".to_owned(),
            version: 1,
            language: "de".to_owned(),
            text_hash: "ab".to_owned(),
            policy: "cd".to_owned(),
            purposes: vec!["newsletter".to_owned()],
            recipients: Vec::new(),
        }
    }

    #[test]
    fn a_token_is_good_for_its_audience_until_its_end() {
        let ours = signing(1);
        let text = issue(&ours, "https://a.example", &claims());
        let keys = [ours.public_key()];
        let at = |second| Timestamp::from_second(second).unwrap();
        let check = |audience, second| verify(&text, "https://a.example", audience, &keys, at(second));
        assert_eq!(check("shop-web", 1_000_000), Ok(claims()));
        assert_eq!(check("shop-web", 1_000_000 + LIFE_SECONDS), Err(Unproven::Expired));
        assert_eq!(check("other", 1_000_000), Err(Unproven::Foreign));
        assert_eq!(
            verify(&text, "https://a.example", "shop-web", &[signing(2).public_key()], at(1_000_000)),
            Err(Unproven::Foreign)
        );
    }

    #[test]
    fn a_changed_or_unsigned_token_is_foreign() {
        let ours = signing(1);
        let keys = [ours.public_key()];
        let text = issue(&ours, "i", &claims());
        let now = Timestamp::from_second(1_000_000).unwrap();
        let (message, _) = text.rsplit_once('.').unwrap();
        let (_, body) = message.split_once('.').unwrap();
        let none = BASE64URL_NOPAD.encode(br#"{"alg":"none","typ":"amanat-notice+jwt","kid":"x"}"#);
        for forged in
            [format!("{message}."), format!("{none}.{body}."), String::new(), "a.b.c".to_owned(), format!("{text}A")]
        {
            assert_eq!(verify(&forged, "i", "shop-web", &keys, now), Err(Unproven::Foreign));
        }
    }
}

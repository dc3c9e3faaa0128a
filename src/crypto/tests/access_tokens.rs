//! The table of access tokens, line by line.

use data_encoding::BASE64URL_NOPAD;
use jiff::{Timestamp, ToSpan};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::json;

use super::*;
use crate::crypto::jwt::{JwtPublicKey, JwtSigner, jwks, verify};
use crate::crypto::signature::Signing;
use crate::domain::id::{RecipientId, TokenId};

const URL: &str = "https://gw.example";

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn signer() -> JwtSigner {
    JwtSigner::from_seed(&key(0x50))
}

fn issued() -> String {
    let recipient = RecipientId::new("mailer-eu");
    let subject = TokenId::from_bytes(run(0x70));
    signer().issue(URL, subject, &recipient, "decide release", "one", now()).unwrap()
}

fn accepted(token: &str, at: Timestamp) -> bool {
    let outcome = verify(token, URL, &[signer().public().clone()], at);
    assert!(matches!(outcome, Ok(_) | Err(Error::AccessToken)));
    outcome.is_ok()
}

/// A token of the given texts, signed with the right key.
fn signed(header: &str, claims: &str) -> String {
    let header = BASE64URL_NOPAD.encode(header.as_bytes());
    let message = format!("{header}.{}", BASE64URL_NOPAD.encode(claims.as_bytes()));
    let signature = Signing::from_seed(&key(0x50)).sign(message.as_bytes());
    format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
}

fn header() -> String {
    json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": signer().public().kid() }).to_string()
}

fn claims(change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) -> String {
    let second = now().as_second();
    let mut claims = json!({
        "iss": URL, "aud": "https://gw.example/v1", "sub": TokenId::from_bytes([1; 16]).to_string(),
        "recipient": "r", "scope": "s", "iat": second, "nbf": second, "exp": second + 300,
        "jti": "j", "extra": {"ignored": true},
    });
    change(claims.as_object_mut().unwrap());
    claims.to_string()
}

#[test]
fn what_is_issued_is_accepted_for_its_life() {
    let token = issued();
    let read = verify(&token, URL, &[signer().public().clone()], now()).unwrap();
    assert_eq!(read.subject, TokenId::from_bytes(run(0x70)));
    assert_eq!((read.recipient.as_str(), read.scope.as_str()), ("mailer-eu", "decide release"));
    assert_eq!(read.expires_at, now() + 300.seconds());
    assert!(accepted(&token, now() + 304.seconds()));
    assert!(!accepted(&token, now() + 305.seconds()));
    assert!(accepted(&token, now() - 5.seconds()));
    assert!(!accepted(&token, now() - 6.seconds()));
    assert!(accepted(&signed(&header(), &claims(|_| ())), now()));
}

#[test]
fn each_header_but_ours_is_refused() {
    let kid = signer().public().kid().to_owned();
    for header in [
        json!({ "alg": "none", "typ": "at+jwt", "kid": kid }),
        json!({ "alg": "HS256", "typ": "at+jwt", "kid": kid }),
        json!({ "alg": "RS256", "typ": "at+jwt", "kid": kid }),
        json!({ "alg": "EdDSA", "typ": "JWT", "kid": kid }),
        json!({ "alg": "EdDSA", "kid": kid }),
        json!({ "alg": "EdDSA", "typ": "at+jwt" }),
        json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "0000000000000000" }),
        json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": kid, "crit": ["b64"], "b64": false }),
        json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": kid, "jwk": {} }),
        json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": kid, "zip": "DEF" }),
    ] {
        assert!(!accepted(&signed(&header.to_string(), &claims(|_| ())), now()), "{header}");
    }
    let twice = format!(r#"{{"alg":"none","alg":"EdDSA","typ":"at+jwt","kid":"{kid}"}}"#);
    assert!(!accepted(&signed(&twice, &claims(|_| ())), now()));
}

#[test]
fn each_wrong_claim_is_refused() {
    let second = now().as_second();
    for (name, value) in [
        ("iss", json!("https://other.example")),
        ("iss", json!([URL])),
        ("aud", json!(URL)),
        ("aud", json!(["https://gw.example/v1"])),
        ("sub", json!("somebody")),
        ("exp", json!(second + 901)),
        ("exp", json!(second - 5)),
        ("exp", json!(300.5)),
        ("exp", json!("300")),
        ("exp", json!(i64::MAX)),
        ("iat", json!(second + 6)),
        ("nbf", json!(second + 6)),
        ("iat", json!(i64::MIN)),
    ] {
        let wrong = claims(|claims| {
            claims.insert(name.to_owned(), value.clone());
        });
        assert!(!accepted(&signed(&header(), &wrong), now()), "{name} {value}");
    }
    for name in ["iss", "aud", "sub", "recipient", "scope", "iat", "nbf", "exp", "jti"] {
        let missing = claims(|claims| {
            claims.remove(name);
        });
        assert!(!accepted(&signed(&header(), &missing), now()), "{name}");
    }
    let twice = claims(|_| ()).replacen('{', r#"{"sub":"x","#, 1);
    assert!(!accepted(&signed(&header(), &twice), now()));
}

#[test]
fn other_keys_forms_and_algorithms_are_refused() {
    let token = issued();
    assert!(!accepted(&format!("{token}="), now()));
    assert!(!accepted(&format!("{token}.x"), now()));
    assert!(!accepted(&format!(" {token}"), now()));
    assert!(!accepted(&token[..token.len() - 1], now()));
    assert!(!accepted(&"a".repeat(5000), now()));
    assert!(!accepted("", now()));
    let stranger = JwtSigner::from_seed(&key(0x51));
    assert!(verify(&token, URL, &[stranger.public().clone()], now()).is_err());
    assert!(verify(&token, URL, &[], now()).is_err());
    // The public key as the secret of an HMAC.
    let message = token.rsplit_once('.').unwrap().0;
    let public = Signing::from_seed(&key(0x50)).public_key();
    let secret = EncodingKey::from_secret(&public);
    let forged = jsonwebtoken::crypto::sign(message.as_bytes(), &secret, Algorithm::HS256).unwrap();
    assert!(!accepted(&format!("{message}.{forged}"), now()));
    // Every single changed character.
    for position in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
        assert!(!accepted(&String::from_utf8(changed).unwrap(), now()), "{position}");
    }
}

#[test]
fn the_key_document_names_the_keys() {
    let public = JwtPublicKey::new(Signing::from_seed(&key(0x50)).public_key());
    assert_eq!(public.kid().len(), 16);
    let document = jwks(&[public]);
    assert_eq!(document["keys"][0]["crv"], "Ed25519");
    assert_eq!(document["keys"][0]["x"].as_str().unwrap().len(), 43);
}

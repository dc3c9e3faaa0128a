//! Finding the write key: where each SDK puts it, and never two that differ.

use std::borrow::Cow;

use data_encoding::{BASE64, BASE64_NOPAD};
use zeroize::Zeroizing;

use super::json::Document;
use super::refusal::Refusal;
use super::request::Request;
use super::split;

/// The longest key that is looked at.
const LONGEST: usize = 512;

/// A write key as it was given. It does not print and is wiped.
#[derive(Clone, PartialEq, Eq)]
pub struct GivenKey(Zeroizing<String>);

impl GivenKey {
    /// The key, to be hashed and looked up.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The key in headers or query, in this order: Basic, Bearer, `X-Write-Key`, `?writeKey=`. It is
/// checked before the body is read.
///
/// # Errors
/// [`Refusal::Key`] if two are given that differ, or one cannot be read.
pub fn before_body(request: &Request<'_>) -> Result<Option<GivenKey>, Refusal> {
    let mut found = None;
    for line in request.lines("authorization") {
        let line = std::str::from_utf8(line).map_err(|_| Refusal::Key)?.trim();
        let (scheme, credentials) = line.split_once(' ').unwrap_or((line, ""));
        let credentials = credentials.trim();
        let text = if scheme.eq_ignore_ascii_case("basic") {
            basic(credentials)?
        } else if scheme.eq_ignore_ascii_case("bearer") {
            Zeroizing::new(credentials.to_owned())
        } else {
            return Err(Refusal::Key);
        };
        agree(&mut found, text)?;
    }
    for line in request.lines("x-write-key") {
        let text = std::str::from_utf8(line).map_err(|_| Refusal::Key)?.trim();
        agree(&mut found, Zeroizing::new(text.to_owned()))?;
    }
    for (_, value) in request.pairs().filter(|(name, _)| name == "writeKey") {
        agree(&mut found, Zeroizing::new(value.into_owned()))?;
    }
    Ok(found)
}

/// The key as a whole: what [`before_body`] found, held against the body's `writeKey`.
///
/// # Errors
/// [`Refusal::Key`] if there is none, or the two differ.
pub fn with_body(before: Option<GivenKey>, body: &[u8]) -> Result<GivenKey, Refusal> {
    let mut found = before;
    if let Some(raw) = split::member(body, "writeKey") {
        let document = Document::read(raw).map_err(|_| Refusal::Key)?;
        let value = document.root().ok_or(Refusal::Key)?;
        if !value.is_blank() {
            let text = value.text().map(Cow::into_owned).ok_or(Refusal::Key)?;
            agree(&mut found, Zeroizing::new(text))?;
        }
    }
    found.ok_or(Refusal::Key)
}

/// The whole decoded text less one trailing `:`; some SDKs send a key with an empty password,
/// others a key that itself has a `:`.
fn basic(credentials: &str) -> Result<Zeroizing<String>, Refusal> {
    if credentials.len() > LONGEST * 2 {
        return Err(Refusal::Key);
    }
    let bytes = credentials.as_bytes();
    let decoded = BASE64.decode(bytes).or_else(|_| BASE64_NOPAD.decode(bytes)).map_err(|_| Refusal::Key)?;
    let mut text = Zeroizing::new(String::from_utf8(decoded).map_err(|_| Refusal::Key)?);
    if text.ends_with(':') {
        text.pop();
    }
    Ok(text)
}

/// Takes a key if none is there yet; an empty one is none.
fn agree(found: &mut Option<GivenKey>, text: Zeroizing<String>) -> Result<(), Refusal> {
    if text.is_empty() {
        return Ok(());
    }
    if text.len() > LONGEST {
        return Err(Refusal::Key);
    }
    let given = GivenKey(text);
    match found {
        Some(known) if *known != given => Err(Refusal::Key),
        Some(_) => Ok(()),
        None => {
            *found = Some(given);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(headers: &[(&str, &[u8])], query: &str, body: &str) -> Result<String, Refusal> {
        let request = Request { method: "POST", path: "/v1/track", query, headers, body: b"" };
        let key = with_body(before_body(&request)?, body.as_bytes())?;
        Ok(key.as_str().to_owned())
    }

    #[test]
    fn every_place_of_a_key() {
        let found = Ok("WK".to_owned());
        assert_eq!(key(&[("authorization", b"Basic V0s6")], "", "{}"), found);
        assert_eq!(key(&[("Authorization", b"basic V0s=")], "", ""), found);
        assert_eq!(key(&[("authorization", b"Bearer WK")], "", "[1]"), found);
        assert_eq!(key(&[("x-write-key", b"WK")], "", ""), found);
        assert_eq!(key(&[], "a=b&writeKey=WK", ""), found);
        assert_eq!(key(&[], "", r#"{"a":{"writeKey":"no"},"writeKey":"WK"}"#), found);
        assert_eq!(key(&[("authorization", b"Basic V0s6")], "writeKey=WK", r#"{"writeKey":"WK"}"#), found);
        assert_eq!(key(&[("authorization", b"Basic YTpiOg==")], "", ""), Ok("a:b".to_owned()));
    }

    #[test]
    fn none_and_two_that_differ_are_refused_alike() {
        for (headers, query, body) in [
            (&[][..], "", "{}"),
            (&[("authorization", &b"Basic V0s6"[..])][..], "", r#"{"writeKey":"other"}"#),
            (&[("authorization", &b"Basic V0s6"[..])][..], "writeKey=other", ""),
            (&[("authorization", &b"Digest x"[..])][..], "writeKey=WK", ""),
            (&[("authorization", &b"Basic !"[..])][..], "", ""),
            (&[][..], "", r#"{"writeKey":7}"#),
        ] {
            assert_eq!(key(headers, query, body), Err(Refusal::Key));
        }
    }
}

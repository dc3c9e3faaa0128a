//! A request as the protocols see it: bytes and header facts, no web framework.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What came in. The body is as decoded by [`super::body::decode`].
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// `POST`, `GET`, `OPTIONS`.
    pub method: &'a str,
    /// The path, without the query, as sent.
    pub path: &'a str,
    /// The query without `?`; empty if there is none. Never logged: it may carry personal data.
    pub query: &'a str,
    /// Header lines one by one, in their order; trailers left out.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The body after content decoding.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The values of a header, line by line; the name in lower case.
    pub fn lines(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(line, _)| line.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// The first value of a header, if it is text; the name in lower case.
    #[must_use]
    pub fn header(&self, name: &'static str) -> Option<&'a str> {
        let value = self.lines(name).next()?;
        std::str::from_utf8(value).ok().map(str::trim)
    }

    /// The pairs of the query, decoded as forms are. A pair that is not UTF-8 is left out.
    pub fn pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        self.query.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((form_decoded(name)?, form_decoded(value)?))
        })
    }

    /// Whether the client takes JSON as an answer by name, as RudderStack's browser SDK says.
    #[must_use]
    pub fn accepts_json(&self) -> bool {
        self.header("accept").is_some_and(|accept| accept.to_ascii_lowercase().contains("json"))
    }
}

fn form_decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().ok();
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

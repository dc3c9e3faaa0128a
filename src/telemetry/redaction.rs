//! What may stand in a line of diagnostics, and what is taken out of it.

use std::borrow::Cow;

/// What stands where a value was withheld.
pub(super) const WITHHELD: &str = "(withheld)";

/// The names of the fields that may be written. Ids of rows, routes, codes, counts and times;
/// never a path, a query, a body, an address or anything a client sent.
const FIELDS: &[&str] = &[
    "address",
    "attempt",
    "authority",
    "backend",
    "batch",
    "bytes",
    "caller",
    "cause",
    "checkpoint",
    "code",
    "collector",
    "count",
    "database",
    "delivery",
    "directory",
    "duration_ms",
    "error",
    "event",
    "events",
    "file",
    "identifier",
    "job",
    "key",
    "kind",
    "line",
    "message",
    "method",
    "option",
    "outcome",
    "place",
    "policy",
    "position",
    "purpose",
    "queue",
    "reason",
    "recipient",
    "record",
    "request",
    "retry_after_s",
    "route",
    "seconds",
    "sequence",
    "signal",
    "size",
    "state",
    "status",
    "step",
    "subject_request",
    "table",
    "token",
    "url",
    "verdict",
    "version",
    "witness",
    "workers",
];

/// Beginnings of texts that give power to whoever reads them: `cryptography.md` §12, webhook
/// secrets, and the schemes of `Authorization`'s contents.
const TOKEN_BEGINNINGS: &[&str] =
    &["amanat_wk_", "amanat_pk_", "amanat_at_", "amanat_rk_", "whsec_", "whsk_", "age-secret-key-", "eyj"];

/// Whether a field of this name may be written. Others are withheld.
#[must_use]
pub fn is_permitted(field: &str) -> bool {
    FIELDS.binary_search(&field).is_ok()
}

/// The text with everything replaced that looks like an e-mail address, a token, a password in an
/// address or a query string. A text without any comes back as it is.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    if !words(text).any(|word| replacement(word).is_some()) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for word in words(text) {
        match replacement(word) {
            Some(text) => clean.push_str(&text),
            None => clean.push_str(word),
        }
    }
    Cow::Owned(clean)
}

/// The text in pieces: runs of what can be part of one address or token, and single separators.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let separator =
        |symbol: char| symbol.is_whitespace() || symbol.is_control() || "\"'`<>()[]{},;|\\".contains(symbol);
    text.split_inclusive(separator).flat_map(move |piece| {
        let end = piece.len() - piece.chars().next_back().filter(|last| separator(*last)).map_or(0, char::len_utf8);
        let (word, rest) = piece.split_at_checked(end).unwrap_or((piece, ""));
        [word, rest].into_iter().filter(|part| !part.is_empty())
    })
}

/// What to write instead of the word, if it may not stand.
fn replacement(word: &str) -> Option<String> {
    let lower = word.to_ascii_lowercase();
    if looks_like_token(&lower) {
        return Some("(token)".to_owned());
    }
    if looks_like_mail(&lower) {
        // With a scheme it is an address that holds a user and a password.
        let shown = if lower.contains("://") { WITHHELD } else { "(e-mail)" };
        return Some(shown.to_owned());
    }
    match word.split_once('?') {
        Some((path, query)) if path.contains('/') && !query.is_empty() => Some(format!("{path}?(query)")),
        _ => None,
    }
}

fn looks_like_token(lower: &str) -> bool {
    TOKEN_BEGINNINGS.iter().any(|beginning| match lower.find(beginning) {
        // Eight symbols more are needed, so that a sentence may name the kind of token.
        Some(position) => lower.len() >= position + beginning.len() + 8,
        None => false,
    })
}

/// Something, an at sign (bare, percent-encoded or full-width), something. Also catches
/// `user:password@host`.
fn looks_like_mail(lower: &str) -> bool {
    ["@", "%40", "\u{ff20}"].iter().any(|sign| match lower.split_once(sign) {
        Some((local, domain)) => {
            local.ends_with(|last: char| last.is_alphanumeric() || "._-+".contains(last))
                && domain.starts_with(char::is_alphanumeric)
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_fields_is_sorted_for_the_search() {
        assert!(FIELDS.is_sorted());
        assert!(is_permitted("route") && !is_permitted("email") && !is_permitted("path"));
    }

    #[test]
    fn what_looks_like_a_person_or_a_secret_is_replaced() {
        let token = format!("amanat_wk_{}", "A".repeat(49));
        for (text, clean) in [
            ("mail to anna@example.org failed", "mail to (e-mail) failed"),
            ("Some(\"anna%40example.org\")", "Some(\"(e-mail)\")"),
            ("key=Bearer eyJhbGciOi.J9.x", "key=Bearer (token)"),
            ("GET /pixel/v1/track?writeKey=k HTTP", "GET /pixel/v1/track?(query) HTTP"),
            ("postgres://amanat:hunter2@db/x", WITHHELD),
            (token.as_str(), "(token)"),
            ("secret whsec_AAECAwQFBgcICQ==", "secret (token)"),
        ] {
            assert_eq!(redact(text), clean);
        }
    }

    #[test]
    fn what_is_harmless_stays() {
        for text in [
            "",
            "committed 17 units in 3 ms",
            "really? yes",
            "@ home",
            "größe 100 %",
            "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "a write key begins with amanat_wk_",
        ] {
            assert!(matches!(redact(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }
}

//! From the spelling that came in to the one that is indexed (`cryptography.md` §5).
//!
//! Pure, total and versioned. Merging two people is worse than not recognising one, so whatever is
//! doubtful is refused.

use std::fmt;

use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

use super::{IdentifierKind, email, phone, social};
use crate::domain::personal::Personal;

/// The version of these rules. Suppression entries name the one they were made with.
pub const NORMALISER: u32 = 1;

/// The longest identifier of any kind, in bytes.
const LIMIT: usize = 1024;
/// The longest id that a controller or an SDK made, in bytes.
const ID_LIMIT: usize = 512;

/// What normalising depends on besides the text.
#[derive(Clone, Copy, Debug, Default)]
pub struct NormaliseContext<'a> {
    /// The namespace; for [`IdentifierKind::Social`] the network.
    pub namespace: &'a str,
    /// The collector's region for national telephone numbers, ISO 3166-1 alpha-2.
    pub default_region: Option<&'a str>,
    /// The policy's rule for `+tag` in e-mail addresses.
    pub subaddress: Subaddress,
    /// Placeholders the policy blocks besides the built-in ones.
    pub blocked: &'a [String],
}

/// What happens to the `+tag` of an e-mail address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subaddress {
    /// It is part of the address.
    #[default]
    Keep,
    /// It is dropped.
    Strip,
}

/// What normalising found.
pub enum Normalised {
    /// The spelling to index.
    Canonical(Personal<String>),
    /// Not an identifier of this kind.
    Invalid(InvalidIdentifier),
    /// A placeholder, which would merge strangers.
    Blocked,
}

/// Why a text is no identifier of its kind. Never holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidIdentifier {
    /// Longer than its kind may be.
    TooLong,
    /// It holds a control character.
    ControlCharacter,
    /// It does not have the form of its kind.
    Form,
    /// The domain of an e-mail address or host is not valid under UTS #46, or has no dot.
    Domain,
    /// A national telephone number, and the collector has no `default_region`.
    NoRegion,
}

impl fmt::Display for InvalidIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the identifier is too long",
            Self::ControlCharacter => "the identifier holds a control character",
            Self::Form => "the identifier does not have the form of its kind",
            Self::Domain => "the domain is not valid",
            Self::NoRegion => "a national number needs the collector's default_region",
        })
    }
}

/// Why [`canonical`] gives no spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Invalid(InvalidIdentifier),
    Blocked,
}

/// Normalises an identifier.
#[must_use]
pub fn normalise(kind: &IdentifierKind, text: &str, context: &NormaliseContext<'_>) -> Normalised {
    match canonical(kind, text, context) {
        Ok(canonical) => Normalised::Canonical(Personal::new(canonical)),
        Err(Refusal::Invalid(reason)) => Normalised::Invalid(reason),
        Err(Refusal::Blocked) => Normalised::Blocked,
    }
}

pub(super) fn canonical(kind: &IdentifierKind, text: &str, context: &NormaliseContext<'_>) -> Result<String, Refusal> {
    let visible: String = text.chars().filter(|c| !is_invisible(*c)).collect();
    let trimmed = visible.trim();
    if trimmed.len() > LIMIT {
        return Err(Refusal::Invalid(InvalidIdentifier::TooLong));
    }
    if trimmed.chars().any(char::is_control) {
        return Err(Refusal::Invalid(InvalidIdentifier::ControlCharacter));
    }
    if is_placeholder(trimmed, context) {
        return Err(Refusal::Blocked);
    }
    let canonical = match kind {
        IdentifierKind::Email => email::canonical(trimmed, context.subaddress),
        IdentifierKind::Phone => phone::canonical(trimmed, context.default_region),
        IdentifierKind::UserId | IdentifierKind::AnonymousId | IdentifierKind::Custom(_) => id(trimmed),
        IdentifierKind::AdvertisingId | IdentifierKind::VendorId => device_id(trimmed),
        IdentifierKind::CookieId => Ok(cookie(trimmed)),
        IdentifierKind::PushToken => Ok(trimmed.nfc().collect()),
        IdentifierKind::Social => social::canonical(trimmed, context.namespace),
    }
    .map_err(Refusal::Invalid)?;
    // Once more, for a placeholder in other digits or behind an `@`.
    if is_placeholder(&canonical, context) {
        return Err(Refusal::Blocked);
    }
    Ok(canonical)
}

/// Lower-cases per character: never full case folding, which would merge `ß` with `ss`, and never a
/// locale.
pub(super) fn lower(text: &str) -> String {
    let lowered = text.chars().flat_map(char::to_lowercase);
    // Composed again: a lower-case letter may exist in one piece where its capital does not.
    lowered.map(|c| if c == 'ς' { 'σ' } else { c }).nfc().collect()
}

/// Arabic-Indic and Persian digits as ASCII; anything else as it is.
pub(super) fn ascii_digit(c: char) -> char {
    let zero = match c {
        '\u{0660}'..='\u{0669}' => 0x0660,
        '\u{06f0}'..='\u{06f9}' => 0x06f0,
        _ => return c,
    };
    char::from_digit(u32::from(c) - zero, 10).unwrap_or(c)
}

fn id(text: &str) -> Result<String, InvalidIdentifier> {
    let composed: String = text.nfc().collect();
    if composed.len() > ID_LIMIT {
        return Err(InvalidIdentifier::TooLong);
    }
    Ok(composed)
}

fn device_id(text: &str) -> Result<String, InvalidIdentifier> {
    match Uuid::try_parse(text) {
        Ok(uuid) => Ok(uuid.hyphenated().to_string()),
        Err(_) => id(text),
    }
}

/// A client id without the version and domain depth that Google Analytics puts before it.
fn cookie(text: &str) -> String {
    let mut rest = text;
    while let Some((depth, value)) = rest.strip_prefix("GA1.").and_then(|rest| rest.split_once('.')) {
        if depth.is_empty() || value.is_empty() || !depth.bytes().all(|b| b.is_ascii_digit()) {
            break;
        }
        rest = value;
    }
    rest.trim().nfc().collect()
}

/// Characters that do not show and that copying adds or drops.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00ad}' | '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn is_placeholder(text: &str, context: &NormaliseContext<'_>) -> bool {
    const WORDS: [&str; 12] = [
        "null",
        "undefined",
        "none",
        "nan",
        "anonymous",
        "unknown",
        "guest",
        "n/a",
        "true",
        "false",
        "[object object]",
        "-1",
    ];
    // The empty text and the all-zero UUID fall under the first rule.
    text.bytes().all(|b| matches!(b, b'0' | b'-'))
        || WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
        || context.blocked.iter().any(|blocked| blocked == text)
}

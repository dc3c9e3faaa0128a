//! Padded base64 in its one spelling (RFC 4648 §3.5, §4).

use data_encoding::BASE64;

use super::cbor::Malformed;

/// Reads it.
///
/// # Errors
///
/// If the text is anything but what writing the bytes again would give.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, Malformed> {
    // The library takes encodings one behind the other, each with its padding; bits that count for
    // nothing it refuses itself.
    if text.trim_end_matches('=').contains('=') {
        return Err(Malformed);
    }
    BASE64.decode(text.as_bytes()).map_err(|_| Malformed)
}

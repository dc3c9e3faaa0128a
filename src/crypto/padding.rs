//! Padding to buckets, so that a length says little about a value (`cryptography.md` §4).

use super::Error;

/// Ends the value; zeros follow up to the bucket.
const MARK: u8 = 0x80;

/// The bucket for `length` bytes, the mark included.
pub(super) fn bucket(length: usize) -> usize {
    if length <= 1024 {
        return length.max(32).next_power_of_two();
    }
    if length <= 16_384 {
        return length.next_multiple_of(1024);
    }
    // Padmé: at most 12 % more, and only O(log log n) bits of the length stay visible.
    let exponent = length.ilog2();
    let kept = exponent.ilog2() + 1;
    length.next_multiple_of(1 << (exponent - kept))
}

/// Appends the value and its padding.
pub(super) fn append(to: &mut Vec<u8>, value: &[u8]) {
    let end = to.len() + bucket(value.len() + 1);
    to.reserve(end - to.len() + 16);
    to.extend_from_slice(value);
    to.push(MARK);
    to.resize(end, 0);
}

/// The length of the value within a padded plaintext.
///
/// # Errors
/// [`Error::Corrupted`] if no mark is found or the bucket is not the one of that length.
pub(super) fn value_length(padded: &[u8]) -> Result<usize, Error> {
    let length = padded.iter().rposition(|byte| *byte != 0).ok_or(Error::Corrupted)?;
    if padded.get(length) != Some(&MARK) || bucket(length + 1) != padded.len() {
        return Err(Error::Corrupted);
    }
    Ok(length)
}

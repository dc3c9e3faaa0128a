//! Global Privacy Control (`Sec-GPC`, W3C; `consent.md` §9.1).

use crate::domain::id::PurposeId;
use crate::domain::policy::SignalKind;
use crate::domain::signal::{Says, Signal};

/// Whether the control is on: some field line's value is exactly the character `1`.
///
/// Lines must come one by one and unjoined, for `1, 1` is off while the two lines `0` and `1` are
/// on. Trailers never count and must not be given.
pub fn is_on<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> bool {
    lines.into_iter().any(|line| line == b"1")
}

/// The signal of a control that is on: it denies the purposes the collector maps it to. `None` if
/// it is mapped to none.
///
/// It is a general wish and never by itself an objection under GDPR Art. 21(2).
#[must_use]
pub fn signal(purposes: &[PurposeId]) -> Option<Signal> {
    if purposes.is_empty() {
        return None;
    }
    Some(Signal {
        kind: SignalKind::Gpc,
        says: purposes.iter().map(|purpose| (purpose.clone(), Says::Denies)).collect(),
        unmapped: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::is_on;

    #[test]
    fn only_the_single_character_one_counts() {
        let on = |lines: &[&str]| is_on(lines.iter().map(|line| line.as_bytes()));
        assert!(on(&["1"]) && on(&["0", "1"]) && on(&["1", "0"]));
        for off in ["0", "true", "11", "1, 1", "", " 1"] {
            assert!(!on(&[off]), "{off}");
        }
        assert!(!on(&[]));
    }
}

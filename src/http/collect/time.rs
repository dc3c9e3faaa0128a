//! When an event happened: what clients write, corrected for their clocks (`ecosystem.md` 1.1, 7).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// How far ahead of reception an event may say it is.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// When an event happened, and whether its protocol gave a time at all.
///
/// The client's clock may be wrong, but the time between its `timestamp` and its `sentAt` is
/// measured with one clock: so reception minus that difference is the truth as near as it is known.
#[must_use]
pub fn occurred(timestamp: Option<Timestamp>, sent_at: Option<Timestamp>, received_at: Timestamp) -> (Timestamp, bool) {
    let Some(timestamp) = timestamp else {
        return (received_at, false);
    };
    let claimed = match sent_at {
        Some(sent_at) => {
            let waited = sent_at.duration_since(timestamp).max(SignedDuration::ZERO);
            received_at.checked_sub(waited).unwrap_or(timestamp)
        }
        None => timestamp,
    };
    let latest = received_at.checked_add(AHEAD).unwrap_or(received_at);
    if claimed > latest { (received_at, true) } else { (claimed, true) }
}

/// Reads a time: RFC 3339 with any offset (none is UTC), or an epoch as text or number. `None` for
/// anything else; an unreadable time counts as none. Finer than a microsecond is cut off.
#[must_use]
pub fn read(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.is_empty() || text.len() > 64 {
        return None;
    }
    if let Some(time) = epoch(text) {
        return Some(time);
    }
    let time = match text.parse::<Timestamp>() {
        Ok(time) => time,
        Err(_) => {
            let civil: DateTime = text.parse().ok()?;
            TimeZone::UTC.to_timestamp(civil).ok()?
        }
    };
    Timestamp::from_microsecond(time.as_microsecond()).ok()
}

/// Under 1e11 these are seconds, under 1e14 milliseconds, else microseconds. Digits after a point
/// are taken exactly, never through a float.
fn epoch(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let magnitude = whole.strip_prefix('-').unwrap_or(whole);
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if magnitude.is_empty() || magnitude.len() > 18 || !digits(magnitude) || !digits(fraction) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let (scale, places) = match whole.unsigned_abs() {
        0..100_000_000_000 => (1_000_000_i64, 6),
        100_000_000_000..100_000_000_000_000 => (1_000, 3),
        _ => (1, 0),
    };
    let mut part = 0_i64;
    for at in 0..places {
        let digit = fraction.as_bytes().get(at).map_or(0, |byte| byte - b'0');
        part = part * 10 + i64::from(digit);
    }
    let part = if text.starts_with('-') { -part } else { part };
    let micros = whole.checked_mul(scale)?.checked_add(part)?;
    Timestamp::from_microsecond(micros).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        read(text).unwrap()
    }

    #[test]
    fn every_spelling_of_a_time() {
        let same = at("2026-11-22T10:34:01.909Z");
        for spelling in [
            "2026-11-22T10:34:01.909+00:00",
            "2026-11-22T14:04:01.909+03:30",
            "2026-11-22T10:34:01.909",
            "1795343641.909",
            "1795343641909",
            "1795343641909000",
        ] {
            assert_eq!(at(spelling), same, "{spelling}");
        }
        for none in ["", "yesterday", "12:00", "1e9", "99999999999999999999", "--1", "."] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn the_clients_clock_is_corrected_and_bounded() {
        let received = at("2026-11-22T12:00:00Z");
        let slow = occurred(Some(at("2001-01-01T00:00:00Z")), Some(at("2001-01-01T00:00:10Z")), received);
        assert_eq!(slow, (at("2026-11-22T11:59:50Z"), true));
        let backwards = occurred(Some(at("2026-11-22T10:00:10Z")), Some(at("2026-11-22T10:00:00Z")), received);
        assert_eq!(backwards, (received, true));
        assert_eq!(occurred(Some(at("2026-11-22T12:04:00Z")), None, received).0, at("2026-11-22T12:04:00Z"));
        assert_eq!(occurred(Some(at("2030-01-01T00:00:00Z")), None, received), (received, true));
        assert_eq!(occurred(None, Some(received), received), (received, false));
        let far = occurred(Some(Timestamp::MIN), Some(Timestamp::MAX), received);
        assert_eq!(far, (Timestamp::MIN, true));
    }
}

//! Reading a reply within its bounds.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Response;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use zeroize::Zeroizing;

use super::boot_clock::{BootInstant, Deadline};
use super::schedule::LONGEST_PAUSE;
use super::{Cause, Outcome};

/// How much of a delivery's reply is read before the connection is given up.
pub(super) const DELIVERY_BODY: usize = 64 * 1024;
/// How much of a rights message's answer is read.
pub(super) const RIGHTS_BODY: usize = 1024 * 1024;
const HEAD: usize = 16 * 1024;
/// How long a reply is drained. The answer is known; only the connection's further use is at stake.
const DRAIN: Duration = Duration::from_secs(1);

/// What the status of a delivery's reply means: the table of `ecosystem.md` 2.2.
pub(super) const fn outcome_of_status(status: u16, asked: Option<Duration>) -> Outcome {
    let cause = Cause::Status(status);
    match status {
        200..=299 => Outcome::Delivered,
        300..=399 => Outcome::Dead { cause: Cause::Redirected },
        401 | 403 | 407 => Outcome::Paused { cause },
        410 => Outcome::RecipientGone,
        501 | 505 => Outcome::Dead { cause },
        408 | 425 | 429 | 500..=599 => Outcome::Retry { after: asked, cause },
        _ => Outcome::Dead { cause },
    }
}

/// Whether the reply's head is within 16 KiB. The client has already bounded what it buffered (about
/// 400 KiB, 100 lines); this is the bound we promise.
pub(super) fn head_fits(headers: &HeaderMap) -> bool {
    let length: usize = headers
        .iter()
        // `name: value CR LF`
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    length <= HEAD
}

/// `Retry-After` in either of its forms (RFC 9110 §10.2.3), at most 24 h; `None` if absent or
/// unreadable. A date that is over means at once.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are more than a day.
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(LONGEST_PAUSE));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let wait = Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO);
    Some(wait.min(LONGEST_PAUSE))
}

/// Reads the body; `None` if it is longer than `most`. The buffer is made once, and wiped.
pub(super) async fn read(mut response: Response, most: usize) -> reqwest::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut body = Zeroizing::new(Vec::with_capacity(most));
    while let Some(chunk) = response.chunk().await? {
        if chunk.len() > most - body.len() {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// Reads at most `most` bytes and throws them away.
pub(super) async fn discard(mut response: Response, most: usize, deadline: Deadline) {
    let drained = Deadline::of_claim(BootInstant::now(), DRAIN.min(left(deadline)));
    let drain = async {
        let mut read = 0usize;
        while read <= most {
            match response.chunk().await {
                Ok(Some(chunk)) => read = read.saturating_add(chunk.len()),
                Ok(None) | Err(_) => return,
            }
        }
    };
    // Elapsed or not, the answer is already known.
    drained.bound(drain).await.unwrap_or_default();
}

fn left(deadline: Deadline) -> Duration {
    deadline.left().unwrap_or(Duration::ZERO)
}

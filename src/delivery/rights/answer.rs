//! What an answer to a rights message means: the table of `subject-requests.md` §12.2.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{PendingReason, ResultKind, Retained, RightsCall, RightsOutcome, RightsResult, Verb};
use crate::delivery::{Cause, Outcome};
use crate::domain::id::TaskId;
use crate::domain::personal::Personal;

/// How often in a row an address may be missing before we believe it.
const MISSING_TRIES: u32 = 3;

/// What a whole reply means. `body` is the reply's body, `None` if it was longer than may be read;
/// `asked` is its `Retry-After`.
#[must_use]
pub fn outcome_of_reply(call: &RightsCall, status: u16, asked: Option<Duration>, body: Option<&[u8]>) -> Outcome {
    let cause = Cause::Status(status);
    let retry = |after| Outcome::Retry { after, cause };
    match status {
        200..=299 => Outcome::Rights(match read_result(call, body.unwrap_or_default()) {
            Ok(result) => outcome_of_result(call, result),
            Err(reason) => RightsOutcome::Pending(reason),
        }),
        300..=399 => Outcome::Rights(RightsOutcome::Failed { cause: Cause::Redirected }),
        401 | 403 | 407 => Outcome::Paused { cause },
        404 | 405 if call.address_missing < MISSING_TRIES => retry(None),
        404 | 405 | 410 => Outcome::Rights(RightsOutcome::CapabilityUnresolved { cause }),
        409 => Outcome::Rights(RightsOutcome::Pending(PendingReason::Conflict)),
        429 | 503 => retry(asked),
        408 | 425 => retry(None),
        501 | 505 => Outcome::Rights(RightsOutcome::Failed { cause }),
        500..=599 => retry(None),
        _ => Outcome::Rights(RightsOutcome::Failed { cause }),
    }
}

/// What a result that carried our nonce means for the task.
#[must_use]
pub fn outcome_of_result(call: &RightsCall, result: RightsResult) -> RightsOutcome {
    if result.result == ResultKind::Done && !result.done && result.cursor.is_some() {
        return RightsOutcome::More(Box::new(result));
    }
    let unusable = RightsOutcome::Failed { cause: Cause::ResultUnusable };
    match (result.result, call.verb) {
        (ResultKind::Accepted, _) => RightsOutcome::Pending(PendingReason::Accepted),
        (ResultKind::Rejected, _) => RightsOutcome::Failed { cause: Cause::Rejected },
        (ResultKind::Unsupported, _) => RightsOutcome::CapabilityUnresolved { cause: Cause::Unsupported },
        (ResultKind::Done, Verb::Deliver | Verb::Suppress | Verb::Access) => {
            RightsOutcome::Acknowledged(Box::new(result))
        }
        (ResultKind::Done, Verb::Erase) => RightsOutcome::Erased(Box::new(result)),
        // A claim that nothing was there is not a look: it is asked to look.
        (ResultKind::NotFound | ResultKind::Absent, Verb::Erase) | (ResultKind::NotFound, _)
            if call.can_verify && call.verb != Verb::VerifyErased =>
        {
            RightsOutcome::NotFound
        }
        (ResultKind::NotFound, _) | (ResultKind::Absent, Verb::Erase) => {
            RightsOutcome::CapabilityUnresolved { cause: Cause::Unverifiable }
        }
        (ResultKind::Absent, Verb::VerifyErased) => RightsOutcome::Absent,
        (ResultKind::Present, Verb::VerifyErased | Verb::Erase) => RightsOutcome::Present,
        (ResultKind::Retained, Verb::Erase | Verb::VerifyErased) => {
            if result.retained.is_empty() || !result.retained.iter().all(has_ground_and_end) {
                return unusable;
            }
            RightsOutcome::Retained(Box::new(result))
        }
        _ => unusable,
    }
}

/// Reads a result and checks that it answers this attempt.
///
/// # Errors
///
/// Why the task still waits: no readable result, or one for another task or attempt.
pub fn read_result(call: &RightsCall, body: &[u8]) -> Result<RightsResult, PendingReason> {
    let written: Written<'_> = serde_json::from_slice(body).map_err(|_| PendingReason::NoResult)?;
    let (Some(nonce), Some(result)) = (written.nonce.as_deref(), written.result) else {
        return Err(PendingReason::NoResult);
    };
    let task = written.task.as_deref().and_then(TaskId::parse);
    if !call.nonce.matches(nonce) || task != Some(call.task) {
        return Err(PendingReason::WrongNonce);
    }
    Ok(RightsResult {
        result,
        removed: written.removed,
        retained: written
            .retained
            .unwrap_or_default()
            .into_iter()
            .map(|kept| Retained {
                what: kept.what.unwrap_or_default(),
                ground: kept.ground.unwrap_or_default(),
                until: kept.until.unwrap_or_default(),
            })
            .collect(),
        messages: written.messages.unwrap_or_default(),
        cursor: written.cursor,
        done: written.done.unwrap_or(true),
        records: written.records.map(|records| Arc::new(Personal::new(records.get().to_owned()))),
    })
}

/// Both are required: kept for no reason, or for ever, is not an answer to Art. 17(3).
fn has_ground_and_end(kept: &Retained) -> bool {
    !kept.ground.trim().is_empty()
        && (kept.until.parse::<jiff::civil::Date>().is_ok() || kept.until.parse::<jiff::Timestamp>().is_ok())
}

/// The result as a recipient writes it. Unknown members are ignored, a member twice is refused.
#[derive(Deserialize)]
struct Written<'a> {
    task: Option<String>,
    nonce: Option<String>,
    result: Option<ResultKind>,
    removed: Option<u64>,
    retained: Option<Vec<WrittenRetained>>,
    messages: Option<Vec<String>>,
    cursor: Option<String>,
    done: Option<bool>,
    #[serde(borrow)]
    records: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WrittenRetained {
    what: Option<String>,
    ground: Option<String>,
    until: Option<String>,
}

//! Requests of people for their rights (GDPR Art. 15–21): kinds, states, and what closes them.
//!
//! *Answered* and *closed* are two things: the person has been told what was done, and every promise
//! to a target has ended. Whoever merges them says "complete" too early.

use super::id::RecipientId;

/// Which right is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestKind {
    /// Art. 15.
    Access,
    /// Art. 17.
    Erasure,
}

/// Where a request stands. Only [`RequestState::Closed`] is terminal. Overdue, paused and extended
/// are not states: the clock computes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestState {
    /// It reached us, by somebody whose word is enough.
    Received,
    /// It will be carried out.
    Scheduled,
    /// It is being carried out.
    Running,
    /// The person has been told.
    Answered,
    /// Every task has ended.
    Closed,
}

/// How sure we are that the asker is the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assurance {
    /// A trusted system of the controller says so.
    AssertedByController,
}

/// How a closed request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// Wholly.
    Fulfilled,
    /// Something is kept or could not be asked for.
    PartlyFulfilled,
    /// Nothing is held.
    NoData,
    /// An older request of the same person asks the same.
    Duplicate,
}

/// What became of one promise to one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskOutcome {
    /// Promised, sent, or accepted without a result.
    Pending,
    /// It will be tried again.
    Retryable,
    /// A legal hold covers it.
    BlockedByHold,
    /// The target cannot do it, or says "not found" and cannot be checked.
    CapabilityUnresolved,
    /// Tries used up or a final error: a person must act.
    Failed,
    /// Kept with ground and end (Art. 17(3)).
    RetainedWithGround,
    /// Absence was read back.
    VerifiedErased,
    /// Searched for everywhere, nothing found, read back.
    VerifiedNoData,
    /// Confirmed (verbs other than erasing).
    Acknowledged,
    /// Art. 19: impossible or disproportionate; two persons said so.
    Waived,
}

/// Whom a task is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The gateway itself, with the part of the work: `access`, `erase`, `retained:17(3)(b)`.
    Gateway(String),
    /// A recipient of the policy.
    Recipient(RecipientId),
}

/// The outcome of a request with these tasks; `None` while it is open. A request without tasks is
/// open: each has at least a task of the gateway's own.
#[must_use]
pub fn outcome(tasks: &[TaskOutcome]) -> Option<RequestOutcome> {
    if tasks.is_empty() || tasks.iter().any(|task| !task.is_terminal()) {
        return None;
    }
    if tasks.iter().all(|task| *task == TaskOutcome::VerifiedNoData) {
        return Some(RequestOutcome::NoData);
    }
    let partly = tasks.iter().any(|task| matches!(task, TaskOutcome::RetainedWithGround | TaskOutcome::Waived));
    Some(if partly { RequestOutcome::PartlyFulfilled } else { RequestOutcome::Fulfilled })
}

impl TaskOutcome {
    /// Whether nothing more will happen.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::RetainedWithGround | Self::VerifiedErased | Self::VerifiedNoData | Self::Acknowledged | Self::Waived
        )
    }
}

impl RequestState {
    /// Whether a request may pass from here to there. What is not listed changes nothing.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Received, Self::Scheduled)
                | (Self::Scheduled, Self::Running)
                | (Self::Running, Self::Answered)
                | (Self::Answered, Self::Closed)
        ) || matches!((self, next), (Self::Received | Self::Scheduled, Self::Closed))
    }

    /// Whether it still asks for something.
    #[must_use]
    pub const fn is_active(self) -> bool {
        !matches!(self, Self::Closed)
    }
}

macro_rules! spelled {
    ($($name:ident { $($variant:ident = $text:literal),* $(,)? })*) => {$(
        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The spelling in rows and answers.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// Reads the spelling; `None` for anything else.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text)
            }
        }
    )*};
}

spelled! {
    RequestKind { Access = "access", Erasure = "erasure" }
    RequestState { Received = "received", Scheduled = "scheduled", Running = "running", Answered = "answered", Closed = "closed" }
    Assurance { AssertedByController = "asserted_by_controller" }
    RequestOutcome { Fulfilled = "fulfilled", PartlyFulfilled = "partly_fulfilled", NoData = "no_data", Duplicate = "duplicate" }
    TaskOutcome {
        Pending = "pending",
        Retryable = "retryable",
        BlockedByHold = "blocked_by_hold",
        CapabilityUnresolved = "capability_unresolved",
        Failed = "failed",
        RetainedWithGround = "retained_with_ground",
        VerifiedErased = "verified_erased",
        VerifiedNoData = "verified_no_data",
        Acknowledged = "acknowledged",
        Waived = "waived",
    }
}

impl Target {
    /// The spelling in rows and answers: `gateway/…` or `recipient/…`.
    #[must_use]
    pub fn spelling(&self) -> String {
        match self {
            Self::Gateway(part) => format!("gateway/{part}"),
            Self::Recipient(recipient) => format!("recipient/{recipient}"),
        }
    }

    /// Reads the spelling; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once('/')?;
        match kind {
            "gateway" => Some(Self::Gateway(name.to_owned())),
            "recipient" => Some(Self::Recipient(RecipientId::new(name))),
            _ => None,
        }
    }
}

/// The symbols of Crockford's base 32.
const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The name of a case that people write down: `AM-7K3Q-9F2M-XC`, nine random symbols and a check
/// symbol. It does not count cases.
#[must_use]
pub fn reference(random: &[u8; 9]) -> String {
    let symbols: Vec<u8> = random.iter().map(|byte| byte & 31).collect();
    let check = check_symbol(&symbols);
    let text: Vec<char> = symbols.iter().chain([&check]).filter_map(|symbol| symbol_char(*symbol)).collect();
    let group = |from: usize, to: usize| text.get(from..to).unwrap_or_default().iter().collect::<String>();
    format!("AM-{}-{}-{}", group(0, 4), group(4, 8), group(8, 10))
}

/// Whether a text is a reference whose check symbol fits, as people type it: any case, `O` for zero,
/// `I` and `L` for one. Gives it in the spelling of [`reference()`].
#[must_use]
pub fn parse_reference(text: &str) -> Option<String> {
    let upper = text.trim().to_ascii_uppercase();
    let body: Vec<u8> = upper
        .strip_prefix("AM-")?
        .bytes()
        .filter(|byte| *byte != b'-')
        .map(|byte| match byte {
            b'O' => b'0',
            b'I' | b'L' => b'1',
            other => other,
        })
        .map(|byte| SYMBOLS.iter().position(|symbol| *symbol == byte).and_then(|at| u8::try_from(at).ok()))
        .collect::<Option<_>>()?;
    let (check, symbols) = body.split_last()?;
    let random: &[u8; 9] = symbols.try_into().ok()?;
    (check_symbol(symbols) == *check).then(|| reference(random))
}

/// The weighted sum modulo 31, a prime: every single wrong symbol and every swap of two neighbours
/// but those that differ by 31 is seen.
fn check_symbol(symbols: &[u8]) -> u8 {
    let sum: u32 = symbols.iter().zip(1_u32..).map(|(symbol, weight)| u32::from(*symbol) * weight).sum();
    u8::try_from(sum % 31).unwrap_or(0)
}

fn symbol_char(symbol: u8) -> Option<char> {
    SYMBOLS.get(usize::from(symbol)).map(|byte| char::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_open_until_every_task_is_terminal() {
        assert_eq!(outcome(&[]), None);
        for open in TaskOutcome::ALL.iter().filter(|task| !task.is_terminal()) {
            assert_eq!(outcome(&[TaskOutcome::VerifiedErased, *open]), None, "{}", open.as_str());
        }
        assert_eq!(
            outcome(&[TaskOutcome::VerifiedErased, TaskOutcome::VerifiedNoData]),
            Some(RequestOutcome::Fulfilled)
        );
        assert_eq!(outcome(&[TaskOutcome::VerifiedNoData]), Some(RequestOutcome::NoData));
        assert_eq!(
            outcome(&[TaskOutcome::VerifiedErased, TaskOutcome::RetainedWithGround]),
            Some(RequestOutcome::PartlyFulfilled)
        );
        assert_eq!(outcome(&[TaskOutcome::Acknowledged, TaskOutcome::Waived]), Some(RequestOutcome::PartlyFulfilled));
    }

    #[test]
    fn a_reference_survives_typing_and_a_wrong_symbol_does_not() {
        let text = reference(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(parse_reference(&text.to_lowercase()), Some(text.clone()));
        assert_eq!(parse_reference(&text.replace('1', "l")), Some(text.clone()));
        assert_eq!(parse_reference(&text.replace('4', "5")), None);
        assert_eq!(parse_reference("AM-0000"), None);
    }

    #[test]
    fn spellings_read_back() {
        for state in RequestState::ALL {
            assert_eq!(RequestState::parse(state.as_str()), Some(*state));
        }
        let target = Target::Recipient(RecipientId::new("letterbox"));
        assert_eq!(Target::parse(&target.spelling()), Some(target));
    }
}

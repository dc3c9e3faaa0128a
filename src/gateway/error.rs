//! What can go wrong in a use-case. A refusal by policy is not here: it is a value with reasons.

use std::time::Duration;

use crate::{crypto, policy, storage};

/// The error of every use-case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data store cannot be read or written now.
    #[error("the data store is not available")]
    StoreUnavailable(#[source] storage::Error),
    /// The key store cannot be read or written now.
    #[error("the key store is not available")]
    KeysUnavailable(#[source] storage::Error),
    /// A stored row or a statement is not what it must be.
    #[error("the data store failed")]
    Store(#[source] storage::Error),
    /// Something stored cannot be opened. The person is not named.
    #[error("stored data cannot be opened")]
    DataUnreadable(#[source] crypto::Error),
    /// A key of a person who was not erased is missing.
    #[error("a key is missing although nobody destroyed it")]
    MissingKey,
    /// The operating system gives no randomness, or a value cannot be sealed.
    #[error("a value could not be protected")]
    Protection(#[source] crypto::Error),
    /// A leaf could not be made; nothing happened.
    #[error("the leaf of the change could not be made")]
    Leaf(#[source] crate::audit::leaf::DraftError),
    /// Somebody changed the same person again and again meanwhile.
    #[error("the change met other changes again and again")]
    Contention,
    /// The root key is missing, foreign or malformed.
    #[error("the root key cannot be used: {0}")]
    RootKey(String),
    /// A time-stamping authority of the configuration cannot be used.
    #[error("the time-stamping authorities cannot be used: {0}")]
    Anchor(String),
    /// The trust policy cannot be used.
    #[error("the trust policy cannot be used: {0}")]
    Trust(String),
    /// The policy is refused whole.
    #[error("the policy has {} mistakes", .0.len())]
    Policy(Vec<policy::Mistake>),
    /// The log is behind, ahead or apart from what this instance remembers.
    #[error("the audit log is not the one this installation remembers: {what}")]
    LogRefused {
        /// Which exit code and which finding.
        exit: u8,
        /// What was found, and the way out.
        what: String,
    },
    /// A file or folder of ours cannot be used.
    #[error("{what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The path, one of the configuration.
        path: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The clock stands where it cannot, so nothing can be dated; nothing was changed.
    #[error("the clock is not believed; set it right, or run `amanat audit resume --clock`")]
    ClockSuspended,
    /// The answer must wait.
    #[error("not ready yet")]
    Pending {
        /// How long to wait before asking again.
        wait: Duration,
    },
    /// What is asked cannot be done in this state.
    #[error("this cannot be done now: {0}")]
    WrongState(&'static str),
    /// The entry was pruned, which the log itself says.
    #[error("the entry was pruned")]
    Pruned,
    /// What is asked for does not exist, or not for the caller.
    #[error("not found")]
    NotFound,
    /// The request is understood and wrong in content.
    #[error("the request is not acceptable: {0}")]
    Unacceptable(&'static str),
}

impl Error {
    /// Sorts an error of the data store: away for now, or wrong.
    #[must_use]
    pub fn store(error: storage::Error) -> Self {
        match error {
            storage::Error::ClockSuspended => Self::ClockSuspended,
            error if error.is_passing() => Self::StoreUnavailable(error),
            error => Self::Store(error),
        }
    }

    /// Sorts an error of the key store.
    #[must_use]
    pub const fn keys(error: storage::Error) -> Self {
        Self::KeysUnavailable(error)
    }
}

/// The result of a use-case.
pub type Result<T> = std::result::Result<T, Error>;

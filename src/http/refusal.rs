//! From what went wrong in a use-case to what a caller is told. No `_` arm: a new error asks here
//! what its callers should do.

use crate::gateway::Error;

use super::problem::{Code, Problem};

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let problem = match &error {
            Error::StoreUnavailable(_) => Self::new(Code::StoreUnavailable),
            Error::KeysUnavailable(_) => Self::new(Code::KeysUnavailable),
            Error::DataUnreadable(_) | Error::MissingKey => Self::new(Code::DataUnreadable),
            Error::ClockSuspended => Self::new(Code::ClockSuspended),
            Error::Contention => Self::new(Code::Overloaded),
            Error::Pending { wait } => return Self::new(Code::ProofPending).retry_after(*wait),
            Error::WrongState(what) => return Self::new(Code::WrongState).detail(*what),
            Error::Pruned => return Self::new(Code::EntryPruned),
            Error::NotFound => return Self::new(Code::NotFound),
            Error::Unacceptable(what) => return Self::new(Code::InvalidContent).detail(*what),
            Error::Store(_)
            | Error::Protection(_)
            | Error::Leaf(_)
            | Error::RootKey(_)
            | Error::Trust(_)
            | Error::Policy(_)
            | Error::LogRefused { .. }
            | Error::Anchor(_)
            | Error::File { .. } => Self::new(Code::Internal),
        };
        tracing::error!(error = crate::telemetry::cause(&error), code = problem.code().as_str(), "a call failed");
        problem
    }
}

//! Work that one instance does for all: taking a lease on it and giving it back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::storage::leases::{self, Lease};
use crate::storage::{Step, Unit};

use super::{Error, Gateway, Result};

impl Gateway {
    /// Takes or renews a lease. `None`: another instance has it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(super) async fn take_lease(&self, name: String, length: Duration) -> Result<Option<Lease>> {
        let (holder, now) = (self.instance, self.source.now());
        let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
        let taken = Arc::new(Mutex::new(None));
        let answer = Arc::clone(&taken);
        let unit = Unit::change(Vec::new(), Vec::new(), move |transaction, _| {
            let lease = leases::take(transaction.connection(), &name, holder, now.into(), micros)?;
            *answer.lock().unwrap_or_else(PoisonError::into_inner) = lease;
            Ok(Step::Commit)
        });
        self.database.write(unit).await.map_err(Error::store)?;
        Ok(taken.lock().unwrap_or_else(PoisonError::into_inner).take())
    }

    /// Gives a lease back, so that nobody has to wait for its end.
    pub(super) async fn give_lease_back(&self, lease: Lease) {
        let unit = Unit::change(Vec::new(), Vec::new(), move |transaction, _| {
            leases::give_back(transaction.connection(), &lease)?;
            Ok(Step::Commit)
        });
        if let Err(error) = self.database.write(unit).await {
            tracing::debug!(
                error = crate::telemetry::cause(&error),
                "a lease could not be given back; it ends by itself"
            );
        }
    }
}

//! Commands beside a running gateway leave the policy in force alone: only `serve` and `policy
//! reload` put what stands in the folder in force.

use crate::config::Loaded;
use crate::domain::policy::Policy;
use crate::gateway::{self, Gateway};
use crate::policy::{Files, KnownNotices};

use super::context::{read_policy, settings};
use super::{Context, Failure};

/// The policy in force with its files, if a store is set up.
pub(super) fn in_force(loaded: &Loaded) -> Result<Option<(Policy, Files)>, Failure> {
    let Some(files) = gateway::policy::files_in_force(&settings(loaded)?)? else { return Ok(None) };
    let policy = crate::policy::load(&files, &KnownNotices::new()).map_err(gateway::Error::Policy)?;
    Ok(Some((policy, files)))
}

/// Opens the house under the policy in force; under that of the folder on a first start.
pub(super) async fn open(context: &Context, loaded: &Loaded) -> Result<Gateway, Failure> {
    let files = match gateway::policy::files_in_force(&settings(loaded)?)? {
        Some(files) => files,
        None => read_policy(&loaded.config.policy.directory)?,
    };
    context.open_with(loaded, files).await
}

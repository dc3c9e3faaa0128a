//! What is held about a person, handed over (GDPR Art. 15).
//!
//! One consistent read of everything, opened, written down as `package.json`, sealed as a file under a
//! key of its own. The log holds the hash of its manifest, and each hand-over.
//!
//! Nothing is pasted from the privacy notice: what stands in the package is about this person. People
//! joined by a mere claim are left out, because a claim must not open somebody else's data.

mod document;
mod gather;
#[cfg(test)]
mod tests;
mod write;

use jiff::SignedDuration;
use zeroize::Zeroizing;

use crate::audit::leaf::Fact;
use crate::audit::payload::{Actor, Payload, Value};
use crate::crypto::file::{FilePlace, open_file, seal_file};
use crate::crypto::mac::{KeyPurpose, Owner, equal, hash};
use crate::domain::event::{Event, Outcome};
use crate::domain::id::{CaseId, FileId, SubjectRequestId};
use crate::domain::subject_request::{RequestState, Target, TaskOutcome};
use crate::storage::subject_requests::{self as stored, Move, StoredCase, StoredPackage, StoredRequest};
use crate::storage::{Id16, LeafRow, Step, Unit, keys};

use super::subject_request::Opener;
use super::{Error, Gateway, Result, rows};

/// The schema of `package.json` (JSON Schema 2020-12), served at `/schemas/`.
pub const SCHEMA: &str = include_str!("schema/access-package-1.schema.json");
/// Its file name.
pub const SCHEMA_NAME: &str = "access-package-1.schema.json";

/// How long a package can be fetched.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

impl Gateway {
    /// Makes the package of a request and tells that it is there.
    ///
    /// # Errors
    /// When a store fails or something stored cannot be opened; the request stays as it was.
    pub(super) async fn answer_access(&self, request: &StoredRequest) -> Result<()> {
        let (case, request) = self.request(request.id).await?;
        if request.state != RequestState::Scheduled {
            return Ok(());
        }
        let contents = self.contents(&case).await?;
        let held = self.gather(&case, &contents).await?;
        let nobody = held.people.is_empty();
        let document = write::document(self, &case, &contents, held)?;
        let text = Zeroizing::new(
            serde_json::to_vec_pretty(&document).map_err(|_| Error::WrongState("the package cannot be written"))?,
        );
        drop(document);
        let package = self.seal_package(&request, &text).await?;
        self.commit_package(&case, &request, package, nobody).await?;
        self.close_if_settled(request.id).await
    }

    /// The package of an access request, `package.json`. Each hand-over is a leaf; an erasure of the
    /// same case waits for the first one.
    ///
    /// # Errors
    /// [`Error::Pending`] while it is being made, [`Error::NotFound`] when it is over.
    pub async fn fetch_package(&self, id: SubjectRequestId, by: Opener) -> Result<Zeroizing<Vec<u8>>> {
        let (case, request) = self.request(id).await?;
        let now = self.source.now();
        let package = self.database.read(move |c| stored::package(c, id)).await.map_err(Error::store)?;
        let Some(package) = package.filter(|package| package.expires_at.timestamp() > now) else {
            return Err(match request.state {
                RequestState::Answered | RequestState::Closed => Error::NotFound,
                _ => Error::Pending { wait: std::time::Duration::from_secs(1) },
            });
        };
        let text = self.open_package(&package).await?;
        let leaf =
            self.request_leaf(Event::RequestPackageFetched, &case, request.kind, Some(by.actor()), Vec::new())?;
        let file = package.id;
        self.commit_change(move || {
            Unit::change(Vec::new(), vec![leaf.clone()], move |transaction, _| {
                stored::note_fetched(transaction.connection(), file, now.into())?;
                Ok(Step::Commit)
            })
        })
        .await?;
        if package.fetched_at.is_none() {
            self.go_on_with(case.id);
        }
        Ok(text)
    }

    /// Destroys packages whose time is over, keys first. For the housekeeping.
    ///
    /// # Errors
    /// When a store fails.
    pub async fn forget_packages(&self) -> Result<usize> {
        let now = self.source.now().into();
        let expired = self.database.read(move |c| stored::expired_packages(c, now, 500)).await.map_err(Error::store)?;
        if expired.is_empty() {
            return Ok(0);
        }
        let gone: Vec<Id16> = expired.iter().map(|(_, key)| *key).collect();
        self.keyholder
            .store()
            .write(move |connection| {
                gone.iter().try_for_each(|key| keys::delete_owned_key(connection, *key).map(|_| ()))
            })
            .await
            .map_err(Error::keys)?;
        self.keyholder.store().flush_destroyed().await.map_err(Error::keys)?;
        let files: Vec<FileId> = expired.iter().map(|(id, _)| *id).collect();
        let count = files.len();
        self.commit_change(move || {
            let files = files.clone();
            Unit::change(Vec::new(), Vec::new(), move |transaction, _| {
                for id in &files {
                    stored::delete_package(transaction.connection(), *id)?;
                }
                Ok(Step::Commit)
            })
        })
        .await?;
        Ok(count)
    }

    async fn seal_package(&self, request: &StoredRequest, text: &[u8]) -> Result<StoredPackage> {
        let now = self.source.now();
        let id = FileId::from_uuid(self.source.random_id().map_err(Error::Protection)?);
        let key_id = self.source.random().map_err(Error::Protection)?;
        let (key, row) = self.keyholder.make_owned(key_id, KeyPurpose::RequestPackage, Owner::from(id), now)?;
        self.keyholder
            .store()
            .write(move |connection| keys::insert_owned_keys(connection, std::slice::from_ref(&row)))
            .await
            .map_err(Error::keys)?;
        let salt = self.source.random().map_err(Error::Protection)?;
        let sealed = seal_file(&key, &self.package_place(id), &salt, text).map_err(Error::Protection)?;
        // Read back before anybody is told that it is there.
        let again = open_file(&key, &self.package_place(id), &sealed).map_err(Error::DataUnreadable)?;
        if !equal(&hash(&again), &hash(text)) {
            return Err(Error::DataUnreadable(crate::crypto::Error::Corrupted));
        }
        Ok(StoredPackage {
            id,
            request: request.id,
            subject: request.subject,
            key: key_id,
            manifest_hash: hash(self.manifest(text).as_bytes()),
            sealed,
            made_at: now.into(),
            expires_at: now.checked_add(KEPT).unwrap_or(now).into(),
            fetched_at: None,
        })
    }

    async fn open_package(&self, package: &StoredPackage) -> Result<Zeroizing<Vec<u8>>> {
        let key = self.keyholder.owned(package.key, KeyPurpose::RequestPackage, Owner::from(package.id)).await;
        let key = match key {
            Ok(key) => key,
            // An erasure has destroyed it and is about to delete the row.
            Err(Error::MissingKey) => return Err(Error::NotFound),
            Err(other) => return Err(other),
        };
        open_file(&key, &self.package_place(package.id), &package.sealed).map_err(Error::DataUnreadable)
    }

    fn package_place(&self, id: FileId) -> FilePlace {
        FilePlace {
            installation: self.keyholder.installation,
            owner: Owner::from(id),
            kind: rows::ACCESS_PACKAGE,
            file: id,
        }
    }

    /// What the leaf commits to: hash and size of each file, schema, policy.
    fn manifest(&self, text: &[u8]) -> String {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        serde_json::json!({
            "files": { "package.json": { "sha256": hex(&hash(text)), "bytes": text.len() } },
            "policy": format!("sha256:{}", hex(&self.policy().policy.hash.0)),
            "schema": SCHEMA_NAME,
        })
        .to_string()
    }

    async fn commit_package(
        &self,
        case: &StoredCase,
        request: &StoredRequest,
        package: StoredPackage,
        nobody: bool,
    ) -> Result<()> {
        let now = self.source.now();
        let made = self.package_leaf(case, request, &package)?;
        let started = self.request_leaf(Event::RequestStarted, case, request.kind, None, Vec::new())?;
        let answered =
            self.request_leaf(Event::RequestAnswered, case, request.kind, None, vec![("found", Value::Bool(!nobody))])?;
        let mut task = self.own_task(request.id, &Target::Gateway("access".to_owned()), "access", now)?;
        task.outcome = if nobody { TaskOutcome::VerifiedNoData } else { TaskOutcome::Acknowledged };
        task.proof = Some("read_back".to_owned());
        task.settled_at = Some(now.into());
        let (id, seen, entry) = (request.id, request.version, made.draft.entry());
        let unit = Unit::change(Vec::new(), vec![started, made, answered], move |transaction, _| {
            let connection = transaction.connection();
            let to = Move { seen, state: RequestState::Answered, outcome: None, at: now.into() };
            if !stored::move_request(connection, id, &to)? {
                return Ok(Step::Stale);
            }
            stored::insert_package(connection, &package, entry)?;
            stored::insert_tasks(connection, std::slice::from_ref(&task), entry)?;
            Ok(Step::Commit)
        });
        // Stale: another instance answered it.
        self.database.write(unit).await.map_err(Error::store)?;
        Ok(())
    }

    fn package_leaf(&self, case: &StoredCase, request: &StoredRequest, package: &StoredPackage) -> Result<LeafRow> {
        let payload = Payload {
            actor: Some(Actor { kind: "scheduler", id: Value::from("gateway") }),
            request: Some(case.reference.clone()),
            more: vec![("kind", Value::from(request.kind.as_str()))],
            ..Payload::default()
        };
        self.installation_leaf(
            Event::RequestPackageMade,
            Outcome::Done,
            &payload,
            vec![Fact::Digest(package.manifest_hash)],
        )
    }

    /// Carries on with a case in the background; what fails there is taken up by the housekeeping.
    fn go_on_with(&self, case: CaseId) {
        let house = self.clone();
        tokio::spawn(async move {
            if let Err(error) = house.carry_out_case(case).await {
                tracing::warn!(error = crate::telemetry::cause(&error), "a case could not be carried on yet");
            }
        });
    }
}

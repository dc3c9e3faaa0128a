//! One witness: shown a checkpoint, and believed where our own key proves what it says.

use crate::audit::checkpoint::{self, Checkpoint};
use crate::audit::evidence::{Evidence, Kind, fork_proof};
use crate::audit::note::Note;
use crate::audit::tree::{self, Hash};
use crate::audit::witness::{AddCheckpoint, CosignatureLine, SIZE_TYPE, cosignatures, size_in};
use crate::delivery::witness::{Reply, TIME_LIMIT, Unanswered, WitnessClient};
use crate::gateway::checkpoint::{LogRefusal, Published};
use crate::gateway::{Error, Gateway, Result, evidence};
use crate::storage::audit_log::{self, StoredHashes};
use crate::storage::{self, Connection};

use super::Asked;

/// What a witness said to a checkpoint.
pub(super) enum Said {
    /// It cosigned.
    Cosigned(Vec<CosignatureLine>),
    /// It has a note that our key signed and that the log does not extend.
    Contradiction(LogRefusal),
    /// It did not cosign; another try may help.
    Failed(Trouble),
}

/// Why a witness did not cosign.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("no answer came within five seconds")]
    Silent,
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("it does not know this log; it needs the log's verifier key in its trust policy")]
    UnknownLog,
    #[error("it does not accept the log's signature; its trust policy names another key")]
    Signature,
    #[error("it answered {0}")]
    Status(u16),
    #[error("what it answered holds no cosignature of its key")]
    NoCosignature,
    #[error("it says that the log is not what it cosigned before, and shows nothing that our key signed to prove it")]
    Unproven,
    #[error("the proof for it could not be made")]
    Proof(#[source] Error),
}

impl Trouble {
    /// Waiting does not help: somebody must look at the two policies, or at what the witness claims.
    pub(super) const fn is_for_the_operator(&self) -> bool {
        matches!(self, Self::UnknownLog | Self::Signature | Self::Unproven)
    }
}

impl Gateway {
    /// Shows a checkpoint to a witness that cosigned size `old` last.
    pub(super) async fn ask(&self, asked: &Asked, published: &Published, old: u64) -> Said {
        match tokio::time::timeout(TIME_LIMIT, self.offer(asked, published, old)).await {
            Ok(Ok(said)) => said,
            Ok(Err(trouble)) => Said::Failed(trouble),
            Err(_) => Said::Failed(Trouble::Silent),
        }
    }

    async fn offer(&self, asked: &Asked, published: &Published, old: u64) -> std::result::Result<Said, Trouble> {
        let mut reply = self.post(asked, published, old).await?;
        // It cosigned another size last than we remember, perhaps for another instance.
        if let Some(size) = conflict(&reply).filter(|size| *size <= published.size && *size != old) {
            reply = self.post(asked, published, size).await?;
        }
        match reply.status {
            200 => {
                let text = Note::parse(published.note.as_bytes()).map(|note| note.text.to_owned()).unwrap_or_default();
                let lines = cosignatures(&reply.body, &text, &self.witnesses.keys());
                let is_cosigned = lines.iter().any(|line| line.key == asked.key);
                if is_cosigned { Ok(Said::Cosigned(lines)) } else { Err(Trouble::NoCosignature) }
            }
            409 | 422 => match self.contradiction(asked).await {
                Ok(Some(refusal)) => Ok(Said::Contradiction(refusal)),
                Ok(None) => Err(Trouble::Unproven),
                Err(error) => Err(Trouble::Proof(error)),
            },
            403 => Err(Trouble::Signature),
            404 => Err(Trouble::UnknownLog),
            status => Err(Trouble::Status(status)),
        }
    }

    async fn post(&self, asked: &Asked, published: &Published, old: u64) -> std::result::Result<Reply, Trouble> {
        let size = published.size;
        let proof = self.database.read(move |c| tree::consistency_proof(old, size, &StoredHashes::new(c))).await;
        let proof = proof.map_err(|error| Trouble::Proof(Error::store(error)))?;
        let body = AddCheckpoint { old, proof, note: published.note.clone() }.to_string();
        let client = self.witnesses.client.as_ref().ok_or(Trouble::Silent)?;
        Ok(client.post(asked.add_checkpoint.clone(), body).await?)
    }

    /// Asks a witness what it cosigned last and holds it against the stored log. Only a note that our
    /// own key signed counts. Evidence is written where there is one.
    ///
    /// # Errors
    /// When the store cannot be read or the evidence not be written.
    pub(super) async fn contradiction(&self, asked: &Asked) -> Result<Option<LogRefusal>> {
        let Some(client) = &self.witnesses.client else { return Ok(None) };
        let Some(note) = shown(client, asked, &self.origin).await? else { return Ok(None) };
        let Ok(seen) = checkpoint::open(note.as_bytes(), Some(&self.origin), &self.own_verifiers()?, &[]) else {
            tracing::warn!(witness = %asked.name, "a witness shows a checkpoint of this log that this log did not sign");
            return Ok(None);
        };
        let ours = self.log.newest();
        let our_size = ours.as_ref().map_or(0, |ours| ours.size);
        let who = format!("the witness {} cosigned", asked.name);
        let found = self.database.read(move |connection| compare(connection, &seen.checkpoint, our_size, &who)).await;
        let Some((kind, refusal, proof)) = found.map_err(Error::store)? else { return Ok(None) };
        if let Some(ours) = ours {
            let why = format!(
                "The first note is the one that the witness {} cosigned last, the second the newest of this installation.",
                asked.name
            );
            let evidence = Evidence { kind, notes: [note, ours.note.clone()], proof, why };
            let folder = self.settings.memory.join("evidence");
            let path = tokio::task::spawn_blocking(move || evidence::write(&folder, &evidence))
                .await
                .map_err(|_| Error::WrongState("the evidence cannot be written"))??;
            tracing::error!(witness = %asked.name, file = %path.display(), "the log contradicts what a witness cosigned; evidence was written");
        }
        Ok(Some(refusal))
    }
}

/// The size in an answer of 409.
fn conflict(reply: &Reply) -> Option<u64> {
    (reply.status == 409 && reply.media_type == SIZE_TYPE).then(|| size_in(&reply.body)).flatten()
}

/// What a witness shows; nothing if it does not answer.
async fn shown(client: &WitnessClient, asked: &Asked, origin: &str) -> Result<Option<String>> {
    match client.get(asked.checkpoint_of(origin)?).await {
        Ok(reply) if reply.status == 200 => Ok(String::from_utf8(reply.body).ok()),
        // It has not cosigned this log yet.
        Ok(reply) if reply.status == 404 => Ok(None),
        Ok(reply) => {
            tracing::warn!(witness = %asked.name, status = reply.status, "a witness does not say what it cosigned last");
            Ok(None)
        }
        Err(error) => {
            tracing::warn!(witness = %asked.name, error = crate::telemetry::cause(&error), "a witness does not say what it cosigned last");
            Ok(None)
        }
    }
}

type Found = (Kind, LogRefusal, Option<Vec<Hash>>);

/// Holds what a witness saw against the stored log.
fn compare(connection: &mut Connection, seen: &Checkpoint, ours: u64, who: &str) -> storage::Result<Option<Found>> {
    let head = audit_log::head(connection)?.ok_or(storage::Error::DamagedLog("the head is missing"))?;
    if seen.size > head.size {
        return Ok(Some((Kind::Rollback, LogRefusal::rollback(who, seen.size, head.size), None)));
    }
    let root = tree::root(seen.size, &StoredHashes::new(connection))?;
    if root == seen.root {
        return Ok(None);
    }
    let proof = fork_proof(seen.size, ours, &StoredHashes::new(connection))?;
    Ok(Some((Kind::Fork, LogRefusal::fork(who, seen.size, &seen.root, head.size, &root), proof)))
}

//! A case is opened: what is asked is checked, sealed under a key of the case's own, and scheduled.

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::crypto::mac::{KeyPurpose, Owner, RowId};
use crate::domain::clock::{self, Calendar, Deadlines, Profile};
use crate::domain::event::Event;
use crate::domain::id::{CaseId, SubjectId, SubjectRequestId};
use crate::domain::identifier::{NormaliseContext, Normalised, Subaddress, normalise};
use crate::domain::personal::{Access, Personal};
use crate::domain::subject_request::{Assurance, RequestKind, RequestState, reference};
use crate::gateway::consent::Repeatable;
use crate::gateway::{Error, Gateway, Result, rows};
use crate::storage::idempotency::{self, KeptAnswer};
use crate::storage::subject_requests as stored;
use crate::storage::{Step, Unit, keys};

use super::{Asked, AskedIdentifier, Case, Contents, NamedIdentifier, Opened, Opener, StoredCase, StoredRequest};

const TO_FIND: Access = Access::because("an identifier of a request is normalised and looked up");

const TO_SEAL: Access = Access::because("what a person asked is sealed under the key of the case");

/// Identifiers in one case at most.
const IDENTIFIERS: usize = 10;

/// Bytes of a person's message at most.
const MESSAGE_BYTES: usize = 16 * 1024;

impl Gateway {
    /// Opens a case and schedules its requests; nothing is carried out yet.
    ///
    /// # Errors
    /// [`Error::Unacceptable`] when it asks nothing, names nobody, or an identifier is not of its kind.
    pub async fn open_case(&self, asked: Asked, opener: Opener) -> Result<Case> {
        self.open_case_with(asked, opener, None).await
    }

    /// As [`Gateway::open_case`]; a repeated call with the same key gets the case that the first one
    /// opened.
    ///
    /// # Errors
    /// As [`Gateway::open_case`].
    pub async fn open_case_once(&self, asked: Asked, opener: Opener, repeatable: &Repeatable) -> Result<Opened> {
        let kept = self.kept_opening(opener, repeatable);
        for _ in 0..2 {
            let (mark, now) = (kept.mark, self.source.now().into());
            let before = self.database.read(move |c| idempotency::find(c, &mark, now)).await.map_err(Error::store)?;
            if let Some(before) = before {
                if !crate::crypto::mac::equal(&before.body_hash, &kept.body_hash) {
                    return Ok(Opened::KeyReused);
                }
                return Ok(Opened::Case(self.case(&before.answer).await?));
            }
            match self.open_case_with(asked.again(), opener, Some(kept.clone())).await {
                // The same call came twice at once, and the other one was faster.
                Err(Error::Contention) => {}
                opened => return opened.map(Opened::Case),
            }
        }
        Err(Error::Contention)
    }

    fn kept_opening(&self, opener: Opener, repeatable: &Repeatable) -> KeptAnswer {
        let secrets = self.keyholder.secrets();
        let caller = opener.spelling();
        KeptAnswer {
            mark: secrets.tokens.duplicate("idempotency-requests", &caller, &repeatable.key, &[0; 32]),
            body_hash: secrets.tokens.duplicate("idempotency-requests-body", &caller, "", &repeatable.body_hash),
            subject: None,
            status: 0,
            answer: String::new(),
            at: self.source.now().into(),
        }
    }

    async fn open_case_with(&self, asked: Asked, opener: Opener, kept: Option<KeptAnswer>) -> Result<Case> {
        let now = self.source.now();
        let (contents, subject) = self.identify_asker(&asked).await?;
        let id = CaseId::from_uuid(self.source.random_id().map_err(Error::Protection)?);
        let owner = Owner::from(id);
        let key_id = self.source.random().map_err(Error::Protection)?;
        let (key, key_row) = self.keyholder.make_owned(key_id, KeyPurpose::Case, owner, now)?;
        self.keyholder
            .store()
            .write(move |connection| keys::insert_owned_keys(connection, std::slice::from_ref(&key_row)))
            .await
            .map_err(Error::keys)?;
        let text = Zeroizing::new(
            serde_json::to_string(&contents).map_err(|_| Error::Unacceptable("the request cannot be kept"))?,
        );
        let sealed = self.seal_own(&key, owner, rows::CASE, RowId::from(id), &text)?;

        let policy = self.policy();
        let controller = &policy.policy.controller;
        let trigger_day = clock::trigger_day(now, &controller.time_zone);
        let due = clock::deadlines(&Profile::gdpr(), trigger_day, &[], None, &Calendar::of(&controller.country));
        let language = asked
            .language
            .filter(|language| controller.languages.contains(language))
            .or_else(|| controller.languages.first().cloned())
            .unwrap_or_default();
        let case = StoredCase {
            id,
            reference: reference(&self.source.random().map_err(Error::Protection)?),
            channel: opener.channel().to_owned(),
            opened_by: opener.spelling(),
            language,
            received_at: now.into(),
            trigger_day,
            key: key_id,
            sealed: sealed.into_bytes(),
        };
        let mut requests = Vec::with_capacity(asked.kinds.len());
        let mut leaves = Vec::with_capacity(2 * asked.kinds.len());
        for kind in asked.kinds {
            let request = self.scheduled(&case, kind, subject, &due, now)?;
            leaves.push(self.request_leaf(Event::RequestReceived, &case, kind, Some(opener.actor()), Vec::new())?);
            leaves.push(self.request_leaf(Event::RequestAccepted, &case, kind, None, Vec::new())?);
            requests.push(request);
        }
        let opened = Case { case: case.clone(), requests: requests.clone() };
        let kept = kept.map(|kept| KeptAnswer { answer: case.reference.clone(), ..kept });
        self.commit_change(move || {
            let (case, requests, kept) = (case.clone(), requests.clone(), kept.clone());
            let entries: Vec<_> = leaves.iter().step_by(2).map(|leaf| leaf.draft.entry()).collect();
            Unit::change(Vec::new(), leaves.clone(), move |transaction, _| {
                let connection = transaction.connection();
                if let Some(kept) = &kept
                    && !idempotency::insert(connection, kept)?
                {
                    return Ok(Step::Stale);
                }
                if let Some(first) = entries.first() {
                    stored::insert_case(connection, &case, *first)?;
                }
                for (request, entry) in requests.iter().zip(&entries) {
                    stored::insert_request(connection, request, *entry)?;
                }
                Ok(Step::Commit)
            })
        })
        .await?;
        Ok(opened)
    }

    /// Normalises what a request names and finds the person, if there is one here.
    async fn identify_asker(&self, asked: &Asked) -> Result<(Contents, Option<SubjectId>)> {
        if asked.kinds.is_empty()
            || asked.kinds.iter().enumerate().any(|(at, kind)| asked.kinds.iter().take(at).any(|other| other == kind))
        {
            return Err(Error::Unacceptable("name each right once, and at least one"));
        }
        if asked.identifiers.is_empty() || asked.identifiers.len() > IDENTIFIERS {
            return Err(Error::Unacceptable("name 1 to 10 identifiers"));
        }
        let message = asked.message.as_ref().map(|message| message.reveal(&TO_SEAL).clone());
        if message.as_ref().is_some_and(|message| message.len() > MESSAGE_BYTES) {
            return Err(Error::Unacceptable("the message is longer than 16 KiB"));
        }
        let policy = self.policy();
        let mut contents = Contents { identifiers: Vec::with_capacity(asked.identifiers.len()), message };
        for identifier in &asked.identifiers {
            let context = NormaliseContext {
                namespace: &identifier.namespace,
                default_region: Some(&policy.policy.controller.country),
                subaddress: if policy.policy.controller.strip_email_subaddress {
                    Subaddress::Strip
                } else {
                    Subaddress::Keep
                },
                blocked: &policy.blocked,
            };
            let canonical = match normalise(&identifier.kind, identifier.text.reveal(&TO_FIND), &context) {
                Normalised::Canonical(canonical) => canonical,
                Normalised::Invalid(_) | Normalised::Blocked => {
                    return Err(Error::Unacceptable("an identifier is not of its kind, or names nobody"));
                }
            };
            contents.identifiers.push(NamedIdentifier {
                kind: identifier.kind.spelling().into_owned(),
                namespace: identifier.namespace.clone(),
                value: identifier.text.reveal(&TO_SEAL).clone(),
                canonical: canonical.reveal(&TO_SEAL).clone(),
            });
        }
        let subject = self.subjects_named(&contents).await?.first().copied();
        Ok((contents, subject))
    }

    fn scheduled(
        &self,
        case: &StoredCase,
        kind: RequestKind,
        subject: Option<SubjectId>,
        due: &Deadlines,
        now: Timestamp,
    ) -> Result<StoredRequest> {
        Ok(StoredRequest {
            id: SubjectRequestId::from_uuid(self.source.ordered_id(now).map_err(Error::Protection)?),
            case: case.id,
            kind,
            state: RequestState::Scheduled,
            outcome: None,
            subject,
            assurance: Assurance::AssertedByController,
            version: 1,
            target_date: due.target_date,
            nominal_due: due.nominal_due,
            statutory_due: due.statutory_due,
            created_at: now.into(),
            answered_at: None,
            closed_at: None,
        })
    }
}

impl Asked {
    /// The same, for a second try.
    fn again(&self) -> Self {
        let copy = |text: &Personal<String>| Personal::new(text.reveal(&TO_SEAL).clone());
        Self {
            kinds: self.kinds.clone(),
            identifiers: self
                .identifiers
                .iter()
                .map(|identifier| AskedIdentifier {
                    kind: identifier.kind.clone(),
                    namespace: identifier.namespace.clone(),
                    text: copy(&identifier.text),
                })
                .collect(),
            language: self.language.clone(),
            message: self.message.as_ref().map(copy),
        }
    }
}

//! The receipt of an erasure: a statement that the log commits to and only the person can show.
//!
//! Part 4 of leaf 702 commits to the statement under a key that is used once. What shows it (the
//! plaintext and the key of the commitment) is sealed until a checkpoint covers the leaf and the
//! receipt was handed out; then the gateway holds none of it, and nobody can test guesses against the
//! log.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::audit::leaf::{Counts, Fact};
use crate::audit::payload::Value;
use crate::audit::proof::OpenedPart;
use crate::audit::receipt::Receipt;
use crate::crypto::audit_seal::AuditKey;
use crate::crypto::key::Key;
use crate::crypto::mac::audit::AuditPlace;
use crate::crypto::mac::{KeyPurpose, Owner, RowId};
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::{EntryId, RecipientId, SubjectRequestId};
use crate::domain::personal::Access;
use crate::domain::subject_request::Target;
use crate::gateway::prove::Wanted;
use crate::gateway::subject_request::day_after;
use crate::gateway::{Error, Gateway, Result, rows};
use crate::storage::erasures::{self, StoredErasure};
use crate::storage::subject_requests::{StoredCase, StoredRequest, StoredTask};
use crate::storage::{Id16, LeafRow, Step, Unit, keys};

use super::ledger::WrittenPlan;

const TO_HAND_OUT: Access = Access::because("the person is given the receipt of their erasure");

/// How long the same receipt is given again after it was handed out, for an answer that got lost.
const AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// How long a receipt waits to be fetched.
const WAITS: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The leaf of completion and what will open its receipt.
pub(super) struct Committed {
    pub(super) leaf: LeafRow,
    pub(super) sealed: Vec<u8>,
    pub(super) completed: Timestamp,
}

/// What shows the statement, as it is sealed until it is handed out.
#[derive(Serialize, Deserialize, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
struct Opening {
    entry: String,
    commit_key: String,
    plaintext: String,
}

impl Gateway {
    /// The receipt of an erasure, a file of the format `amanat-receipt/1`. Given again for an hour,
    /// then it is gone from here.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none or it was handed out; [`Error::Pending`] until a
    /// checkpoint covers the completion.
    pub async fn erasure_receipt(&self, id: SubjectRequestId) -> Result<String> {
        let ledger =
            self.database.read(move |c| erasures::find(c, id)).await.map_err(Error::store)?.ok_or(Error::NotFound)?;
        let (Some(key_id), Some(sealed)) = (ledger.key, ledger.sealed.clone()) else {
            return if ledger.completed_at.is_some() {
                Err(Error::NotFound)
            } else {
                Err(Error::Pending { wait: self.settings.checkpoint_every })
            };
        };
        let now = self.source.now();
        if ledger.handed_out_at.is_some_and(|at| at.timestamp().saturating_add(AGAIN).is_ok_and(|end| end <= now)) {
            self.forget_receipt(&ledger).await?;
            return Err(Error::NotFound);
        }
        self.wait_for_other_instances(&ledger, now).await?;
        let owner = Owner::from(id);
        let key = self.keyholder.owned(key_id, KeyPurpose::Document, owner).await?;
        let text = self.open_own(&key, owner, rows::ERASURE, RowId::from(id), sealed)?;
        let opening: Opening = serde_json::from_str(text.reveal(&TO_HAND_OUT)).map_err(|_| unreadable())?;
        let receipt = self.shown(&opening).await?;
        self.commit_change(move || {
            Unit::change(Vec::new(), Vec::new(), move |transaction, _| {
                erasures::note_handed_out(transaction.connection(), id, now.into())?;
                Ok(Step::Commit)
            })
        })
        .await?;
        serde_json::to_string_pretty(&receipt).map_err(|_| Error::WrongState("the receipt cannot be written"))
    }

    /// Another process may hold an opened key until the stated bound; until then nobody is told that
    /// all keys are gone.
    async fn wait_for_other_instances(&self, ledger: &StoredErasure, now: Timestamp) -> Result<()> {
        let Some(completed) = ledger.completed_at else { return Ok(()) };
        let bound = SignedDuration::try_from(self.keyholder.stated_bound()).unwrap_or(SignedDuration::from_secs(30));
        let free = completed.timestamp().checked_add(bound + SignedDuration::from_secs(1)).unwrap_or(now);
        if now >= free {
            return Ok(());
        }
        let own = Id16::from(self.instance);
        // Only a process that started before the keys were destroyed can hold them.
        let since = ledger.started_at;
        let instances = self.keyholder.store().read(move |c| keys::instances(c, since)).await.map_err(Error::keys)?;
        if instances.iter().any(|instance| instance.id != own && instance.started_at <= completed) {
            let wait = std::time::Duration::try_from(free.duration_since(now)).unwrap_or_default();
            return Err(Error::Pending { wait });
        }
        Ok(())
    }

    /// Destroys what shows receipts that were handed out or waited too long. For the housekeeping.
    ///
    /// # Errors
    /// When a store fails.
    pub async fn forget_receipts(&self) -> Result<usize> {
        let now = self.source.now();
        let before = |age: SignedDuration| now.checked_sub(age).unwrap_or(now).into();
        let (handed_out, completed) = (before(AGAIN), before(WAITS));
        let old = self
            .database
            .read(move |c| erasures::receipts_to_forget(c, handed_out, completed))
            .await
            .map_err(Error::store)?;
        for ledger in &old {
            self.forget_receipt(ledger).await?;
        }
        Ok(old.len())
    }

    /// The leaf of completion with its part 4, and the sealed opening.
    pub(super) async fn commit_to_receipt(
        &self,
        case: &StoredCase,
        request: &StoredRequest,
        ledger: &StoredErasure,
        plan: &WrittenPlan,
        deleted: &BTreeMap<String, u64>,
    ) -> Result<Committed> {
        let completed = self.source.now();
        let contents = self.contents(case).await?;
        let person = contents.identifiers.first().map(|identifier| identifier.value.clone()).unwrap_or_default();
        let tasks = self.tasks(request.id).await?;
        let statement = self.statement(case, ledger, plan, deleted, &tasks, &person, completed);
        let entry = self.source.entry().map_err(Error::Protection)?;
        let event = Event::ErasureCompleted;
        let place = AuditPlace {
            role: Role::Receipt.number(),
            entry,
            event: event.number(),
            class: event.class().number(),
            origin: &self.origin,
        };
        let once = AuditKey::new(Key::random(&mut |bytes| self.source.fill(bytes)).map_err(Error::Protection)?);
        let encoded = Zeroizing::new(statement.encode());
        let given = once.commit_receipt(&place, &encoded).map_err(Error::Protection)?;
        let opening = Opening {
            entry: data_encoding::HEXLOWER.encode(entry.as_bytes()),
            commit_key: data_encoding::BASE64.encode(&given.opened.commitment_key.to_shown()),
            plaintext: data_encoding::BASE64.encode(&given.opened.plaintext),
        };
        let leaf = crate::gateway::LeafBuilder::new(&self.origin, entry, event, Outcome::Done)
            .receipt_part(given.tag, given.commitment)
            .fact(Fact::Deleted(Counts::default()))
            .fact(Fact::Fingerprints(ledger.fingerprints.clone()))
            .finish()?;
        let text = Zeroizing::new(
            serde_json::to_string(&opening).map_err(|_| Error::WrongState("the receipt cannot be kept"))?,
        );
        let key_id = ledger.key.ok_or(Error::MissingKey)?;
        let owner = Owner::from(request.id);
        let key = self.keyholder.owned(key_id, KeyPurpose::Document, owner).await?;
        let sealed = self.seal_own(&key, owner, rows::ERASURE, RowId::from(request.id), &text)?;
        Ok(Committed { leaf, sealed: sealed.into_bytes(), completed })
    }

    /// The statement of `subject-requests.md` §11.6. Keys without a value are absent.
    #[expect(clippy::too_many_arguments, reason = "everything one statement says, gathered once")]
    fn statement(
        &self,
        case: &StoredCase,
        ledger: &StoredErasure,
        plan: &WrittenPlan,
        deleted: &BTreeMap<String, u64>,
        tasks: &[StoredTask],
        person: &str,
        completed: Timestamp,
    ) -> Value {
        let policy = self.policy();
        let controller = &policy.policy.controller;
        let text = |text: &str| Value::from(text);
        let map = |members: Vec<(&str, Value)>| {
            Value::Map(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
        };
        let rows = deleted
            .iter()
            .map(|(table, rows)| map(vec![("store", text(table)), ("rows", Value::Uint(*rows))]))
            .collect();
        let kept = plan.kept.iter().map(|kept| {
            let mut members =
                vec![("what", text(&kept.what)), ("ground", text(&kept.ground)), ("law", text(&kept.law))];
            if let Some(until) = &kept.until {
                members.push(("until", text(until)));
            }
            members.push(("rows", Value::Uint(kept.rows)));
            map(members)
        });
        let recipients = plan.recipients.iter().map(|id| {
            let recipient = policy.policy.recipients.get(&RecipientId::new(id));
            let mut members = vec![("name", text(recipient.map_or(id.as_str(), |recipient| &recipient.name)))];
            if let Some(recipient) = recipient {
                members.push(("country", text(&recipient.country)));
            }
            let target = Target::Recipient(RecipientId::new(id));
            if let Some(task) = tasks.iter().find(|task| task.target == target && task.verb == "erase") {
                members.push(("outcome", text(task.outcome.as_str())));
                if let Some(at) = task.settled_at {
                    members.push(("settled", text(&format!("{:.0}", at.timestamp()))));
                }
            }
            map(members)
        });
        let mut members = vec![
            ("v", Value::Uint(1)),
            ("kind", text("erasure")),
            ("scope", text("gateway")),
            ("request", text(&case.reference)),
            ("controller", map(vec![("name", text(&controller.name)), ("country", text(&controller.country))])),
            ("person", text(person)),
            ("asked", text(&case.trigger_day.to_string())),
            ("completed", text(&format!("{completed:.0}"))),
            ("completeness", text(if plan.kept.is_empty() { "full" } else { "partial" })),
            ("records", Value::Array(rows)),
            (
                "keys",
                Value::Array(
                    ledger.fingerprints.iter().map(|key| text(&data_encoding::HEXLOWER.encode(key))).collect(),
                ),
            ),
            ("kept", Value::Array(kept.collect())),
            ("held", Value::Array(Vec::new())),
            ("recipients", Value::Array(recipients.collect())),
        ];
        // Where no age can be promised, none is named.
        if let Some(days) = self.settings.stated_age_days {
            let day = day_after(completed, days, &controller.time_zone);
            members.push(("unreadable_in_backups_after", text(&day.to_string())));
        }
        members.push(("marks", Value::Uint(plan.marks)));
        members.push(("policy", text(&plan.policy)));
        map(members)
    }

    async fn shown(&self, opening: &Opening) -> Result<Receipt> {
        let entry = data_encoding::HEXLOWER
            .decode(opening.entry.as_bytes())
            .ok()
            .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
            .map(EntryId::from_bytes)
            .ok_or_else(unreadable)?;
        let decode = |text: &str| data_encoding::BASE64.decode(text.as_bytes()).map_err(|_| unreadable());
        let plaintext = decode(&opening.plaintext)?;
        let commit_key = decode(&opening.commit_key)?.try_into().map_err(|_| unreadable())?;
        let proof = self.prove_entry(Wanted::Entry(entry)).await?;
        self.receipt_of(&proof, OpenedPart { role: Role::Receipt.number(), commit_key, plaintext })
    }

    /// Destroys the key first, so that a copy of the row opens nowhere.
    async fn forget_receipt(&self, ledger: &StoredErasure) -> Result<()> {
        if let Some(key) = ledger.key {
            self.keyholder
                .store()
                .write(move |connection| keys::delete_owned_key(connection, Id16(key)).map(|_| ()))
                .await
                .map_err(Error::keys)?;
            self.keyholder.store().flush_destroyed().await.map_err(Error::keys)?;
        }
        let id = ledger.request;
        self.commit_change(move || {
            Unit::change(Vec::new(), Vec::new(), move |transaction, _| {
                erasures::forget_sealed(transaction.connection(), id)?;
                Ok(Step::Commit)
            })
        })
        .await?;
        Ok(())
    }
}

const fn unreadable() -> Error {
    Error::DataUnreadable(crate::crypto::Error::Corrupted)
}

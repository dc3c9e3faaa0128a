//! Stage 4, seal: the personal fields that may be kept are sealed under the person's key; from here
//! on there is no plaintext.

use jiff::Timestamp;

use crate::crypto::envelope::{Field, RecordPlace, Term};
use crate::crypto::mac::{Owner, RowId};
use crate::domain::id::{EntryId, RecordId, SubjectId};
use crate::domain::personal::Access;
use crate::gateway::keyholder::PersonKeys;
use crate::gateway::{Error, Gateway, Result, rows};
use crate::storage::records::NewRecord;

use super::Arrival;
use super::decide::Decided;

const TO_SEAL: Access = Access::because("a field is sealed under its person's key");

/// A record ready to be stored.
pub(super) struct Sealed {
    pub(super) record: NewRecord,
}

/// Where a record goes.
pub(super) struct Destination<'a> {
    pub(super) keys: &'a PersonKeys,
    pub(super) device: Option<SubjectId>,
    pub(super) entry: EntryId,
}

impl Sealed {
    pub(super) fn new(
        house: &Gateway,
        arrival: &Arrival<'_>,
        to: &Destination<'_>,
        decided: &Decided<'_>,
    ) -> Result<Self> {
        let event = &decided.classified.identified.event;
        let id = RecordId::from_uuid(house.source.ordered_id(arrival.received_at).map_err(Error::Protection)?);
        let mut personal: Vec<Field<'_>> = Vec::with_capacity(decided.ruling.kept.len());
        let mut plain = String::from("{");
        for (field, value) in &decided.classified.fields {
            if decided.ruling.kept.binary_search(&field.path).is_err() {
                continue;
            }
            let json = value.reveal(&TO_SEAL);
            if field.personal {
                personal.push(Field {
                    field: term(arrival.policy.terms.field(field.path.as_str()), field.path.as_str())?,
                    category: term(arrival.policy.terms.category(field.category.as_str()), field.category.as_str())?,
                    json,
                });
            } else {
                if plain.len() > 1 {
                    plain.push(',');
                }
                plain.push_str(&super::super::identifiers::json_text(field.path.as_str()));
                plain.push(':');
                plain.push_str(json);
            }
        }
        plain.push('}');
        if personal.is_empty() {
            // A record always has a sealed part, so that what it says of its person is bound to them.
            personal.push(Field {
                field: super::super::identifiers::own_term(&arrival.policy.terms, "own.text")?,
                category: super::super::identifiers::own_category(&arrival.policy.terms)?,
                json: "null",
            });
        }
        let place = RecordPlace {
            installation: house.keyholder.installation,
            owner: Owner::from(to.keys.subject),
            kind: rows::RECORD,
            record: RowId::from(id),
        };
        let sealed =
            to.keys.dek.seal(&place, &personal, &mut |bytes| house.source.fill(bytes)).map_err(Error::Protection)?;
        Ok(Self {
            record: NewRecord {
                id,
                subject: to.keys.subject,
                device: to.device,
                collector: arrival.rules.id.clone(),
                kind: event.kind.as_str(),
                occurred_at: bounded(event.occurred_at, arrival.received_at).into(),
                collected_at: arrival.received_at.into(),
                policy: arrival.policy.policy.hash,
                plain,
                sealed,
                entry: to.entry,
            },
        })
    }
}

fn term(number: Option<u16>, text: &str) -> Result<Term<'_>> {
    let number = number.ok_or(Error::WrongState("a field of the policy has no number yet"))?;
    Ok(Term { number, text })
}

fn bounded(occurred_at: Timestamp, received_at: Timestamp) -> Timestamp {
    occurred_at.min(received_at)
}

//! The journal of stops against a restored copy: every *no* that the copy does not know is made again.
//!
//! A line of the journal names a subject and a purpose, not a channel or a device, so a no that is made
//! again covers all of them: rather too much than too little. A yes that the copy holds and that is
//! younger than the no stands.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::audit::payload::{Actor, Payload, Row, Value};
use crate::crypto::mac::{RowId, hash};
use crate::domain::consent::{ConsentEventKind, Proof, Scope, fold};
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::{
    Channel, CollectorId, ConsentEventId, ConsentId, EntryId, InteractionId, PurposeId, SubjectId,
};
use crate::domain::subject::SubjectStatus;
use crate::gateway::consent::{MARKETING, told_as};
use crate::gateway::journal::{Stop, StopKind};
use crate::gateway::keyholder::PersonKeys;
use crate::gateway::person::{Line, basis_of, verifies};
use crate::gateway::{Error, Gateway, Result, rows};
use crate::storage::consents::{self, NewEvent, NewLine, Relation, StoredEvent};
use crate::storage::erasures::{self, Suppression};
use crate::storage::subjects::{self, StoredSubject};
use crate::storage::{Collect, Expected, LeafRow, Step, Unit};

use super::Restored;

/// A stop is written a moment before its leaf is dated, perhaps by another clock. What is older than
/// the newest leaf of the copy by more than this stands in the copy.
const SKEW: SignedDuration = SignedDuration::from_hours(1);
/// As whose word a stop that is made again is recorded.
const WHO: &str = "restore";
/// Years after which a suppression entry is looked at again.
const REVIEW_YEARS: i32 = 3;

/// What the journal says of one subject.
#[derive(Default)]
struct Said {
    /// The newest no for each purpose.
    purposes: BTreeMap<PurposeId, (Timestamp, ConsentEventKind)>,
    /// Entries of the suppression list.
    suppressed: BTreeMap<[u8; 32], Timestamp>,
    /// Whether the person was erased: then nobody is missed.
    erased: bool,
}

impl Said {
    fn take(&mut self, stop: &Stop) {
        let kind = match stop.kind {
            StopKind::Withdrawal => ConsentEventKind::Withdraw,
            StopKind::Refusal => ConsentEventKind::Refuse,
            StopKind::Objection => ConsentEventKind::Object,
            StopKind::Suppression => {
                let value = data_encoding::HEXLOWER.decode(stop.what.as_bytes()).ok();
                self.suppressed.extend(value.and_then(|value| Some((value.try_into().ok()?, stop.at))));
                return;
            }
            // Made again by `erase`.
            StopKind::Erasure => {
                self.erased = true;
                return;
            }
        };
        let newest = self.purposes.entry(PurposeId::new(&stop.what)).or_insert((stop.at, kind));
        if stop.at > newest.0 {
            *newest = (stop.at, kind);
        }
    }
}

impl Gateway {
    /// Makes again what the journal holds and a copy of `since` does not.
    pub(super) async fn stop_again(&self, since: Timestamp, restored: &mut Restored) -> Result<()> {
        let since = since.checked_sub(SKEW).unwrap_or(since);
        let gathered = (BTreeMap::<SubjectId, Said>::new(), BTreeMap::<&'static str, u64>::new());
        let (said, counts) = self
            .journal
            .each(gathered, move |(said, counts), stop| {
                if stop.at >= since {
                    *counts.entry(stop.kind.as_str()).or_default() += 1;
                    said.entry(stop.subject).or_default().take(&stop);
                }
            })
            .await?;
        restored.stops = counts;
        for (subject, said) in said {
            let row = self.database.read(move |c| subjects::find(c, subject)).await.map_err(Error::store)?;
            self.put_on_list(subject, row.is_some(), &said.suppressed, restored).await?;
            match row {
                None if said.erased => {}
                None => restored.of_nobody += u64::try_from(said.purposes.len()).unwrap_or(0),
                // Everything else denies by itself.
                Some(row) if row.status == SubjectStatus::Active => self.deny_again(row, &said, restored).await?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Records every no of a subject that its lines do not say.
    async fn deny_again(&self, row: StoredSubject, said: &Said, restored: &mut Restored) -> Result<()> {
        if said.purposes.is_empty() {
            return Ok(());
        }
        let subject = row.id;
        let keys = self.keyholder.people(vec![(subject, row.key_version)]).await?.pop().ok_or(Error::MissingKey)?;
        let lines = self.database.read(move |c| consents::of_subjects(c, &[subject])).await.map_err(Error::store)?;
        let lines: Vec<Line> =
            lines.into_iter().map(|line| Line::believed(line, |event| verifies(&keys, event))).collect();
        let mut making = Making {
            house: self,
            keys: &keys,
            scope: if row.device { Scope::Device } else { Scope::Person },
            interaction: InteractionId::from_uuid(self.source.random_id().map_err(Error::Protection)?),
            now: self.source.now(),
            rows: Collect::default(),
            leaves: Vec::new(),
        };
        for (purpose, (at, kind)) in &said.purposes {
            for (channel, line) in making.lines_to_deny(&lines, purpose, *at) {
                making.deny(purpose, channel, line, *kind, *at)?;
            }
        }
        let Making { rows, leaves, .. } = making;
        if leaves.is_empty() {
            return Ok(());
        }
        restored.stopped_again += u64::try_from(leaves.len()).unwrap_or(0);
        let rests_on = vec![Expected { subject, version: None }];
        let unit = Unit::change(rests_on, leaves, move |transaction, _| {
            transaction.insert_people(&rows)?;
            subjects::raise(transaction, subject)?;
            Ok(Step::Commit)
        });
        self.database.write(unit).await.map_err(Error::store)?;
        self.forget([subject]);
        Ok(())
    }

    /// Puts entries back on the suppression list that are not on it.
    async fn put_on_list(
        &self,
        subject: SubjectId,
        is_known: bool,
        values: &BTreeMap<[u8; 32], Timestamp>,
        restored: &mut Restored,
    ) -> Result<()> {
        let mut missing = Vec::new();
        let version = self.keyholder.secrets().suppressions.newest().ok_or(Error::MissingKey)?;
        let zone = self.policy().policy.controller.time_zone.clone();
        for (value, at) in values {
            let asked = *value;
            let stands = self.database.read(move |c| erasures::is_suppressed(c, &[asked], MARKETING));
            if !stands.await.map_err(Error::store)? {
                let day = at.to_zoned(zone.clone()).date();
                missing.push(Suppression {
                    value: *value,
                    scope: MARKETING.to_owned(),
                    // The journal names the keyed value alone.
                    kind: String::new(),
                    namespace: String::new(),
                    base_version: version,
                    top_version: version,
                    day: day.to_string(),
                    reason: WHO.to_owned(),
                    review: day.saturating_add(jiff::Span::new().years(REVIEW_YEARS)).to_string(),
                });
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        restored.stopped_again += u64::try_from(missing.len()).unwrap_or(0);
        let payload = Payload {
            actor: Some(system()),
            reason: Some(WHO.to_owned()),
            more: vec![("scope", Value::from(MARKETING))],
            ..Payload::default()
        };
        let leaf = self.installation_leaf(Event::SuppressionAdded, Outcome::Done, &payload, Vec::new())?;
        let rests_on: Vec<Expected> = is_known.then_some(Expected { subject, version: None }).into_iter().collect();
        let unit = Unit::change(rests_on, vec![leaf], move |transaction, _| {
            erasures::insert_suppressions(transaction.connection(), &missing)?;
            if transaction.version(subject).is_some() {
                subjects::set_suppressed(transaction, subject, true)?;
            }
            Ok(Step::Commit)
        });
        self.database.write(unit).await.map_err(Error::store)?;
        self.forget([subject]);
        Ok(())
    }
}

/// The unit of one subject in the making.
struct Making<'a> {
    house: &'a Gateway,
    keys: &'a PersonKeys,
    scope: Scope,
    interaction: InteractionId,
    now: Timestamp,
    rows: Collect,
    leaves: Vec<LeafRow>,
}

impl Making<'_> {
    /// The lines that a no of `at` must stand on: those of the purpose that there are, and those that
    /// there could be.
    fn lines_to_deny(
        &self,
        lines: &[Line],
        purpose: &PurposeId,
        at: Timestamp,
    ) -> Vec<(Option<Channel>, Option<ConsentId>)> {
        let policy = self.house.policy();
        let of_purpose = || lines.iter().filter(|line| line.purpose == *purpose);
        let is_no = |kind: ConsentEventKind| kind.denial().is_some();
        if of_purpose().flat_map(|line| &line.events).any(|event| is_no(event.kind) && event.recorded_at >= at) {
            // The copy knows it.
            return Vec::new();
        }
        let mut targets: Vec<(Option<Channel>, Option<ConsentId>)> = of_purpose()
            .filter(|line| line.events.iter().all(|event| event.recorded_at <= at))
            .filter(|line| !fold(&line.events, basis_of(&policy.policy, purpose)).is_denied())
            .map(|line| (line.channel.clone(), Some(line.id)))
            .collect();
        let channels = policy.policy.purposes.get(purpose).map(|purpose| purpose.channels.clone()).unwrap_or_default();
        let mut possible: Vec<Option<Channel>> = channels.into_iter().map(Some).collect();
        if possible.is_empty() {
            possible.push(None);
        }
        let is_there =
            |channel: &Option<Channel>| of_purpose().any(|line| line.channel == *channel && line.scope == self.scope);
        targets.extend(possible.into_iter().filter(|channel| !is_there(channel)).map(|channel| (channel, None)));
        targets
    }

    fn deny(
        &mut self,
        purpose: &PurposeId,
        channel: Option<Channel>,
        line: Option<ConsentId>,
        kind: ConsentEventKind,
        at: Timestamp,
    ) -> Result<()> {
        let source = &self.house.source;
        let (policy, subject) = (self.house.policy(), self.keys.subject);
        let entry: EntryId = source.entry().map_err(Error::Protection)?;
        let consent = match line {
            Some(line) => line,
            None => ConsentId::from_uuid(source.random_id().map_err(Error::Protection)?),
        };
        let mut row = StoredEvent {
            id: ConsentEventId::from_uuid(source.ordered_id(self.now).map_err(Error::Protection)?),
            consent,
            subject,
            interaction: self.interaction,
            kind: kind.on(basis_of(&policy.policy, purpose)),
            actor: Relation::System,
            proof: Proof::Signal,
            notice: None,
            policy: policy.policy.hash,
            given_at: at.into(),
            recorded_at: self.now.into(),
            valid_until: None,
            explicit: false,
            collector: CollectorId::new(WHO),
            method: String::new(),
            mac: [0; 32],
            entry,
        };
        let canonical = rows::consent_event(&row);
        row.mac = self.keys.dek.row_mac(rows::CONSENT_EVENT, RowId::from(row.id), &canonical);
        let opened = line.is_none().then(|| NewLine {
            id: consent,
            subject,
            purpose: purpose.clone(),
            channel: channel.clone(),
            scope: self.scope,
            created_at: self.now.into(),
            entry,
        });
        let mut named = vec![Row { kind: "consent_event", id: *row.id.as_bytes(), content_hash: hash(&canonical) }];
        named.extend(opened.as_ref().map(rows::line_row));
        let payload = Payload {
            subject: Some(*subject.as_bytes()),
            actor: Some(system()),
            purposes: vec![purpose.as_str().to_owned()],
            consent: Some(*consent.as_bytes()),
            rows: named,
            more: rows::line_members(channel.as_ref(), self.scope),
            policy: Some(policy.policy.hash.0),
            reason: Some(WHO.to_owned()),
            ..Payload::default()
        };
        let leaf = crate::gateway::LeafBuilder::new(&self.house.origin, entry, told_as(row.kind), Outcome::Done)
            .part(source, Role::Subject, &self.keys.evidence, &payload)?
            .finish()?;
        self.leaves.push(leaf);
        self.rows.lines.extend(opened);
        self.rows.events.push(NewEvent { event: row, evidence: None });
        Ok(())
    }
}

/// Who makes a stop again.
fn system() -> Actor {
    Actor { kind: "scheduler", id: Value::from(WHO) }
}

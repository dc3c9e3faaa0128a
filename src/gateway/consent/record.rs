//! From a checked interaction to rows, leaves and one unit of work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::audit::payload::{Actor as PayloadActor, Notice as PayloadNotice, Payload, Row, Value};
use crate::crypto::envelope::{Field, RecordPlace};
use crate::crypto::mac::{Owner, RowId, hash};
use crate::domain::consent::{
    CLOCK_TOLERANCE, ConsentEventKind, ConsentState, Proof, Ruling, Scope, Transmission, fold,
};
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::{Channel, ConsentEventId, ConsentId, EntryId, InteractionId, PurposeId, SubjectId};
use crate::domain::identifier::IdentifierKind;
use crate::domain::legal_basis::LegalBasis;
use crate::domain::personal::Access;
use crate::domain::policy::{Policy, Trust};
use crate::domain::purpose::Purpose;
use crate::gateway::collect::Flaw;
use crate::gateway::identifiers::{json_text, own_category, own_term};
use crate::gateway::journal::{Stop, StopKind};
use crate::gateway::keyholder::{NewPersonKeys, PersonKeys};
use crate::gateway::meeting::Handle;
use crate::gateway::person::{Line, Person, basis_of, domain_event};
use crate::gateway::policy::PolicyInForce;
use crate::gateway::{Error, Gateway, LeafBuilder, Result, rows};
use crate::storage::consents::{NewEvent, NewLine, Relation};
use crate::storage::erasures::{self, Suppression};
use crate::storage::idempotency::{self, KeptAnswer};
use crate::storage::identities::{self, LinkProof};
use crate::storage::subjects::{self, NewSubject};
use crate::storage::{Collect, Expected, LeafRow, Step, Unit};

use super::check::{Code, Violation, is_explicit};
use super::notice::Shown;
use super::{Action, Caller, Choice, Interaction, Recorded, RecordedConsent};

const TO_SUPPRESS: Access =
    Access::because("a keyed mark of each identifier goes on the suppression list (Art. 21(3))");
const TO_SEAL: Access = Access::because("the evidence of a consent is sealed under its person's key (Art. 7(1))");

/// The scope of suppression that an objection to direct marketing makes (Art. 21(3)).
const MARKETING: &str = "direct_marketing";
/// Years after which an entry of the suppression list is reviewed.
const REVIEW_YEARS: i64 = 3;

/// Somebody the choices are about.
struct Party {
    person: Arc<Person>,
    keys: Arc<PersonKeys>,
    new: Option<NewPersonKeys>,
}

impl Party {
    fn id(&self) -> SubjectId {
        self.person.subject.id
    }
}

/// What is known about the people of an interaction.
pub(super) struct Known {
    owner: Party,
    /// The browser that a public key's yes binds, if the choices name a person besides.
    browser: Option<Party>,
    /// Other people whom further identifiers name: a no covers them too.
    others: Vec<Party>,
    /// The identifiers, most telling first, each with whose it is.
    handles: Vec<(Handle, Option<SubjectId>)>,
    /// When somebody whom an unknown identifier names was erased.
    pub(super) erased_at: Option<Timestamp>,
    /// When the choices were made, by the caller's word.
    pub(super) given_at: Timestamp,
    /// Keyed marks of everybody's identifiers, where the suppression list is in question.
    marks: Vec<Suppression>,
    /// Mark of the notice token, and whose consent it proved before.
    token: Option<([u8; 32], Option<SubjectId>)>,
}

/// What a unit comes to.
pub(super) struct Prepared {
    pub(super) unit: Box<dyn FnOnce(Option<KeptAnswer>) -> Unit + Send>,
    pub(super) new_keys: Vec<NewPersonKeys>,
    pub(super) stops: Vec<Stop>,
    pub(super) touched: Vec<SubjectId>,
    pub(super) recorded: Recorded,
    pub(super) subject: SubjectId,
}

impl Gateway {
    /// The identifiers of an interaction in the form in which they are looked up.
    pub(super) fn handles(
        &self,
        policy: &PolicyInForce,
        caller: &Caller,
        interaction: &Interaction,
    ) -> Vec<std::result::Result<Handle, Flaw>> {
        interaction
            .identifiers
            .iter()
            .map(|raw| self.handle_of(policy, caller.default_region.as_deref(), raw))
            .collect()
    }
}

impl Known {
    #[expect(clippy::too_many_arguments, reason = "everything an interaction rests on, read once")]
    pub(super) async fn look(
        house: &Gateway,
        policy: &PolicyInForce,
        caller: &Caller,
        interaction: &Interaction,
        shown: &std::result::Result<Option<Shown>, Code>,
        handles: Vec<std::result::Result<Handle, Flaw>>,
        fresh: bool,
        now: Timestamp,
    ) -> Result<Self> {
        let mut handles: Vec<Handle> = handles.into_iter().flatten().collect();
        handles.sort_by_key(Handle::priority);
        handles.dedup_by_key(|handle| handle.value);
        let mut known = Vec::with_capacity(handles.len());
        for handle in handles {
            let mut subject = house.subject_of(&handle, fresh).await?;
            if let Some(remembered) = subject
                && house.person(remembered).await?.is_none()
            {
                // Erased since it was remembered.
                subject = house.subject_of(&handle, true).await?;
            }
            known.push((handle, subject));
        }
        let unknown: Vec<&Handle> =
            known.iter().filter(|(_, subject)| subject.is_none()).map(|(handle, _)| handle).collect();
        let (erased_at, suppressed) = if unknown.is_empty() { (None, false) } else { house.marks_of(&unknown).await? };

        let (first, found) = known.first().ok_or(Error::Unacceptable("no usable identifier"))?;
        let owner = house.party(*found, first.is_device(), suppressed, fresh, now).await?;
        let gives = interaction.choices.iter().any(|choice| choice.action == Action::Give);
        let browser = match known.iter().find(|(handle, _)| handle.kind == IdentifierKind::AnonymousId) {
            Some((_, found)) if gives && caller.trust == Trust::Public && !first.is_device() => {
                Some(house.party(*found, true, false, fresh, now).await?)
            }
            _ => None,
        };
        let mut others: Vec<Party> = Vec::new();
        for (_, found) in &known {
            let Some(subject) = found else { continue };
            let is_counted = [Some(&owner), browser.as_ref()]
                .into_iter()
                .flatten()
                .chain(&others)
                .any(|party| party.person.members.iter().any(|member| member.id == *subject));
            if !is_counted {
                others.push(house.party(Some(*subject), false, false, fresh, now).await?);
            }
        }
        let token = match shown {
            Ok(Some(Shown { token: Some((id, _)), .. })) => {
                let mark = house.keyholder.secrets().tokens.duplicate("notice-token", "", id, &[0; 32]);
                let spent = house
                    .database
                    .read(move |c| idempotency::find(c, &mark, now.into()))
                    .await
                    .map_err(Error::store)?;
                Some((mark, spent.and_then(|spent| spent.subject)))
            }
            _ => None,
        };
        let mut found = Self {
            owner,
            browser,
            others,
            handles: known,
            erased_at,
            given_at: interaction.act.given_at.unwrap_or(now),
            marks: Vec::new(),
            token,
        };
        if found.concerns_suppression(&policy.policy, interaction) {
            found.marks = house.marks_for(policy, &found, now).await?;
        }
        Ok(found)
    }

    /// What is known for a withdrawal by the id of a line.
    pub(super) async fn look_at_line(
        house: &Gateway,
        policy: &PolicyInForce,
        line: &Line,
        fresh: bool,
        now: Timestamp,
    ) -> Result<Self> {
        let owner = house.party(Some(line.subject), false, false, fresh, now).await?;
        if owner.new.is_some() {
            return Err(Error::NotFound);
        }
        let mut found = Self {
            owner,
            browser: None,
            others: Vec::new(),
            handles: Vec::new(),
            erased_at: None,
            given_at: now,
            marks: Vec::new(),
            token: None,
        };
        let purpose = policy.policy.purposes.get(&line.purpose);
        if purpose.is_some_and(|purpose| objects_to_marketing(Action::Withdraw, purpose)) {
            found.marks = house.marks_for(policy, &found, now).await?;
        }
        Ok(found)
    }

    fn parties(&self) -> impl Iterator<Item = &Party> {
        std::iter::once(&self.owner).chain(&self.browser).chain(&self.others)
    }

    /// Whether the suppression list may change.
    fn concerns_suppression(&self, policy: &Policy, interaction: &Interaction) -> bool {
        let suppressed = self.parties().any(|party| party.person.members.iter().any(|member| member.suppressed));
        interaction.choices.iter().any(|choice| match choice.action {
            Action::Give => suppressed,
            action => named(policy, choice).any(|purpose| objects_to_marketing(action, purpose)),
        })
    }
}

/// Whether a no to this purpose is an objection to direct marketing (Art. 21(2)). Words do not
/// matter for the line; for the list it is enough that either the word or the record says so.
fn objects_to_marketing(action: Action, purpose: &Purpose) -> bool {
    let said = action == Action::Object;
    purpose.direct_marketing && (said || protective(action).on(purpose.basis) == ConsentEventKind::Object)
}

const fn protective(action: Action) -> ConsentEventKind {
    match action {
        Action::Give => ConsentEventKind::Give,
        Action::Refuse => ConsentEventKind::Refuse,
        Action::Withdraw => ConsentEventKind::Withdraw,
        Action::Object => ConsentEventKind::Object,
    }
}

/// The purposes that a choice names; `*` names all that a person decides about.
fn named<'a>(policy: &'a Policy, choice: &Choice) -> impl Iterator<Item = &'a Purpose> {
    let (all, name) = (choice.purpose == "*", choice.purpose.clone());
    policy.purposes.values().filter(move |purpose| {
        let decided =
            !matches!(purpose.basis, LegalBasis::Contract | LegalBasis::LegalObligation | LegalBasis::VitalInterests);
        purpose.id.as_str() == name || (all && decided)
    })
}

impl Gateway {
    async fn party(
        &self,
        found: Option<SubjectId>,
        device: bool,
        suppressed: bool,
        fresh: bool,
        now: Timestamp,
    ) -> Result<Party> {
        let person = match found {
            Some(subject) if fresh => self.person_now(subject).await?,
            Some(subject) => self.person(subject).await?,
            None => None,
        };
        let Some(person) = person else {
            let (person, new) = self.meet(device, suppressed, now)?;
            return Ok(Party { person, keys: Arc::clone(&new.keys), new: Some(new) });
        };
        let keys = match self.keyholder.people(vec![(person.subject.id, person.subject.key_version)]).await {
            Ok(mut keys) => keys.pop().ok_or(Error::MissingKey)?,
            // An erasure is on its way: whoever comes again afterwards is somebody new.
            Err(Error::NotFound) => return Err(Error::Contention),
            Err(other) => return Err(other),
        };
        Ok(Party { person, keys, new: None })
    }

    /// Keyed marks of every identifier of everybody concerned, and of those given.
    async fn marks_for(&self, policy: &PolicyInForce, known: &Known, now: Timestamp) -> Result<Vec<Suppression>> {
        let zone = policy.policy.controller.time_zone.clone();
        let day = now.to_zoned(zone).date();
        let review = day.saturating_add(REVIEW_YEARS.years());
        let mut marks: BTreeMap<[u8; 32], Suppression> = BTreeMap::new();
        let mut add = |kind: &IdentifierKind, namespace: &str, canonical: &str| -> Result<()> {
            let secrets = self.keyholder.secrets();
            let version = secrets.suppressions.newest().ok_or(Error::MissingKey)?;
            let value =
                secrets.suppressions.entry(version, version, kind, namespace, canonical).map_err(Error::Protection)?;
            let mark = Suppression {
                value,
                scope: MARKETING.to_owned(),
                kind: kind.spelling().into_owned(),
                namespace: namespace.to_owned(),
                base_version: version,
                top_version: version,
                day: day.to_string(),
                reason: "objection".to_owned(),
                review: review.to_string(),
            };
            marks.insert(value, mark);
            Ok(())
        };
        for (handle, _) in &known.handles {
            add(&handle.kind, &handle.namespace, handle.canonical.reveal(&TO_SUPPRESS))?;
        }
        for member in known.parties().filter(|party| party.new.is_none()).flat_map(|party| &party.person.members) {
            let id = member.id;
            let stored = self.database.read(move |c| identities::of_subject(c, id)).await.map_err(Error::store)?;
            let mut keys = self.keyholder.people(vec![(id, member.key_version)]).await?;
            let keys = keys.pop().ok_or(Error::MissingKey)?;
            for identifier in stored {
                let Some(kind) = IdentifierKind::parse(&identifier.kind) else { continue };
                let (canonical, _) = self.open_identifier(&policy.terms, &keys, &identifier)?;
                add(&kind, &identifier.namespace, canonical.reveal(&TO_SUPPRESS))?;
            }
        }
        Ok(marks.into_values().collect())
    }
}

/// The unit in the making.
struct Making<'a> {
    house: &'a Gateway,
    policy: &'a PolicyInForce,
    caller: &'a Caller,
    interaction: &'a Interaction,
    shown: Option<&'a Shown>,
    known: &'a Known,
    now: Timestamp,
    id: InteractionId,
    proof: Proof,
    /// The lines as they stand with what was made so far.
    lines: Vec<Line>,
    made: Made,
}

/// What an interaction leaves behind.
struct Made {
    rows: Collect,
    leaves: Vec<LeafRow>,
    stops: Vec<Stop>,
    /// The first leaf about each subject that got one.
    entries: BTreeMap<SubjectId, EntryId>,
    /// Subjects whose suppression changes.
    suppressed: BTreeMap<SubjectId, bool>,
}

/// Gathers everything the commit of an interaction needs.
pub(super) fn prepare(
    house: &Gateway,
    policy: &PolicyInForce,
    caller: &Caller,
    interaction: &Interaction,
    shown: &std::result::Result<Option<Shown>, Code>,
    known: Known,
    now: Timestamp,
) -> Result<Prepared> {
    let shown = shown.as_ref().ok().and_then(Option::as_ref);
    let binds =
        if caller.trust == Trust::Public { known.browser.as_ref().unwrap_or(&known.owner) } else { &known.owner };
    let subject = binds.id();
    let proof = proof(caller, interaction, shown, &known, subject, now);
    let mut making = Making::new(house, policy, caller, interaction, shown, &known, proof, now)?;
    let mut consents = Vec::new();
    for choice in &interaction.choices {
        for purpose in named(&policy.policy, choice) {
            for channel in channels(purpose, choice) {
                if choice.action == Action::Give {
                    let line = making.apply(binds, &purpose.id, channel.as_ref(), choice.action)?;
                    consents.push(making.answer(line, binds, purpose, channel.as_ref()));
                    making.lift(binds, purpose)?;
                    continue;
                }
                let line = making.apply(&known.owner, &purpose.id, channel.as_ref(), choice.action)?;
                consents.push(making.answer(line, &known.owner, purpose, channel.as_ref()));
                for other in &known.others {
                    making.apply(other, &purpose.id, channel.as_ref(), choice.action)?;
                }
            }
            if choice.action != Action::Give && objects_to_marketing(choice.action, purpose) {
                making.suppress()?;
            }
        }
    }
    making.meet_people()?;
    let recorded = Recorded { interaction: making.id.to_string(), consents, stops: Vec::new() };
    let made = making.made;
    Ok(gather(known, made, recorded, subject, now))
}

/// Records one no on one line, whatever it was opened by.
pub(super) fn prepare_withdrawal(
    house: &Gateway,
    policy: &PolicyInForce,
    caller: &Caller,
    interaction: &Interaction,
    known: Known,
    line: &Line,
    now: Timestamp,
) -> Result<Prepared> {
    let mut making = Making::new(house, policy, caller, interaction, None, &known, Proof::Signal, now)?;
    making.apply(&known.owner, &line.purpose, line.channel.as_ref(), Action::Withdraw)?;
    let purpose = policy.policy.purposes.get(&line.purpose);
    if purpose.is_some_and(|purpose| objects_to_marketing(Action::Withdraw, purpose)) {
        making.suppress()?;
    }
    let recorded = Recorded { interaction: making.id.to_string(), consents: Vec::new(), stops: Vec::new() };
    let made = making.made;
    let subject = known.owner.id();
    Ok(gather(known, made, recorded, subject, now))
}

/// The unit of what was made, with what must happen before and after it.
fn gather(mut known: Known, made: Made, recorded: Recorded, subject: SubjectId, now: Timestamp) -> Prepared {
    let Made { rows, leaves, stops, suppressed, entries } = made;
    let known_parties: Vec<&Party> = known.parties().filter(|party| party.new.is_none()).collect();
    let mut rests_on: Vec<Expected> = known_parties.iter().flat_map(|party| party.person.rests_on()).collect();
    rests_on.sort_unstable_by_key(|expected| expected.subject);
    rests_on.dedup_by_key(|expected| expected.subject);
    let changed = |party: &&&Party| entries.contains_key(&party.id());
    let raised: BTreeSet<SubjectId> = known_parties
        .iter()
        .filter(changed)
        .flat_map(|party| party.person.members.iter().map(|member| member.id))
        .collect();
    let touched = known.parties().flat_map(|party| party.person.members.iter().map(|member| member.id)).collect();
    let marks = std::mem::take(&mut known.marks);
    let spend = known.token.filter(|(_, spent)| spent.is_none()).map(|(mark, _)| KeptAnswer {
        mark,
        body_hash: [0; 32],
        subject: Some(subject),
        status: 0,
        answer: String::new(),
        at: now.into(),
    });
    let new_keys = [Some(&mut known.owner), known.browser.as_mut()]
        .into_iter()
        .flatten()
        .filter(|party| entries.contains_key(&party.id()))
        .filter_map(|party| party.new.take())
        .collect();

    let unit = move |kept: Option<KeptAnswer>| {
        Unit::change(rests_on, leaves, move |transaction, _| {
            for keep in [&kept, &spend].into_iter().flatten() {
                if !idempotency::insert(transaction.connection(), keep)? {
                    return Ok(Step::Stale);
                }
            }
            if !transaction.insert_people(&rows)? {
                return Ok(Step::Stale);
            }
            if suppressed.values().any(|on| *on) {
                erasures::insert_suppressions(transaction.connection(), &marks)?;
            }
            if suppressed.values().any(|on| !on) {
                let values: Vec<[u8; 32]> = marks.iter().map(|mark| mark.value).collect();
                erasures::lift_suppressions(transaction.connection(), &values, MARKETING)?;
            }
            for member in &raised {
                match suppressed.get(member) {
                    Some(on) => subjects::set_suppressed(transaction, *member, *on)?,
                    None => subjects::raise(transaction, *member).map(drop)?,
                }
            }
            Ok(Step::Commit)
        })
    };
    Prepared { unit: Box::new(unit), new_keys, stops, touched, recorded, subject }
}

/// The lines that a choice speaks of. A no without a channel covers all of them.
fn channels(purpose: &Purpose, choice: &Choice) -> Vec<Option<Channel>> {
    match &choice.channel {
        Some(channel) => vec![Some(Channel::new(channel))],
        None if purpose.channels.is_empty() => vec![None],
        None => purpose.channels.iter().cloned().map(Some).collect(),
    }
}

/// What a yes of this act rests on. The text named by a server is that server's word, as a banner's
/// is; a page's word without a token proves nothing, nor does a yes dated ahead, back, or before the
/// text was handed out, nor a token that proved somebody else's.
fn proof(
    caller: &Caller,
    interaction: &Interaction,
    shown: Option<&Shown>,
    known: &Known,
    subject: SubjectId,
    now: Timestamp,
) -> Proof {
    let proof = match (shown, caller.trust) {
        (Some(Shown { token: Some((_, issued_at)), .. }), _) => {
            let spent = known.token.and_then(|(_, spent)| spent).is_some_and(|spent| spent != subject);
            if spent || known.given_at.as_second() < issued_at.as_second() { Proof::None } else { Proof::Act }
        }
        (Some(_), Trust::Server) => Proof::Signal,
        _ => Proof::None,
    };
    let transmission = if interaction.act.offline { Transmission::Offline } else { Transmission::Online };
    proof.weighed(known.given_at, now, transmission)
}

impl<'a> Making<'a> {
    #[expect(clippy::too_many_arguments, reason = "the circumstances of one unit")]
    fn new(
        house: &'a Gateway,
        policy: &'a PolicyInForce,
        caller: &'a Caller,
        interaction: &'a Interaction,
        shown: Option<&'a Shown>,
        known: &'a Known,
        proof: Proof,
        now: Timestamp,
    ) -> Result<Self> {
        Ok(Self {
            house,
            policy,
            caller,
            interaction,
            shown,
            known,
            now,
            id: InteractionId::from_uuid(house.source.random_id().map_err(Error::Protection)?),
            proof,
            lines: known.parties().flat_map(|party| party.person.lines.iter().cloned()).collect(),
            made: Made {
                rows: Collect { at: Some(now.into()), ..Collect::default() },
                leaves: Vec::new(),
                stops: Vec::new(),
                entries: BTreeMap::new(),
                suppressed: BTreeMap::new(),
            },
        })
    }

    /// Records one choice on one line of one subject, where it changes anything. Gives the line.
    fn apply(
        &mut self,
        party: &Party,
        purpose: &PurposeId,
        channel: Option<&Channel>,
        action: Action,
    ) -> Result<Option<ConsentId>> {
        let scope = scope_of(party);
        let current = self.ruling(party.id(), purpose, channel, scope);
        let kind = match action {
            // Who takes back a yes withdraws it, whatever the word.
            Action::Refuse if current.is_given() => ConsentEventKind::Withdraw,
            action => protective(action),
        }
        .on(basis_of(&self.policy.policy, purpose));
        if let (Ruling::Denied(stands), Some(denial)) = (&current, kind.denial())
            && *stands >= denial
        {
            return Ok(self.line(party.id(), purpose, channel, scope).map(|line| line.id));
        }
        self.record(party, purpose, channel, scope, kind).map(Some)
    }

    fn record(
        &mut self,
        party: &Party,
        purpose: &PurposeId,
        channel: Option<&Channel>,
        scope: Scope,
        kind: ConsentEventKind,
    ) -> Result<ConsentId> {
        let is_give = kind == ConsentEventKind::Give;
        let entry = self.house.source.entry().map_err(Error::Protection)?;
        self.made.entries.entry(party.id()).or_insert(entry);
        let found = self.line(party.id(), purpose, channel, scope).map(|line| line.id);
        let line = match found {
            Some(line) => line,
            None => ConsentId::from_uuid(self.house.source.random_id().map_err(Error::Protection)?),
        };
        let policy = &self.policy.policy;
        let id = ConsentEventId::from_uuid(self.house.source.ordered_id(self.now).map_err(Error::Protection)?);
        let from = self.known.given_at.min(self.now);
        let mut row = NewEvent {
            id,
            consent: line,
            subject: party.id(),
            interaction: self.id,
            kind,
            actor: relation(self.interaction),
            proof: if is_give { self.proof } else { self.proof.max(Proof::Signal) },
            notice: self.shown.map(|shown| shown.notice.clone()),
            policy: policy.hash,
            given_at: self.known.given_at.into(),
            recorded_at: self.now.into(),
            valid_until: policy
                .purposes
                .get(purpose)
                .filter(|_| is_give)
                .and_then(|purpose| purpose.valid_until(from, &policy.controller.time_zone))
                .map(Into::into),
            explicit: is_explicit(self.interaction.act.method.as_deref()),
            collector: self.caller.id.clone(),
            method: known_method(self.interaction),
            evidence: self.evidence(party, id)?,
            mac: [0; 32],
            entry,
        };
        let canonical = rows::consent_event(&row);
        row.mac = party.keys.dek.row_mac(rows::CONSENT_EVENT, RowId::from(row.id), &canonical);
        let payload = Payload {
            purposes: vec![purpose.as_str().to_owned()],
            consent: Some(*line.as_bytes()),
            rows: vec![Row { kind: "consent_event", id: *row.id.as_bytes(), content_hash: hash(&canonical) }],
            notice: row.notice.as_ref().map(|notice| PayloadNotice {
                id: notice.id.as_str().to_owned(),
                version: notice.version,
                language: notice.language.clone(),
                text_hash: notice.text_hash,
            }),
            ..self.payload(party)
        };
        let event = match kind {
            ConsentEventKind::Give => Event::ConsentGiven,
            ConsentEventKind::Withdraw => Event::ConsentWithdrawn,
            ConsentEventKind::Object => Event::ObjectionRaised,
            _ => Event::ConsentRefused,
        };
        self.leave(party, entry, event, &payload)?;
        if found.is_none() {
            self.made.rows.lines.push(NewLine {
                id: line,
                subject: party.id(),
                purpose: purpose.clone(),
                channel: channel.cloned(),
                scope,
                created_at: self.now.into(),
                entry,
            });
            self.lines.push(Line {
                id: line,
                subject: party.id(),
                purpose: purpose.clone(),
                channel: channel.cloned(),
                scope,
                events: Vec::new(),
            });
        }
        if let Some(known) = self.lines.iter_mut().find(|known| known.id == line) {
            known.events.push(domain_event(&row.as_stored()));
        }
        if !is_give {
            self.made.stops.push(Stop {
                kind: StopKind::of(kind),
                subject: party.id(),
                what: purpose.as_str().to_owned(),
                at: self.now,
            });
        }
        self.made.rows.events.push(row);
        Ok(line)
    }

    /// An objection to direct marketing outlives the data: every identifier goes on the list.
    fn suppress(&mut self) -> Result<()> {
        let parties = std::iter::once(&self.known.owner).chain(&self.known.others);
        for party in parties {
            if self.made.suppressed.contains_key(&party.id())
                || party.person.members.iter().all(|member| member.suppressed)
            {
                continue;
            }
            let entry = self.house.source.entry().map_err(Error::Protection)?;
            self.made.entries.entry(party.id()).or_insert(entry);
            let payload = Payload {
                reason: Some("objection".to_owned()),
                more: vec![("scope", Value::from(MARKETING))],
                ..self.payload(party)
            };
            self.leave(party, entry, Event::SuppressionAdded, &payload)?;
            self.made.suppressed.extend(party.person.members.iter().map(|member| (member.id, true)));
            let subject = party.id();
            let at = self.now;
            self.made.stops.extend(self.known.marks.iter().map(|mark| Stop {
                kind: StopKind::Suppression,
                subject,
                what: data_encoding::HEXLOWER.encode(&mark.value),
                at,
            }));
        }
        Ok(())
    }

    /// A consent that the person gave after an entry of the list ends it (`cryptography.md` §7). It
    /// must be proven, made just now, and by the person: an entry knows its day only, so that a yes
    /// which was kept on a device cannot be told from one before the objection.
    fn lift(&mut self, party: &Party, purpose: &Purpose) -> Result<()> {
        let suppressed = party.person.members.iter().any(|member| member.suppressed);
        let age = self.now.duration_since(self.known.given_at);
        let is_live = !self.interaction.act.offline && age >= SignedDuration::ZERO && age <= CLOCK_TOLERANCE;
        let objected_at = party
            .person
            .lines
            .iter()
            .flat_map(|line| &line.events)
            .filter(|event| matches!(event.kind, ConsentEventKind::Object | ConsentEventKind::Withdraw))
            .map(|event| event.recorded_at)
            .max();
        let is_newer = objected_at.is_none_or(|at| at < self.known.given_at);
        let by_person = relation(self.interaction) == Relation::Myself && self.caller.trust == Trust::Server;
        let may =
            suppressed && purpose.direct_marketing && self.proof > Proof::None && is_live && is_newer && by_person;
        if !may || self.made.suppressed.contains_key(&party.id()) {
            return Ok(());
        }
        let entry = self.house.source.entry().map_err(Error::Protection)?;
        let payload = Payload {
            purposes: vec![purpose.id.as_str().to_owned()],
            more: vec![("scope", Value::from(MARKETING))],
            ..self.payload(party)
        };
        self.leave(party, entry, Event::SuppressionLifted, &payload)?;
        self.made.suppressed.extend(party.person.members.iter().map(|member| (member.id, false)));
        Ok(())
    }

    /// The rows of people met, and of identifiers learnt about somebody known.
    fn meet_people(&mut self) -> Result<()> {
        let known = self.known;
        let proof = match self.caller.trust {
            Trust::Public => LinkProof::Claimed,
            Trust::Server => LinkProof::Asserted,
        };
        for (handle, _) in known.handles.iter().filter(|(_, found)| found.is_none()) {
            let is_browser = handle.kind == IdentifierKind::AnonymousId && known.browser.is_some();
            let party = match &known.browser {
                Some(browser) if is_browser => browser,
                // A device that is named beside a person is not the person's identifier.
                _ if handle.is_device() && !known.owner.person.subject.device => continue,
                _ => &known.owner,
            };
            if !self.made.entries.contains_key(&party.id()) {
                continue;
            }
            if let (Some(_), Some(entry)) = (&party.new, self.made.entries.get(&party.id()).copied()) {
                self.made.rows.identifiers.push(self.house.new_identifier(
                    self.policy,
                    handle,
                    &party.keys,
                    proof,
                    self.now,
                    entry,
                )?);
            } else if self.caller.trust == Trust::Server {
                let entry = self.house.source.entry().map_err(Error::Protection)?;
                let new = self.house.new_identifier(self.policy, handle, &party.keys, proof, self.now, entry)?;
                let payload = Payload {
                    rows: vec![Row { kind: "identifier", id: *new.id.as_bytes(), content_hash: hash(&handle.value) }],
                    ..self.payload(party)
                };
                self.leave(party, entry, Event::IdentifierAdded, &payload)?;
                self.made.rows.identifiers.push(new);
            }
        }
        for party in known.parties().filter(|party| party.new.is_some()) {
            let Some(entry) = self.made.entries.get(&party.id()).copied() else { continue };
            self.made.rows.subjects.push(NewSubject {
                id: party.id(),
                profile: party.id(),
                device: party.person.subject.device,
                suppressed: self.made.suppressed.get(&party.id()).copied().unwrap_or(party.person.subject.suppressed),
                created_at: self.now.into(),
                entry,
            });
        }
        Ok(())
    }

    /// What the act left as evidence, sealed; `None`: nothing was brought.
    fn evidence(&self, party: &Party, event: ConsentEventId) -> Result<Option<Vec<u8>>> {
        let (act, actor) = (&self.interaction.act, &self.interaction.actor);
        let mut json = zeroize::Zeroizing::new(String::new());
        let parts = [
            ("interface", &act.interface),
            ("user_agent", &act.user_agent),
            ("address", &act.address),
            ("actor_reference", &actor.reference),
        ];
        for (name, value) in parts.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            let before = if json.is_empty() { '{' } else { ',' };
            json.push(before);
            json.push_str(&json_text(name));
            json.push(':');
            json.push_str(&zeroize::Zeroizing::new(json_text(value.reveal(&TO_SEAL))));
        }
        if json.is_empty() {
            return Ok(None);
        }
        json.push('}');
        let place = RecordPlace {
            installation: self.house.keyholder.installation,
            owner: Owner::from(party.id()),
            kind: rows::CONSENT_EVENT,
            record: RowId::from(event),
        };
        let terms = &self.policy.terms;
        let field = Field { field: own_term(terms, "own.evidence")?, category: own_category(terms)?, json: &json };
        let sealed = party
            .keys
            .dek
            .seal(&place, &[field], &mut |bytes| self.house.source.fill(bytes))
            .map_err(Error::Protection)?;
        Ok(Some(sealed.into_bytes()))
    }

    fn payload(&self, party: &Party) -> Payload {
        Payload {
            subject: Some(*party.id().as_bytes()),
            actor: Some(actor(self.caller)),
            collector: Some(self.caller.id.as_str().to_owned()),
            policy: Some(self.policy.policy.hash.0),
            ..Payload::default()
        }
    }

    fn leave(&mut self, party: &Party, entry: EntryId, event: Event, payload: &Payload) -> Result<()> {
        let leaf = LeafBuilder::new(&self.house.origin, entry, event, Outcome::Done)
            .part(&self.house.source, Role::Subject, &party.keys.evidence, payload)?
            .finish()?;
        self.made.leaves.push(leaf);
        Ok(())
    }

    fn line(&self, subject: SubjectId, purpose: &PurposeId, channel: Option<&Channel>, scope: Scope) -> Option<&Line> {
        self.lines.iter().find(|line| {
            line.subject == subject
                && line.purpose == *purpose
                && line.channel.as_ref() == channel
                && line.scope == scope
        })
    }

    fn ruling(&self, subject: SubjectId, purpose: &PurposeId, channel: Option<&Channel>, scope: Scope) -> Ruling {
        self.line(subject, purpose, channel, scope)
            .map_or(Ruling::Unknown, |line| fold(&line.events, basis_of(&self.policy.policy, purpose)))
    }

    /// What the caller is told of a choice. A public key learns nothing about a person but that the
    /// choice was taken.
    fn answer(
        &self,
        id: Option<ConsentId>,
        party: &Party,
        purpose: &Purpose,
        channel: Option<&Channel>,
    ) -> RecordedConsent {
        let hidden = self.caller.trust == Trust::Public && !party.person.subject.device;
        let line = id.filter(|_| !hidden).and_then(|id| self.lines.iter().find(|line| line.id == id));
        let Some(line) = line else {
            return RecordedConsent {
                id: None,
                purpose: purpose.id.as_str().to_owned(),
                channel: channel.map(|channel| channel.as_str().to_owned()),
                state: "accepted".to_owned(),
                valid_until: None,
                may_ask_again_at: None,
            };
        };
        let now = Now::of(&self.policy.policy, line, self.now);
        RecordedConsent {
            id: Some(line.id.to_string()),
            purpose: purpose.id.as_str().to_owned(),
            channel: channel.map(|channel| channel.as_str().to_owned()),
            state: now.state.to_owned(),
            valid_until: now.valid_until,
            may_ask_again_at: now.may_ask_again_at,
        }
    }
}

/// How a line stands at an instant.
pub(super) struct Now {
    pub(super) state: &'static str,
    pub(super) dpv_status: &'static str,
    pub(super) valid_until: Option<Timestamp>,
    pub(super) may_ask_again_at: Option<Timestamp>,
}

impl Now {
    pub(super) fn of(policy: &Policy, line: &Line, now: Timestamp) -> Self {
        let ruling = fold(&line.events, basis_of(policy, &line.purpose));
        let purpose = policy.purposes.get(&line.purpose);
        let state = match (&ruling, purpose) {
            (Ruling::Denied(denial), _) => ConsentState::Denied(denial.reason()),
            (ruling, Some(purpose)) => ruling.state(policy, purpose, None, now),
            (_, None) => ConsentState::Denied(crate::domain::reason::Reason::PurposeUnknown),
        };
        let zone = &policy.controller.time_zone;
        let refused_at = line
            .events
            .iter()
            .filter(|event| ruling.is_denied() && event.kind.denial().is_some())
            .map(|event| event.recorded_at)
            .max();
        Self {
            state: state.as_str(),
            dpv_status: state.dpv_status(),
            valid_until: match &ruling {
                Ruling::Given(given) => given.valid_until,
                _ => None,
            },
            may_ask_again_at: purpose.and_then(|purpose| purpose.may_ask_again_at(refused_at?, zone)),
        }
    }
}

fn scope_of(party: &Party) -> Scope {
    if party.person.subject.device { Scope::Device } else { Scope::Person }
}

fn relation(interaction: &Interaction) -> Relation {
    match interaction.actor.relation.as_deref() {
        Some("guardian") => Relation::Guardian,
        Some("agent") => Relation::Agent,
        _ => Relation::Myself,
    }
}

/// The method, if it is one that we know: free text of a caller is not kept.
fn known_method(interaction: &Interaction) -> String {
    interaction.act.method.as_deref().filter(|method| super::check::is_method(method)).unwrap_or_default().to_owned()
}

fn actor(caller: &Caller) -> PayloadActor {
    let kind = if caller.id.as_str().starts_with("token:") { "service" } else { "collector" };
    PayloadActor { kind, id: Value::from(caller.id.as_str()) }
}

/// The leaf of a refused interaction: who brought it, for what, and every code. Nobody is named, for
/// nothing was recorded about anybody.
pub(super) fn refusal(
    house: &Gateway,
    policy: &PolicyInForce,
    caller: &Caller,
    interaction: &Interaction,
    violations: &[Violation],
) -> Result<LeafRow> {
    let mut codes: Vec<&str> = violations.iter().map(|violation| violation.code.as_str()).collect();
    codes.dedup();
    let mut purposes: Vec<String> = interaction
        .choices
        .iter()
        .filter(|choice| policy.policy.purposes.contains_key(choice.purpose.as_str()))
        .map(|choice| choice.purpose.clone())
        .collect();
    purposes.sort_unstable();
    purposes.dedup();
    let payload = Payload {
        actor: Some(actor(caller)),
        collector: Some(caller.id.as_str().to_owned()),
        purposes,
        policy: Some(policy.policy.hash.0),
        reason: Some(codes.join(" ")),
        ..Payload::default()
    };
    house.installation_leaf(Event::ConsentRejected, Outcome::Refused, &payload, Vec::new())
}

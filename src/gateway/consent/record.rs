//! From a checked interaction to rows, leaves and one unit of work.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::audit::payload::Payload;
use crate::domain::consent::{Proof, Transmission};
use crate::domain::event::{Event, Outcome};
use crate::domain::id::{Channel, SubjectId};
use crate::domain::policy::Trust;
use crate::domain::purpose::Purpose;
use crate::gateway::journal::Stop;
use crate::gateway::keyholder::NewPersonKeys;
use crate::gateway::person::Line;
use crate::gateway::policy::PolicyInForce;
use crate::gateway::{Gateway, Result};
use crate::storage::idempotency::{self, KeptAnswer};
use crate::storage::{Expected, LeafRow, Step, Unit, erasures, subjects};

use super::check::{Code, Violation};
use super::known::{Known, Party, named, objects_to_marketing};
use super::making::{Made, Making, actor};
use super::notice::Shown;
use super::{Action, Caller, Choice, Interaction, Recorded};

/// The scope of suppression that an objection to direct marketing makes (Art. 21(3)).
pub(in crate::gateway) const MARKETING: &str = "direct_marketing";

/// What a unit comes to.
pub(super) struct Prepared {
    pub(super) unit: Box<dyn FnOnce(Option<KeptAnswer>) -> Unit + Send>,
    pub(super) new_keys: Vec<NewPersonKeys>,
    pub(super) stops: Vec<Stop>,
    pub(super) touched: Vec<SubjectId>,
    pub(super) recorded: Recorded,
    pub(super) subject: SubjectId,
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

//! Whether anything was released about a person after that person, or the house, had forbidden it.
//!
//! Only what a decision could not have overlooked is held against a release: a no of the same person,
//! on a line that covers the use, until a yes on that line. What came of it is decided by the policy
//! that the release names, for a purpose that rests on a contract or a law asks nobody
//! (Art. 6(1)(b)–(c)). Remembered are people with a no that stands, and nobody else.
//!
//! Deliberately absent: objections to direct marketing as a whole, and noes of other members of a
//! profile. They narrow decisions too, but whom and what they covered at that instant is not in the
//! log, and a false alarm is worse than a weaker check. Leaves that do not name the scope of their
//! line, as older versions wrote them, are not judged.

use std::collections::HashMap;
use std::sync::Arc;

use crate::audit::finding::{Code, Finding};
use crate::audit::payload::Value;
use crate::domain::consent::Scope;
use crate::domain::decision::{is_within, skips_consent};
use crate::domain::event::{Event, Outcome};
use crate::domain::id::{PurposeId, SubjectId};
use crate::domain::policy::{Policy, PolicyHash};
use crate::gateway::Result;
use crate::gateway::verify::pruned::policy;
use crate::storage::Connection;

use super::{Listed, Opened};

/// Events that end or begin a prohibition.
pub(super) const REMEMBERED: [Event; 8] = [
    Event::ConsentWithdrawn,
    Event::ObjectionRaised,
    Event::ErasureStarted,
    Event::RestrictionSet,
    Event::ConsentGiven,
    Event::ConsentConfirmed,
    Event::ObjectionEnded,
    Event::RestrictionLifted,
];

/// Prohibitions that are remembered at most, about 100 bytes each.
const REMEMBERED_STOPS: usize = 400_000;
/// Policies that are remembered at most.
const REMEMBERED_POLICIES: usize = 16;

/// Why nothing may be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The person said no.
    Will,
    /// The person is being erased.
    Erasure,
    /// The processing is restricted (Art. 18).
    Restriction,
}

/// A prohibition that stands.
struct Stop {
    seq: u64,
    why: Why,
    /// `None`: every purpose.
    purpose: Option<PurposeId>,
    /// The line it was said on.
    line: Option<[u8; 16]>,
    /// `None`: every channel.
    channel: Option<String>,
    /// Whether it covers only what came from a device.
    of_device: bool,
}

/// What must be remembered while the log is read.
#[derive(Default)]
pub(super) struct Releases {
    stops: HashMap<SubjectId, Vec<Stop>>,
    count: usize,
    /// Names are shared: a policy has few, and a log many who say no to them.
    names: HashMap<String, PurposeId>,
    policies: HashMap<[u8; 32], Option<Arc<Policy>>>,
}

impl Releases {
    /// Takes the next opened part.
    pub(super) fn take(&mut self, connection: &mut Connection, part: &Opened, findings: &mut Listed) -> Result<()> {
        let Some(subject) = part.subject.filter(|_| part.outcome == Outcome::Done) else { return Ok(()) };
        match part.event {
            Event::ConsentWithdrawn | Event::ObjectionRaised => self.forbid(subject, part, Why::Will),
            Event::ErasureStarted => self.forbid(subject, part, Why::Erasure),
            Event::RestrictionSet => self.forbid(subject, part, Why::Restriction),
            Event::ConsentGiven | Event::ConsentConfirmed | Event::ObjectionEnded => {
                self.permit(subject, part, Why::Will);
            }
            Event::RestrictionLifted => self.permit(subject, part, Why::Restriction),
            Event::DecisionGranted | Event::DisclosureReleased | Event::DeliveryReleased => {
                self.judge(connection, subject, part, findings)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn forbid(&mut self, subject: SubjectId, part: &Opened, why: Why) {
        let scope = text(&part.payload, "scope").and_then(Scope::parse);
        if why == Why::Will && scope.is_none() {
            return;
        }
        let named: Vec<PurposeId> = purposes(&part.payload).map(|name| self.name(name)).collect();
        let of: Vec<Option<PurposeId>> =
            if named.is_empty() { vec![None] } else { named.into_iter().map(Some).collect() };
        for purpose in of {
            if why == Why::Will && purpose.is_none() || self.count >= REMEMBERED_STOPS {
                continue;
            }
            self.count += 1;
            self.stops.entry(subject).or_default().push(Stop {
                seq: part.seq,
                why,
                purpose,
                line: line(&part.payload),
                channel: text(&part.payload, "channel").map(str::to_owned),
                of_device: scope == Some(Scope::Device),
            });
        }
    }

    fn permit(&mut self, subject: SubjectId, part: &Opened, why: Why) {
        let Some(stops) = self.stops.get_mut(&subject) else { return };
        let (line, before) = (line(&part.payload), stops.len());
        let named: Vec<&str> = purposes(&part.payload).collect();
        stops.retain(|stop| {
            let of_purpose = named.is_empty()
                || stop.purpose.as_ref().is_none_or(|purpose| named.iter().any(|name| *name == purpose.as_str()));
            let is_ended = match (line, stop.line) {
                (Some(line), Some(stopped)) => line == stopped,
                _ => of_purpose,
            };
            stop.why != why || !is_ended
        });
        self.count = self.count.saturating_sub(before - stops.len());
        if stops.is_empty() {
            self.stops.remove(&subject);
        }
    }

    fn judge(
        &mut self,
        connection: &mut Connection,
        subject: SubjectId,
        part: &Opened,
        findings: &mut Listed,
    ) -> Result<()> {
        if !self.stops.contains_key(&subject) {
            return Ok(());
        }
        let Some(hash) = part.payload.get("policy").and_then(Value::bytes) else { return Ok(()) };
        let Some(policy) = self.policy(connection, hash)? else { return Ok(()) };
        for name in purposes(&part.payload) {
            let id = PurposeId::new(name);
            let Some(purpose) = policy.purposes.get(&id) else { continue };
            let channel = match (text(&part.payload, "channel"), purpose.channels.as_slice()) {
                (Some(channel), _) => Some(channel),
                (None, [only]) => Some(only.as_str()),
                (None, _) => None,
            };
            let forbids = |stop: &&Stop| {
                // What the law obliges to keep may be used for that while and after a person is erased.
                let is_asked = stop.why == Why::Restriction || !skips_consent(purpose.basis);
                let concerns_use = stop.purpose.as_ref().is_none_or(|broader| is_within(&policy, &id, broader));
                let concerns_channel = stop.channel.is_none() || stop.channel.as_deref() == channel;
                // Which device a decision was about is not in its leaf; a delivery is about its own.
                let concerns_device = !stop.of_device || part.event == Event::DeliveryReleased;
                is_asked && concerns_use && concerns_channel && concerns_device
            };
            let stops = self.stops.get(&subject).map_or(&[][..], Vec::as_slice);
            if let Some(stop) = stops.iter().find(forbids) {
                let why = match stop.why {
                    Why::Will => "the person had said no",
                    Why::Erasure => "the erasure of the person had begun",
                    Why::Restriction => "the processing was restricted",
                };
                let text =
                    format!("Data was released although {why} in entry {}, and nothing since permits it.", stop.seq);
                findings.push(Finding::at(Code::ReleasedAfterWithdrawal, part.seq, text));
            }
        }
        Ok(())
    }

    fn policy(&mut self, connection: &mut Connection, hash: [u8; 32]) -> Result<Option<Arc<Policy>>> {
        if let Some(known) = self.policies.get(&hash) {
            return Ok(known.clone());
        }
        if self.policies.len() >= REMEMBERED_POLICIES {
            self.policies.clear();
        }
        let found = policy(connection, PolicyHash(hash))?.map(Arc::new);
        self.policies.insert(hash, found.clone());
        Ok(found)
    }

    fn name(&mut self, name: &str) -> PurposeId {
        match self.names.get(name) {
            Some(known) => known.clone(),
            None => {
                let id = PurposeId::new(name);
                self.names.insert(name.to_owned(), id.clone());
                id
            }
        }
    }
}

fn purposes(payload: &Value) -> impl Iterator<Item = &str> {
    payload.get("purposes").map_or(&[][..], Value::items).iter().filter_map(Value::text)
}

fn line(payload: &Value) -> Option<[u8; 16]> {
    payload.get("consent").and_then(Value::bytes)
}

fn text<'a>(payload: &'a Value, key: &str) -> Option<&'a str> {
    payload.get(key).and_then(Value::text)
}

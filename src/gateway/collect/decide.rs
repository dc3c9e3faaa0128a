//! Stage 3, decide: which fields may be kept, and to whom they are promised.

use std::rc::Rc;

use jiff::Timestamp;

use crate::domain::decision::{Decision, Question, decide};
use crate::domain::id::{FieldPath, PurposeId, RecipientId, SubjectId};
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::domain::subject::Standing;

use super::classify::Classified;

/// What was decided about the fields of an event.
pub(super) struct Ruling {
    /// Fields that at least one purpose may use, sorted.
    pub(super) kept: Vec<FieldPath>,
    /// Fields that none may use, sorted.
    pub(super) dropped: Vec<FieldPath>,
    /// Promises to whom the sender does not leave out.
    pub(super) promised: Vec<(RecipientId, PurposeId)>,
    /// Every decision: purpose, recipient (none: the controller itself), and the strongest reason
    /// against it.
    pub(super) decisions: Vec<(PurposeId, Option<RecipientId>, Option<Reason>)>,
    /// Why nothing was kept, if nothing was.
    pub(super) reasons: Vec<Reason>,
}

/// An event that was decided.
pub(super) struct Decided<'a> {
    pub(super) classified: Classified<'a>,
    pub(super) ruling: Rc<Ruling>,
    only: (),
}

/// The circumstances of the decisions of one unit.
pub(super) struct Circumstances<'a> {
    pub(super) policy: &'a Policy,
    pub(super) standing: &'a Standing,
    pub(super) subject: SubjectId,
    pub(super) device: Option<SubjectId>,
    pub(super) now: Timestamp,
}

/// Rulings of a unit, remembered: events of one shape without signals of their own are decided once.
#[derive(Default)]
pub(super) struct Rulings(Vec<(Vec<FieldPath>, Rc<Ruling>)>);

impl<'a> Decided<'a> {
    pub(super) fn new(circumstances: &Circumstances<'_>, rulings: &mut Rulings, classified: Classified<'a>) -> Self {
        let event = &classified.identified.event;
        let plain = event.signals.is_empty() && event.purposes.is_none();
        let remembered = plain.then(|| rulings.0.iter().find(|(of, _)| classified.has_paths(of))).flatten();
        let ruling = match remembered {
            Some((_, ruling)) => Rc::clone(ruling),
            None => {
                let paths = classified.paths();
                let ruling = Rc::new(rule(circumstances, &classified, &paths));
                if plain {
                    rulings.0.push((paths, Rc::clone(&ruling)));
                }
                ruling
            }
        };
        Self { classified, ruling, only: () }
    }

    /// Promises: to whom and for what. What the sender leaves out narrows and never widens.
    pub(super) fn promised(&self) -> impl Iterator<Item = &(RecipientId, PurposeId)> {
        let narrowing = &self.classified.identified.event.narrowing;
        self.ruling.promised.iter().filter(|(recipient, _)| narrowing.admits(recipient))
    }

    /// Whether anything of the event may be kept.
    pub(super) fn is_kept(&self) -> bool {
        let () = self.only;
        !self.ruling.kept.is_empty()
    }
}

fn rule(circumstances: &Circumstances<'_>, classified: &Classified<'_>, paths: &[FieldPath]) -> Ruling {
    let policy = circumstances.policy;
    let event = &classified.identified.event;
    let mut ruling = Ruling {
        kept: Vec::new(),
        dropped: Vec::new(),
        promised: Vec::new(),
        decisions: Vec::new(),
        reasons: Vec::new(),
    };
    let admitted = |purpose: &PurposeId| event.purposes.as_ref().is_none_or(|purposes| purposes.contains(purpose));

    for purpose in policy.purposes.values().filter(|purpose| admitted(&purpose.id)) {
        let asked: Vec<FieldPath> = classified
            .fields
            .iter()
            .filter(|(field, _)| field.purposes.contains(&purpose.id))
            .map(|(field, _)| field.path.clone())
            .collect();
        if asked.is_empty() {
            continue;
        }
        let decision = ask(circumstances, event, &purpose.id, None, &asked);
        note(&mut ruling, &decision);
        if decision.allowed.is_empty() {
            ruling.reasons.extend(decision.reasons.iter().copied());
            ruling.reasons.extend(decision.denied.iter().flat_map(|(_, reasons)| reasons.iter().copied()));
        }
        ruling.kept.extend(decision.allowed);
    }
    ruling.kept.sort_unstable();
    ruling.kept.dedup();
    ruling.dropped = paths.iter().filter(|path| ruling.kept.binary_search(path).is_err()).cloned().collect();

    if ruling.kept.is_empty() {
        if ruling.reasons.is_empty() {
            ruling.reasons.push(Reason::FieldNotAllowed);
        }
        ruling.reasons.sort_unstable();
        ruling.reasons.dedup();
        return ruling;
    }
    ruling.reasons.clear();
    for recipient in policy.recipients.values() {
        for (purpose, fields) in recipient.purposes.iter().filter(|(purpose, _)| admitted(purpose)) {
            let asked: Vec<FieldPath> =
                fields.iter().filter(|path| ruling.kept.binary_search(path).is_ok()).cloned().collect();
            if asked.is_empty() {
                continue;
            }
            let decision = ask(circumstances, event, purpose, Some(&recipient.id), &asked);
            note(&mut ruling, &decision);
            if !decision.allowed.is_empty() {
                ruling.promised.push((recipient.id.clone(), purpose.clone()));
            }
        }
    }
    ruling
}

fn ask(
    circumstances: &Circumstances<'_>,
    event: &crate::domain::collected::Collected,
    purpose: &PurposeId,
    recipient: Option<&RecipientId>,
    fields: &[FieldPath],
) -> Decision {
    let question = Question {
        subject: circumstances.subject,
        purpose,
        channel: None,
        recipient,
        fields,
        device: circumstances.device,
        signals: &event.signals,
        collected_at: None,
    };
    decide(circumstances.policy, circumstances.standing, &question, circumstances.now)
}

fn note(ruling: &mut Ruling, decision: &Decision) {
    ruling.decisions.push((decision.purpose.clone(), decision.recipient.clone(), decision.strongest()));
}

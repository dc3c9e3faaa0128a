//! The decision: may these fields of this person be used for this purpose, by this recipient, now?
//!
//! Pure, total, default deny; it gives every reason that applies, strongest first. Nothing here
//! widens: each step can only add reasons, and a field is allowed when no step found one.

use jiff::Timestamp;

use super::category::Field;
use super::consent::{ConsentLine, ConsentState, Denial, Ruling, Scope};
use super::id::{Channel, FieldPath, PurposeId, RecipientId, RetentionClassId, SubjectId};
use super::legal_basis::LegalBasis;
use super::policy::Policy;
use super::purpose::Purpose;
use super::reason::{Reason, Reasons};
use super::recipient::{Recipient, RecipientRole};
use super::signal::{Says, Signal};
use super::subject::{MemberLine, Restriction, Standing, SubjectStatus};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The subject in question.
    pub subject: SubjectId,
    /// For what.
    pub purpose: &'a PurposeId,
    /// By which channel. `None`: the purpose's own if it lists exactly one, else no channel, and
    /// then a purpose that keeps a consent for each channel permits nothing.
    pub channel: Option<&'a Channel>,
    /// By whom; `None`: by the controller itself.
    pub recipient: Option<&'a RecipientId>,
    /// Which fields.
    pub fields: &'a [FieldPath],
    /// Whether the record came from the device that the subject stands for.
    pub device: Option<SubjectId>,
    /// The record's own signals.
    pub signals: &'a [Signal],
    /// When the data was collected, if one record is in question (retention).
    pub collected_at: Option<Timestamp>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// For what.
    pub purpose: PurposeId,
    /// By whom.
    pub recipient: Option<RecipientId>,
    /// The fields that may be used. Empty exactly when the answer is no.
    pub allowed: Vec<FieldPath>,
    /// The fields that have reasons of their own against them, each with these, strongest first.
    /// Reasons against the use as a whole are not repeated here.
    pub denied: Vec<(FieldPath, Vec<Reason>)>,
    /// Reasons against the use as a whole, strongest first. If there is one, no field is allowed.
    pub reasons: Vec<Reason>,
}

/// Decides. Total: whatever is asked, an answer comes; in any doubt it is no.
///
/// Whoever asks about no field at all is answered no, with `field_not_allowed`; what stands against
/// a purpose as such says [`against_use`].
#[must_use]
pub fn decide(policy: &Policy, standing: &Standing, question: &Question<'_>, now: Timestamp) -> Decision {
    let mut reasons = against_use(policy, standing, question, now);
    if question.fields.is_empty() {
        reasons.add(Reason::FieldNotAllowed);
    }

    let mut allowed = Vec::with_capacity(if reasons.is_empty() { question.fields.len() } else { 0 });
    let mut denied = Vec::new();
    let mut periods = Periods::new(policy, question.collected_at, now);
    for field in question.fields {
        let against = against_field(policy, standing, question, field, &mut periods);
        if !against.is_empty() {
            denied.push((field.clone(), against.strongest_first()));
        } else if reasons.is_empty() {
            allowed.push(field.clone());
        }
    }
    Decision {
        purpose: question.purpose.clone(),
        recipient: question.recipient.cloned(),
        allowed,
        denied,
        reasons: reasons.strongest_first(),
    }
}

/// Reasons against the use as a whole, in the order of the product page: the person's state, what
/// the person and the record said, the basis, then the recipient and where it sits.
#[must_use]
pub fn against_use(policy: &Policy, standing: &Standing, question: &Question<'_>, now: Timestamp) -> Reasons {
    let mut reasons = Reasons::default();
    against_state(policy, standing, question, &mut reasons);

    match policy.purposes.get(question.purpose) {
        None => reasons.add(Reason::PurposeUnknown),
        Some(purpose) => {
            if !purpose.active {
                reasons.add(Reason::PurposeInactive);
            }
            against_marketing(policy, standing, purpose, &mut reasons);
            if !skips_consent(purpose.basis) {
                against_will(policy, standing, question, purpose, &mut reasons);
            }
            against_basis(policy, standing, question, purpose, now, &mut reasons);
        }
    }
    if let Some(id) = question.recipient {
        match policy.recipients.get(id) {
            None => reasons.add(Reason::RecipientNotAllowed),
            Some(recipient) => against_recipient(policy, recipient, question.purpose, now, &mut reasons),
        }
    }
    reasons
}

/// Erased, restricted, retained only: these stand above every basis.
fn against_state(policy: &Policy, standing: &Standing, question: &Question<'_>, reasons: &mut Reasons) {
    match &standing.status {
        SubjectStatus::Active => {}
        SubjectStatus::Erasing | SubjectStatus::Erased => reasons.add(Reason::Erased),
        SubjectStatus::RetainedOnly { purpose } if purpose == question.purpose => {}
        SubjectStatus::RetainedOnly { .. } => reasons.add(Reason::Restricted),
    }
    for restriction in &standing.restrictions {
        let restricted = match restriction {
            Restriction::Person => true,
            Restriction::Purpose(purpose) => is_within(policy, question.purpose, purpose),
            Restriction::Field(_) => false, // Asked field by field.
        };
        if restricted {
            reasons.add(Reason::Restricted);
        }
    }
}

/// GDPR Art. 21(2)–(3): an objection to one use for direct marketing is one to all of them, and the
/// suppression list stands, whatever the basis.
fn against_marketing(policy: &Policy, standing: &Standing, purpose: &Purpose, reasons: &mut Reasons) {
    if !purpose.direct_marketing {
        return;
    }
    if standing.suppressed {
        reasons.add(Reason::Suppressed);
    }
    // An objection to a purpose that has since left the policy may have been one to marketing.
    let is_marketing = |id: &PurposeId| policy.purposes.get(id).is_none_or(|other| other.direct_marketing);
    for MemberLine { line, .. } in &standing.lines {
        if line.ruling == Ruling::Denied(Denial::Objected) && is_marketing(&line.purpose) {
            reasons.add(Reason::Objected);
        }
    }
}

/// Contract and legal obligation do not rest on what the person wants (Art. 6(1)(b)–(c)).
#[must_use]
pub const fn skips_consent(basis: LegalBasis) -> bool {
    matches!(basis, LegalBasis::Contract | LegalBasis::LegalObligation)
}

/// Every no that covers this use: of the lines of any member of the profile, at the purpose or a
/// broader one, and of the record's own signals. The order of lines and signals does not matter.
fn against_will(
    policy: &Policy,
    standing: &Standing,
    question: &Question<'_>,
    purpose: &Purpose,
    reasons: &mut Reasons,
) {
    let channel = channel_in_question(question, purpose);
    for MemberLine { subject, line, .. } in &standing.lines {
        if let Ruling::Denied(denial) = &line.ruling
            && scope_covers(line.scope, *subject, question)
            && channel_may_concern(line, channel)
            && is_within(policy, question.purpose, &line.purpose)
        {
            reasons.add(denial.reason());
        }
    }
    for signal in question.signals {
        for (mapped, says) in &signal.says {
            let reason = match says {
                Says::Allows => continue, // A yes counts as a consent line, or not at all.
                Says::Denies | Says::Omits => Reason::SignalDenied,
                Says::Undecodable => Reason::SignalUnreadable,
            };
            if is_within(policy, question.purpose, mapped) {
                reasons.add(reason);
            }
        }
    }
}

/// The conditions of the legal basis itself.
fn against_basis(
    policy: &Policy,
    standing: &Standing,
    question: &Question<'_>,
    purpose: &Purpose,
    now: Timestamp,
    reasons: &mut Reasons,
) {
    match purpose.basis {
        LegalBasis::Consent => against_consent(policy, standing, question, purpose, now, reasons),
        LegalBasis::LegitimateInterests if purpose.lia.is_none() => reasons.add(Reason::NoBasis),
        // The evidence of the four conditions of ePrivacy Art. 13(2) is not kept yet.
        LegalBasis::SoftOptIn => reasons.add(Reason::NoBasis),
        LegalBasis::Contract
        | LegalBasis::LegalObligation
        | LegalBasis::VitalInterests
        | LegalBasis::PublicTask
        | LegalBasis::LegitimateInterests => {}
    }
}

/// One active line must cover the use: at this very purpose (grants do not go down), on this very
/// channel, of a subject whose yes counts here. Without one the reasons of those that failed count.
fn against_consent(
    policy: &Policy,
    standing: &Standing,
    question: &Question<'_>,
    purpose: &Purpose,
    now: Timestamp,
    reasons: &mut Reasons,
) {
    let channel = channel_in_question(question, purpose);
    let is_listed = match channel {
        None => purpose.channels.is_empty(),
        Some(channel) => purpose.channels.contains(channel),
    };
    let mut failed = Reasons::default();
    for MemberLine { subject, may_grant, line } in &standing.lines {
        if !is_listed
            || !may_grant
            || line.purpose != purpose.id
            || line.channel.as_ref() != channel
            || !scope_covers(line.scope, *subject, question)
        {
            continue;
        }
        match line.ruling.state(policy, purpose, question.recipient, now) {
            ConsentState::Active => return,
            ConsentState::Denied(reason) => failed.add(reason),
        }
    }
    if failed.is_empty() {
        failed.add(Reason::NoConsent);
    }
    reasons.add_all(failed);
}

/// The channel that a consent must be for. A purpose without channels has lines without one.
fn channel_in_question<'a>(question: &Question<'a>, purpose: &'a Purpose) -> Option<&'a Channel> {
    match (purpose.channels.as_slice(), question.channel) {
        ([], _) => None,
        ([only], None) => Some(only),
        ([..], asked) => asked,
    }
}

/// Whether a no on this line may concern the channel: in doubt it does.
fn channel_may_concern(line: &ConsentLine, channel: Option<&Channel>) -> bool {
    match (&line.channel, channel) {
        (Some(refused), Some(asked)) => refused == asked,
        _ => true,
    }
}

/// A line of the person covers every record, a line of a device the records that came from it.
fn scope_covers(scope: Scope, subject: SubjectId, question: &Question<'_>) -> bool {
    match scope {
        Scope::Person => true,
        Scope::Device => question.device == Some(subject),
    }
}

/// Whether `purpose` is `broader` or lies within it: denials go down the tree. Where the tree is
/// broken (an undeclared parent or a cycle, which no checked policy has) the denial holds.
#[must_use]
pub fn is_within(policy: &Policy, purpose: &PurposeId, broader: &PurposeId) -> bool {
    let mut current = purpose;
    // No chain without a cycle is longer than there are purposes.
    for _ in 0..=policy.purposes.len() {
        if current == broader {
            return true;
        }
        match policy.purposes.get(current).map(|found| &found.within) {
            Some(Some(parent)) => current = parent,
            Some(None) => return false,
            None => return true,
        }
    }
    true
}

/// The recipient: declared for the purpose, under contract, and reachable under Chapter V today.
fn against_recipient(
    policy: &Policy,
    recipient: &Recipient,
    purpose: &PurposeId,
    now: Timestamp,
    reasons: &mut Reasons,
) {
    if !recipient.purposes.contains_key(purpose) {
        reasons.add(Reason::RecipientNotAllowed);
    }
    let today = now.to_zoned(policy.controller.time_zone.clone()).date();
    let contract_runs = match (&recipient.contract, recipient.role) {
        (None, RecipientRole::Processor | RecipientRole::Joint) => false, // Art. 28(3), 26.
        _ => recipient.contract_until.is_none_or(|last| today <= last),
    };
    if !contract_runs {
        reasons.add(Reason::ContractMissing);
    }
    if !recipient.countries().all(|country| policy.covers_transfer(recipient, country, today)) {
        reasons.add(Reason::TransferNoSafeguard);
    }
}

/// Reasons against one field: that it is restricted, kept too long, special without a ground, or
/// not meant for the purpose or the recipient.
fn against_field<'a>(
    policy: &'a Policy,
    standing: &Standing,
    question: &Question<'_>,
    path: &FieldPath,
    periods: &mut Periods<'a>,
) -> Reasons {
    let mut reasons = Reasons::default();
    let is_this = |restriction: &Restriction| matches!(restriction, Restriction::Field(field) if field == path);
    if standing.restrictions.iter().any(is_this) {
        reasons.add(Reason::Restricted);
    }
    let Some(field) = policy.fields.get(path) else {
        reasons.add(Reason::FieldNotAllowed);
        return reasons;
    };
    if !field.purposes.contains(question.purpose) {
        reasons.add(Reason::FieldNotAllowed);
    }
    if let Some(id) = question.recipient
        && let Some(recipient) = policy.recipients.get(id)
        && !recipient.purposes.get(question.purpose).is_some_and(|fields| fields.contains(path))
    {
        reasons.add(Reason::FieldNotAllowed);
    }
    if field.special
        && let Some(purpose) = policy.purposes.get(question.purpose)
        && !purpose.explicit
    {
        // No other ground of Art. 9(2) can be declared yet.
        reasons.add(match purpose.basis {
            LegalBasis::Consent => Reason::Art9NotExplicit,
            _ => Reason::NoBasis,
        });
    }
    if periods.is_over(field) {
        reasons.add(Reason::RetentionExpired);
    }
    reasons
}

impl Decision {
    /// Whether anything may be used.
    #[must_use]
    pub fn permits(&self) -> bool {
        !self.allowed.is_empty()
    }

    /// The reason people are told when nothing may be used: the strongest; `None` if something may.
    #[must_use]
    pub fn strongest(&self) -> Option<Reason> {
        if self.permits() {
            return None;
        }
        let of_fields = self.denied.iter().flat_map(|(_, reasons)| reasons);
        self.reasons.first().copied().or_else(|| of_fields.min().copied())
    }

    /// The answer where state, key or policy cannot be read, or a row fails its MAC: a no that
    /// releases nothing.
    #[must_use]
    pub fn refused(question: &Question<'_>, reason: Reason) -> Self {
        Self {
            purpose: question.purpose.clone(),
            recipient: question.recipient.cloned(),
            allowed: Vec::new(),
            denied: Vec::new(),
            reasons: vec![reason],
        }
    }
}

/// Which retention classes are over for data collected at one instant. The fields of a record
/// share a class or two, so the last answer is kept.
struct Periods<'a> {
    policy: &'a Policy,
    collected_at: Option<Timestamp>,
    now: Timestamp,
    last: Option<(&'a RetentionClassId, bool)>,
}

impl<'a> Periods<'a> {
    const fn new(policy: &'a Policy, collected_at: Option<Timestamp>, now: Timestamp) -> Self {
        Self { policy, collected_at, now, last: None }
    }

    /// Whether the field's period is over. Periods that start with the last contact or the end of a
    /// contract are not known to a decision: the retention run ends them.
    fn is_over(&mut self, field: &'a Field) -> bool {
        let Some(collected_at) = self.collected_at else {
            return false;
        };
        if let Some((class, over)) = self.last
            && *class == field.retention
        {
            return over;
        }
        let over = match self.policy.retention.get(&field.retention) {
            None => true, // A class nobody declared keeps nothing.
            Some(class) => {
                class.ends_at(collected_at, &self.policy.controller.time_zone).is_some_and(|end| end <= self.now)
            }
        };
        self.last = Some((&field.retention, over));
        over
    }
}

#[cfg(test)]
#[path = "tests/decision.rs"]
mod tests;

#[cfg(test)]
#[path = "tests/sample.rs"]
pub(crate) mod sample;

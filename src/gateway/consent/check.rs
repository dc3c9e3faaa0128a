//! What a valid consent needs (`consent.md` §2). A no needs next to nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::id::PurposeId;
use crate::domain::identifier::IdentifierKind;
use crate::domain::legal_basis::LegalBasis;
use crate::domain::notice::still_serves;
use crate::domain::policy::{Policy, Trust};
use crate::gateway::collect::Flaw;
use crate::gateway::meeting::Handle;

use super::notice::Shown;
use super::record::Known;
use super::{Action, Caller, Choice, Interaction};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Why a choice is not recorded. The order is that of the table in the docs: the first that
        /// fits names the problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The spelling on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// An identifier is not one of its kind.
    IdentifierInvalid = "identifier_invalid";
    /// An identifier is a placeholder that many people share.
    IdentifierBlocked = "identifier_blocked";
    /// A public key binds its anonymous id alone.
    NeedsServerKey = "needs_server_key";
    /// No act that says yes (Art. 4(11)).
    NotUnambiguous = "not_unambiguous";
    /// The control said yes before the person did (C-673/17).
    Preselected = "preselected";
    /// Bundled with another matter (Art. 7(2)).
    NotDistinguishable = "not_distinguishable";
    /// A yes to everything, or to what the text does not name.
    NotGranular = "not_granular";
    /// A no was not offered.
    RefusalNotOffered = "refusal_not_offered";
    /// Art. 9(2)(a) asks for an explicit act.
    Art9NotExplicit = "art9_not_explicit";
    /// The purpose does not rest on consent.
    WrongBasis = "wrong_basis";
    /// The purpose has no such channel, or several and none is named.
    ChannelUnknown = "channel_unknown";
    /// Not in the policy.
    PurposeUnknown = "purpose_unknown";
    /// No such notice, version or language, or not yet published.
    NoticeUnknown = "notice_unknown";
    /// Signature, hash, purposes or recipients do not fit.
    NoticeMismatch = "notice_mismatch";
    /// The token is too old, or its text superseded: show the current text and ask again.
    NoticeStale = "notice_stale";
    /// Below the age of consent without a guardian (Art. 8).
    ParentalConsentRequired = "parental_consent_required";
    /// A guardian or agent without method and evidence.
    ActorNotProven = "actor_not_proven";
}

/// One thing wrong with an interaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Violation {
    /// What.
    pub code: Code,
    /// Where in the body: a JSON pointer.
    pub pointer: String,
}

/// The acts that say yes.
const METHODS: [&str; 6] = ["click", "typed", "signed", "spoken_recorded", "device_setting", "two_step"];
/// Those that say it explicitly (Art. 9(2)(a)).
const EXPLICIT_METHODS: [&str; 4] = ["typed", "signed", "spoken_recorded", "two_step"];
/// The age of consent wherever no lower one is known (Art. 8(1)), in years.
const AGE_OF_CONSENT: u8 = 16;

/// Whether an act of this method is explicit.
pub(super) fn is_explicit(method: Option<&str>) -> bool {
    method.is_some_and(|method| EXPLICIT_METHODS.contains(&method))
}

/// Whether this is a method that says yes.
pub(super) fn is_method(method: &str) -> bool {
    METHODS.contains(&method)
}

/// Everything wrong that can be seen without looking at the person, worst first.
pub(super) fn violations(
    policy: &Policy,
    caller: &Caller,
    interaction: &Interaction,
    shown: &Result<Option<Shown>, Code>,
    handles: &[Result<Handle, Flaw>],
    now: Timestamp,
) -> Vec<Violation> {
    let mut found = Found(Vec::new());
    against_identifiers(caller, interaction, handles, &mut found);
    for (choice, at) in interaction.choices.iter().zip(0_usize..) {
        against_choice(policy, choice, at, &mut found);
    }
    let gives: Vec<(usize, &Choice)> =
        (0..).zip(&interaction.choices).filter(|(_, choice)| choice.action == Action::Give).collect();
    against_actor(interaction, !gives.is_empty(), &mut found);
    if !gives.is_empty() {
        against_act(policy, interaction, &gives, &mut found);
        against_notice(policy, &gives, shown, now, &mut found);
    }
    found.0.sort_unstable();
    found.0.dedup();
    found.0
}

/// What stands against a yes once the person is known.
pub(super) fn against_person(interaction: &Interaction, known: &Known) -> Vec<Violation> {
    let gives = interaction.choices.iter().any(|choice| choice.action == Action::Give);
    // A yes of before an erasure does not bring the person back: ask again.
    if gives && known.erased_at.is_some_and(|erased_at| known.given_at <= erased_at) {
        return vec![Violation { code: Code::NoticeStale, pointer: "/act/given_at".to_owned() }];
    }
    Vec::new()
}

struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, code: Code, pointer: impl Into<String>) {
        self.0.push(Violation { code, pointer: pointer.into() });
    }
}

fn against_identifiers(
    caller: &Caller,
    interaction: &Interaction,
    handles: &[Result<Handle, Flaw>],
    found: &mut Found,
) {
    if handles.is_empty() {
        found.add(Code::IdentifierInvalid, "/identifiers");
    }
    for (handle, at) in handles.iter().zip(0_usize..) {
        match handle {
            Ok(_) => {}
            Err(Flaw::IdentifierBlocked) => found.add(Code::IdentifierBlocked, format!("/identifiers/{at}/value")),
            Err(_) => found.add(Code::IdentifierInvalid, format!("/identifiers/{at}/value")),
        }
    }
    let gives = interaction.choices.iter().any(|choice| choice.action == Action::Give);
    let names_browser = handles.iter().flatten().any(|handle| handle.kind == IdentifierKind::AnonymousId);
    if gives && caller.trust == Trust::Public && !names_browser && handles.iter().all(Result::is_ok) {
        found.add(Code::NeedsServerKey, "/identifiers");
    }
}

fn against_choice(policy: &Policy, choice: &Choice, at: usize, found: &mut Found) {
    let is_give = choice.action == Action::Give;
    if choice.purpose == "*" {
        if is_give {
            found.add(Code::NotGranular, format!("/choices/{at}/purpose"));
        }
        return;
    }
    let Some(purpose) = policy.purposes.get(choice.purpose.as_str()) else {
        found.add(Code::PurposeUnknown, format!("/choices/{at}/purpose"));
        return;
    };
    if is_give && purpose.basis != LegalBasis::Consent {
        found.add(Code::WrongBasis, format!("/choices/{at}/purpose"));
    }
    let channel_fits = match &choice.channel {
        Some(channel) => purpose.channels.iter().any(|known| known.as_str() == channel),
        None => !is_give || purpose.channels.len() < 2,
    };
    if !channel_fits {
        found.add(Code::ChannelUnknown, format!("/choices/{at}/channel"));
    }
}

fn against_act(policy: &Policy, interaction: &Interaction, gives: &[(usize, &Choice)], found: &mut Found) {
    let act = &interaction.act;
    let method = act.method.as_deref();
    if !method.is_some_and(|method| METHODS.contains(&method)) {
        found.add(Code::NotUnambiguous, "/act/method");
    }
    if act.control_before.as_deref() != Some("unset") {
        found.add(Code::Preselected, "/act/control_before");
    }
    if act.bundled != Some(false) {
        found.add(Code::NotDistinguishable, "/act/bundled");
    }
    if act.refusal_offered != Some(true) {
        found.add(Code::RefusalNotOffered, "/act/refusal_offered");
    }
    for (at, choice) in gives {
        let explicit = policy.purposes.get(choice.purpose.as_str()).is_some_and(|purpose| purpose.explicit);
        if explicit && !is_explicit(method) {
            found.add(Code::Art9NotExplicit, format!("/choices/{at}/purpose"));
        }
    }
}

fn against_actor(interaction: &Interaction, gives: bool, found: &mut Found) {
    let actor = &interaction.actor;
    let proven = actor.method.is_some() && actor.reference.is_some();
    let relation = actor.relation.as_deref().unwrap_or("self");
    match relation {
        "self" => {}
        "guardian" if proven => {}
        // An agent's no needs the mandate, a yes also that the mandate covers it.
        "agent" if proven && (!gives || actor.authority.as_deref() == Some("give")) => {}
        // Officers have a door of their own, and nobody else acts for a person here.
        _ => found.add(Code::ActorNotProven, "/actor"),
    }
    let is_child = interaction.act.age.is_some_and(|age| age < AGE_OF_CONSENT);
    if gives && is_child && relation != "guardian" {
        found.add(Code::ParentalConsentRequired, "/act/age_statement");
    }
}

fn against_notice(
    policy: &Policy,
    gives: &[(usize, &Choice)],
    shown: &Result<Option<Shown>, Code>,
    now: Timestamp,
    found: &mut Found,
) {
    let shown = match shown {
        Ok(Some(shown)) => shown,
        // Recorded, and worth nothing until somebody shows what was shown.
        Ok(None) => return,
        Err(code) => {
            found.add(*code, "/notice");
            return;
        }
    };
    let zone = &policy.controller.time_zone;
    for (at, choice) in gives {
        let purpose = PurposeId::new(&choice.purpose);
        if !policy.purposes.contains_key(&purpose) {
            continue;
        }
        if !shown.purposes.contains(&purpose) {
            found.add(Code::NotGranular, format!("/choices/{at}/purpose"));
        } else if !still_serves(&policy.notices, &shown.notice, &purpose, None, zone, now) {
            found.add(Code::NoticeStale, "/notice");
        }
    }
}

//! Why a decision denies: one spelling for each reason, in every door (strongest first).

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A reason to deny. The order is the order of strength in which people are told.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason, strongest first.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The spelling on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Reads the spelling; `None` for anything else.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    /// State, key or policy cannot be read.
    StoreUnavailable = "store_unavailable";
    /// A row that would allow fails its MAC.
    RowUnverified = "row_unverified";
    /// A tombstone, or an erasure under way.
    Erased = "erased";
    /// Art. 18, or only retained data is left and this is not the locked purpose.
    Restricted = "restricted";
    /// Art. 21.
    Objected = "objected";
    /// Art. 7(3).
    Withdrawn = "withdrawn";
    /// Said no, never yes.
    Refused = "refused";
    /// Struck down by an authority or given up.
    Invalidated = "invalidated";
    /// On the suppression list.
    Suppressed = "suppressed";
    /// This record's own signal says no.
    SignalDenied = "signal_denied";
    /// A signal cannot be decoded.
    SignalUnreadable = "signal_unreadable";
    /// Consent past its validity.
    Expired = "expired";
    /// Recipient, purpose or data not in the notice consented to.
    NoticeChanged = "notice_changed";
    /// Data past this purpose's period.
    RetentionExpired = "retention_expired";
    /// Double opt-in still open.
    PendingConfirmation = "pending_confirmation";
    /// No evidence.
    UnprovenConsent = "unproven_consent";
    /// Art. 8.
    ParentalConsentRequired = "parental_consent_required";
    /// Child and guardian must both agree.
    JointConsentRequired = "joint_consent_required";
    /// Art. 9 asks for an explicit act.
    Art9NotExplicit = "art9_not_explicit";
    /// Profiling of a minor for advertising.
    MinorProfiling = "minor_profiling";
    /// Nobody ever asked, or nobody answered.
    NoConsent = "no_consent";
    /// The conditions of another basis are not met.
    NoBasis = "no_basis";
    /// Not in the policy.
    PurposeUnknown = "purpose_unknown";
    /// In the policy but off.
    PurposeInactive = "purpose_inactive";
    /// The impact assessment is absent or past its review.
    DpiaMissing = "dpia_missing";
    /// The field may not serve the purpose, or not go to the recipient.
    FieldNotAllowed = "field_not_allowed";
    /// The recipient is not in the policy, or not for the purpose.
    RecipientNotAllowed = "recipient_not_allowed";
    /// Art. 14(3).
    NoticeMissing = "notice_missing";
    /// Art. 28(3) or 26.
    ContractMissing = "contract_missing";
    /// Chapter V.
    TransferNoSafeguard = "transfer_no_safeguard";
    /// The officer's switch.
    TransferSuspended = "transfer_suspended";
}

/// A set of reasons; allocates nothing while it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons(Vec<Reason>);

impl Reasons {
    /// Whether nothing speaks against.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The reasons, strongest first.
    #[must_use]
    pub fn strongest_first(mut self) -> Vec<Reason> {
        self.0.sort_unstable();
        self.0
    }

    /// Adds a reason, once.
    pub fn add(&mut self, reason: Reason) {
        if !self.0.contains(&reason) {
            self.0.push(reason);
        }
    }

    /// Adds every reason of another set.
    pub fn add_all(&mut self, others: Self) {
        for reason in others.0 {
            self.add(reason);
        }
    }
}

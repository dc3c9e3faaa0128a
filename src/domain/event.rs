//! The closed list of audit events: one table makes the enum, the checks and the documents.
//!
//! Numbers are wire format: they are never reused and never renumbered. A reader refuses a leaf
//! whose class, outcome, parts or facts are not those of its event.

mod rule;

pub use rule::{EventRule, Standing};

use rule::{allowed_parts, facts, outcomes, required_parts};

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $number:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$each])* $variant,)*
        }

        impl $name {
            /// Each of them, in wire order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)* }
            }

            /// Reads the number; `None` for anything else.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// The word for it in answers and documents.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

numbered! {
    /// Whom a part of a leaf belongs to.
    Role {
        /// The person the leaf concerns; a leaf concerns at most one.
        Subject = 1 "subject",
        /// The officer who acted; the only part that names them.
        Officer = 2 "officer",
        /// The installation itself.
        Installation = 3 "installation",
        /// Given to a person and not kept, so it has no sealed hash.
        Receipt = 4 "receipt",
    }
}

numbered! {
    /// How the thing that a leaf tells ended.
    Outcome {
        /// Done.
        Done = 0 "done",
        /// Refused by a rule.
        Refused = 1 "refused",
        /// Failed for a technical reason.
        Failed = 2 "failed",
        /// No answer came, so nobody knows.
        Unknown = 3 "unknown",
    }
}

numbered! {
    /// How long the sealed parts of a leaf are kept, and under which audit key.
    Class {
        /// Everyday work (`audit_operation`).
        Operation = 1 "operation",
        /// What the controller must be able to prove (GDPR Art. 5(2), 7(1); `audit_evidence`).
        Evidence = 2 "evidence",
        /// The log and the installation; its parts go when their leaf is pruned.
        System = 3 "system",
    }
}

macro_rules! class {
    (O) => {
        Class::Operation
    };
    (E) => {
        Class::Evidence
    };
    (S) => {
        Class::System
    };
}

macro_rules! standing {
    (raised) => {
        Standing::Raised
    };
    (reserved) => {
        Standing::Reserved
    };
}

macro_rules! events {
    ($($number:literal $name:ident $text:literal $class:ident $parts:literal $outcomes:literal
       $facts:literal $ocsf_class:literal $ocsf_activity:literal $standing:ident;)*) => {
        /// Something the log tells. The meaning of each stands in the documents of the log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Event {
            $(
                #[doc = concat!("`", $text, "`, number ", stringify!($number), ".")]
                $name,
            )*
        }

        impl Event {
            /// Every event, by number.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number,)* }
            }

            /// Reads the number; `None` if it is not in the list.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// The name, `record.collected`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Reads the name; `None` if it is not in the list.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }

            /// What may and must stand in its leaves.
            #[must_use]
            pub const fn rule(self) -> &'static EventRule {
                match self {
                    $(Self::$name => const { &EventRule {
                        class: class!($class),
                        parts_required: required_parts($parts),
                        parts_allowed: allowed_parts($parts),
                        outcomes: outcomes($outcomes),
                        facts_required: facts($facts).0,
                        facts_allowed: facts($facts).1,
                        ocsf_class: $ocsf_class,
                        ocsf_activity: $ocsf_activity,
                        standing: standing!($standing),
                    } },)*
                }
            }

            /// The class of its leaves.
            #[must_use]
            pub const fn class(self) -> Class {
                self.rule().class
            }
        }
    };
}

// Columns: number, name, class (O operation, E evidence, S system), parts, outcomes (d r f u),
// facts (those in brackets are optional), OCSF class and activity, and whether it is appended yet.
events! {
    100 LogOpened                  "log.opened"                S "i"    "d"    "1,9,10,14(7,8,13)" 3004  1 raised;
    101 LogHeartbeat               "log.heartbeat"             S ""     "d"    ""                 6003 99 raised;
    102 LogSucceeded               "log.succeeded"             S "i"    "d"    "4,7,8"            3004  3 reserved;
    103 LogPruned                  "log.pruned"                S ""     "d"    "1,3,4,8,12"       3004  4 raised;
    104 LogKeyRotated              "log.key_rotated"           S "i"    "d"    "6,9,16"           3004  3 raised;
    105 LogAnchored                "log.anchored"              S ""     "df"   "7(2)"             6003  1 raised;
    106 LogTrustChanged            "log.trust_changed"         S "i"    "d"    "2"                3004  3 raised;
    107 LogUnwitnessed             "log.unwitnessed"           S ""     "f"    "7,11"             6003 99 raised;
    108 LogWitnessed               "log.witnessed"             S ""     "d"    "7,12"             6003 99 raised;
    109 LogVerified                "log.verified"              S ""     "df"   "7,8(4)"           6003  2 raised;
    110 LogExported                "log.exported"              S "ai"   "d"    "2,4,7"            6003  2 raised;
    120 ClockRegressed             "clock.regressed"           S ""     "d"    "11,12"            6003 99 raised;
    121 ClockLeapt                 "clock.leapt"               S ""     "dr"   "11,12"            6003 99 raised;
    122 ClockCorrected             "clock.corrected"           S "i"    "d"    "6,11,12,13"       3004  3 raised;
    130 GatewayStarted             "gateway.started"           S "i"    "d"    "1,2,6"            3004 10 raised;
    131 GatewayStopped             "gateway.stopped"           S ""     "d"    "6"                3004 11 raised;
    199 LogClosed                  "log.closed"                S ""     "d"    "7,8"              3004  9 reserved;
    200 RecordCollected            "record.collected"          O "S"    "d"    ""                 3004  1 raised;
    201 RecordRefused              "record.refused"            O "si"   "r"    ""                 3004  1 raised;
    202 RecordRectified            "record.rectified"          E "Sa"   "d"    ""                 3004  3 reserved;
    203 RecordExpired              "record.expired"            O "S"    "d"    "4"                3004  4 reserved;
    210 ImportStarted              "import.started"            S "i"    "d"    "2"                6003  1 raised;
    211 ImportFinished             "import.finished"           S "i"    "df"   "2,4"              6003  1 raised;
    220 IdentifierAdded            "identifier.added"          E "Sa"   "d"    ""                 3004  3 raised;
    221 IdentifierRemoved          "identifier.removed"        E "Sa"   "d"    ""                 3004  3 reserved;
    222 SubjectLinked              "subject.linked"            E "Sa"   "d"    ""                 3004  3 raised;
    223 SubjectUnlinked            "subject.unlinked"          E "Sa"   "d"    ""                 3004  3 reserved;
    224 PseudonymResolved          "pseudonym.resolved"        O "sA"   "dr"   ""                 6003  2 reserved;
    225 RetentionRun               "retention.run"             S ""     "df"   "4"                3004  4 reserved;
    300 ConsentGiven               "consent.given"             E "Sa"   "d"    ""                 3004  1 raised;
    301 ConsentRefused             "consent.refused"           E "Sa"   "d"    ""                 3004  1 raised;
    302 ConsentWithdrawn           "consent.withdrawn"         E "Sa"   "d"    ""                 3004 11 raised;
    303 ConsentConfirmed           "consent.confirmed"         E "S"    "d"    ""                 3004 10 reserved;
    304 ConsentInvalidated         "consent.invalidated"       E "Sa"   "d"    ""                 3004 11 reserved;
    305 ConsentAsked               "consent.asked"             E "S"    "d"    ""                 3004  1 reserved;
    306 ConsentRejected            "consent.rejected"          E "si"   "r"    ""                 3004  1 raised;
    307 NoticeSent                 "notice.sent"               E "Sa"   "d"    ""                 3004  3 reserved;
    310 ObjectionRaised            "objection.raised"          E "sai"  "d"    ""                 3004  9 raised;
    311 ObjectionEnded             "objection.ended"           E "Sa"   "d"    ""                 3004  8 reserved;
    312 SuppressionAdded           "suppression.added"         E "sai"  "d"    ""                 3004  9 raised;
    313 SuppressionLifted          "suppression.lifted"        E "Sa"   "d"    ""                 3004  8 raised;
    320 SignalApplied              "signal.applied"            E "s"    "d"    ""                 3004  3 reserved;
    321 SignalRefused              "signal.refused"            E "s"    "r"    ""                 3004  3 raised;
    331 ReceiptIssued              "receipt.issued"            E "sr"   "d"    ""                 6003  1 raised;
    400 DecisionGranted            "decision.granted"          O "s"    "d"    ""                 6003  2 raised;
    401 DecisionRefused            "decision.refused"          O "s"    "r"    ""                 6003  2 raised;
    410 DisclosureReleased         "disclosure.released"       E "S"    "d"    ""                 6003  2 raised;
    411 DisclosureRefused          "disclosure.refused"        E "s"    "r"    ""                 6003  2 raised;
    420 StatisticsReleased         "statistics.released"       O "A"    "d"    "2,4"              6003  2 reserved;
    500 DeliveryReleased           "delivery.released"         E "S"    "d"    ""                 6003  1 raised;
    501 DeliverySettled            "delivery.settled"          E "S"    "dfru" ""                 6003  1 raised;
    502 DeliveryRefused            "delivery.refused"          E "S"    "r"    ""                 6003  1 raised;
    503 DeliveryCancelled          "delivery.cancelled"        E "S"    "d"    ""                 6003  4 raised;
    504 DeliveryAbandoned          "delivery.abandoned"        E "S"    "f"    ""                 6003  4 raised;
    510 RecipientNotified          "recipient.notified"        E "si"   "drfu" ""                 3004  3 raised;
    511 RecipientPaused            "recipient.paused"          S "ai"   "d"    ""                 3004  9 raised;
    512 RecipientResumed           "recipient.resumed"         S "ai"   "d"    ""                 3004  8 raised;
    513 RecipientDisabled          "recipient.disabled"        S "ai"   "d"    ""                 3004  9 raised;
    514 RecipientWaived            "recipient.waived"          E "sAi"  "d"    ""                 3004  3 reserved;
    515 RecipientWaiverProposed    "recipient.waiver_proposed" E "sAi"  "d"    ""                 3004  3 reserved;
    516 TransferSuspended          "transfer.suspended"        S "Ai"   "d"    "2"                3004  9 reserved;
    517 TransferResumed            "transfer.resumed"          S "Ai"   "d"    "2"                3004  8 reserved;
    600 RequestReceived            "request.received"          E "sai"  "d"    ""                 3004  1 raised;
    601 RequestAcknowledged        "request.acknowledged"      E "sai"  "d"    ""                 3004  3 reserved;
    602 RequestIdentityAsked       "request.identity_asked"    E "sai"  "d"    ""                 3004  3 reserved;
    603 RequestIdentityProven      "request.identity_proven"   E "sai"  "d"    ""                 3004  3 reserved;
    604 RequestIdentityFailed      "request.identity_failed"   E "sai"  "r"    ""                 3004  3 reserved;
    605 RequestAssigned            "request.assigned"          E "sAi"  "d"    ""                 3004  3 reserved;
    606 RequestExtended            "request.extended"          E "sAi"  "d"    ""                 3004  3 reserved;
    607 RequestAnswered            "request.answered"          E "sai"  "d"    ""                 3004  3 raised;
    608 RequestRefused             "request.refused"           E "sAi"  "r"    ""                 3004  3 reserved;
    609 RequestCancelled           "request.cancelled"         E "sai"  "d"    ""                 3004  3 raised;
    610 RequestOverdue             "request.overdue"           E "si"   "f"    ""                 3004  3 reserved;
    611 RequestPackageMade         "request.package_made"      E "sai"  "d"    "2"                6003  1 raised;
    612 RequestPackageFetched      "request.package_fetched"   E "sai"  "d"    ""                 6003  2 raised;
    613 RequestNoted               "request.noted"             E "sAi"  "d"    ""                 3004  3 reserved;
    614 RequestReopened            "request.reopened"          E "sAi"  "d"    ""                 3004  3 reserved;
    615 RequestPaused              "request.paused"            E "sai"  "d"    ""                 3004  3 reserved;
    616 RequestContinued           "request.continued"         E "sai"  "d"    ""                 3004  3 reserved;
    617 RequestAccepted            "request.accepted"          E "sai"  "d"    ""                 3004  3 raised;
    618 RequestReviewOpened        "request.review_opened"     E "sai"  "d"    ""                 3004  3 reserved;
    619 RequestRefusalProposed     "request.refusal_proposed"  E "sAi"  "d"    ""                 3004  3 reserved;
    620 RequestRefusalDropped      "request.refusal_dropped"   E "sAi"  "d"    ""                 3004  3 reserved;
    621 RequestStarted             "request.started"           E "si"   "d"    ""                 3004  3 raised;
    622 RequestReturned            "request.returned"          E "si"   "d"    ""                 3004  3 reserved;
    623 RequestClosed              "request.closed"            E "si"   "d"    ""                 3004  3 raised;
    624 RequestDueChanged          "request.due_changed"       E "sai"  "d"    ""                 3004  3 reserved;
    630 CallbackAccepted           "callback.accepted"         E "si"   "d"    "2"                3004  3 reserved;
    631 CallbackUnmatched          "callback.unmatched"        S "i"    "r"    "2"                3004  3 reserved;
    700 ErasureStarted             "erasure.started"           E "S"    "d"    ""                 3004  9 raised;
    701 ErasureProgressed          "erasure.progressed"        S ""     "d"    "3"                3004  4 raised;
    702 ErasureCompleted           "erasure.completed"         S "R"    "d"    "3,5(15)"          3004  4 raised;
    703 ErasureReplayed            "erasure.replayed"          S ""     "d"    "3,5,6"            3004  4 raised;
    704 ErasureBlocked             "erasure.blocked"           E "Sa"   "r"    ""                 3004  4 reserved;
    710 RestrictionSet             "restriction.set"           E "Sa"   "d"    ""                 3004  9 reserved;
    711 RestrictionLiftAnnounced   "restriction.lift_announced" E "Sa"   "d"    ""                 3004  3 reserved;
    712 RestrictionLifted          "restriction.lifted"        E "Sa"   "d"    ""                 3004  8 reserved;
    713 RestrictionPermitUsed      "restriction.permit_used"   E "SA"   "dr"   ""                 6003  2 reserved;
    720 HoldPlaced                 "hold.placed"               E "SA"   "d"    ""                 3004  9 reserved;
    721 HoldLifted                 "hold.lifted"               E "SA"   "d"    ""                 3004  8 reserved;
    730 RetentionExpired           "retention.expired"         S ""     "d"    "3(5)"             3004  4 raised;
    800 KeyJobStarted              "key_job.started"           S "ai"   "d"    "6"                3004  3 raised;
    801 KeyJobSwitched             "key_job.switched"          S "ai"   "d"    ""                 3004  3 raised;
    802 KeyJobEnded                "key_job.ended"             S "ai"   "df"   "4"                3004  3 raised;
    803 KekDestroyed               "kek.destroyed"             S "ai"   "d"    ""                 3004  4 reserved;
    804 KeySwept                   "key.swept"                 S ""     "d"    "4"                3004  4 raised;
    805 DataUnreadable             "data.unreadable"           S "i"    "f"    "4"                6003  2 raised;
    806 KekHeld                    "kek.held"                  S "ai"   "d"    "12"               3004  3 reserved;
    810 PolicyActivated            "policy.activated"          S "ai"   "d"    "1"                3004 10 raised;
    811 PolicyRejected             "policy.rejected"           S "ai"   "r"    "2"                3004  3 raised;
    820 ConfigChanged              "config.changed"            S "i"    "d"    "2"                3004  3 reserved;
    821 SchemaMigrated             "schema.migrated"           S "i"    "d"    "2"                3004  3 raised;
    822 BackupMade                 "backup.made"               S "ai"   "df"   "7,8(2)"           6003  2 reserved;
    823 BackupRestored             "backup.restored"           S "ai"   "d"    "2,7,8"            6003  3 raised;
    824 GapAccepted                "gap.accepted"              S "Ai"   "d"    "4,7"              6003  3 reserved;
    825 BackupDrilled              "backup.drilled"            S "ai"   "df"   "7"                6003  3 reserved;
    830 CollectorAdded             "collector.added"           S "ai"   "d"    ""                 3004  1 raised;
    831 CollectorChanged           "collector.changed"         S "ai"   "d"    ""                 3004  3 reserved;
    832 CollectorDisabled          "collector.disabled"        S "ai"   "d"    ""                 3004  9 raised;
    833 TokenAdded                 "token.added"               S "ai"   "d"    ""                 3004  1 raised;
    834 TokenRevoked               "token.revoked"             S "ai"   "d"    ""                 3004  9 raised;
    900 OfficerAdded               "officer.added"             S "Ai"   "d"    ""                 3004  1 reserved;
    901 OfficerChanged             "officer.changed"           S "Ai"   "d"    ""                 3004  3 reserved;
    902 OfficerDisabled            "officer.disabled"          S "Ai"   "d"    ""                 3004  9 reserved;
    903 OfficerErased              "officer.erased"            S "i"    "d"    "3,5"              3004  4 reserved;
    910 OfficerLoggedIn            "officer.logged_in"         O "A"    "d"    ""                 6003 99 reserved;
    911 OfficerLoginFailed         "officer.login_failed"      O "A"    "r"    ""                 6003 99 reserved;
    912 OfficerLoggedOut           "officer.logged_out"        O "A"    "d"    ""                 6003 99 reserved;
    913 OfficerFactorChanged       "officer.factor_changed"    O "A"    "d"    ""                 3004  3 reserved;
    914 OfficerLocked              "officer.locked"            O "A"    "r"    ""                 6003 99 reserved;
    920 OfficerLooked              "officer.looked"            O "SA"   "d"    ""                 6003  2 reserved;
    921 OfficerSearched            "officer.searched"          O "sA"   "dr"   ""                 6003  2 reserved;
    922 OfficerRevealed            "officer.revealed"          O "SA"   "d"    ""                 6003  2 reserved;
    923 OfficerListed              "officer.listed"            O "A"    "d"    "4"                6003  2 reserved;
    930 SubjectLoggedIn            "subject.logged_in"         O "S"    "d"    ""                 6003 99 reserved;
    931 SubjectLoginFailed         "subject.login_failed"      O "S"    "r"    ""                 6003 99 reserved;
    932 SubjectLooked              "subject.looked"            O "S"    "d"    ""                 6003  2 reserved;
    940 DoorRefused                "door.refused"              S "i"    "r"    "4,11,12"          6003 99 raised;
    950 ReportMade                 "report.made"               S "Ai"   "d"    "2"                6003  2 reserved;
    960 BreachRecorded             "breach.recorded"           S "ai"   "d"    ""                 3004  1 reserved;
    961 BreachChanged              "breach.changed"            S "ai"   "d"    ""                 3004  3 reserved;
    962 BreachNotified             "breach.notified"           S "Ai"   "d"    "2"                6003  1 reserved;
    963 BreachClosed               "breach.closed"             S "Ai"   "d"    ""                 3004  3 reserved;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_say_what_they_say() {
        let opened = Event::LogOpened.rule();
        assert_eq!(opened.facts_required, 1 << 1 | 1 << 9 | 1 << 10 | 1 << 14);
        assert_eq!(opened.facts_allowed, opened.facts_required | 1 << 7 | 1 << 8 | 1 << 13);
        assert_eq!((opened.parts_required, opened.parts_allowed), (0, 1 << 3));
        let settled = Event::DeliverySettled.rule();
        assert_eq!(settled.outcomes, 0b1111);
        assert_eq!((settled.parts_required, settled.facts_allowed), (1 << 1, 0));
        let anchored = Event::LogAnchored.rule();
        assert_eq!((anchored.facts_required, anchored.facts_allowed), (1 << 7, 1 << 7 | 1 << 2));
        let completed = Event::ErasureCompleted.rule();
        assert!(completed.admits_parts(1 << 4) && !completed.admits_parts(0));
        assert!(completed.admits_outcome(Outcome::Done) && !completed.admits_outcome(Outcome::Failed));
    }

    #[test]
    fn numbers_rise_and_names_come_back() {
        assert_eq!(Event::ALL.len(), 143);
        for pair in Event::ALL.windows(2) {
            assert!(pair[0].number() < pair[1].number());
        }
        for event in Event::ALL {
            assert_eq!(Event::from_number(event.number()), Some(*event));
            assert_eq!(Event::parse(event.as_str()), Some(*event));
            assert!(event.rule().outcomes != 0);
            assert!(matches!(event.rule().ocsf_class, 3004 | 6003));
        }
        assert_eq!(Event::from_number(0), None);
        for role in Role::ALL {
            assert_eq!(Role::from_number(role.number()), Some(*role));
        }
        for class in Class::ALL {
            assert_eq!(Class::from_number(class.number()), Some(*class));
        }
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::from_number(outcome.number()), Some(*outcome));
        }
    }
}

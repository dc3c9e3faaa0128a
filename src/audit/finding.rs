//! What a verification finds, and the verdict that follows.

use serde::Serialize;

use super::evidence::Evidence;
use super::verify::{Dated, Pruned};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal $severity:ident;)*) => {
        /// The closed list of findings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The spelling in reports.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// How heavy it weighs.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    /// A leaf is not what it was when it was appended.
    LeafAltered = "leaf_altered" Invalid;
    /// A leaf in the middle is gone.
    LeafMissing = "leaf_missing" Invalid;
    /// A leaf stands where none was appended.
    LeafInserted = "leaf_inserted" Invalid;
    /// Leaves stand in another order.
    OrderChanged = "order_changed" Invalid;
    /// Two leaves have one entry id.
    EntryRepeated = "entry_repeated" Invalid;
    /// A leaf is older than the one before it.
    ClockBackwards = "clock_backwards" Invalid;
    /// The leaves do not hash to a signed root.
    RootMismatch = "root_mismatch" Invalid;
    /// No signature of the log holds.
    CheckpointSignature = "checkpoint_signature" Invalid;
    /// Something is of another log.
    OriginMismatch = "origin_mismatch" Invalid;
    /// A key signed a size it is not valid for.
    KeyNotValidHere = "key_not_valid_here" Invalid;
    /// Two signed views that cannot both be true.
    Fork = "fork" Forked;
    /// Fewer leaves than a signed size.
    Rollback = "rollback" Forked;
    /// What the verifier's own trust asks for is not met, or heartbeats were announced and are not there.
    Downgrade = "downgrade" Downgraded;
    /// Nothing was appended for longer than announced, without a stop.
    Silence = "silence" Incomplete;
    /// The newest checkpoint is older than the verifier accepts.
    Stale = "stale" NotAttested;
    /// No witness vouches for the newest checkpoint.
    Unwitnessed = "unwitnessed" NotAttested;
    /// A sealed part is not the one its leaf names.
    SealedAltered = "sealed_altered" Invalid;
    /// A sealed part is gone and no leaf counts its deletion.
    SealedMissing = "sealed_missing" Incomplete;
    /// An opened part is not what its leaf commits to.
    PartUnbound = "part_unbound" Invalid;
    /// A tag is not that of its person.
    TagMismatch = "tag_mismatch" Invalid;
    /// The statement shown is not the payload that was committed to.
    StatementDiffers = "statement_differs" Invalid;
    /// A business row names a leaf that does not exist.
    BusinessRowWithoutLeaf = "business_row_without_leaf" Incomplete;
    /// A leaf names a business row that does not exist.
    LeafWithoutBusinessRow = "leaf_without_business_row" Incomplete;
    /// A business row is not the one its leaf names.
    RowAltered = "row_altered" Invalid;
    /// A destroyed key is there again.
    KeyResurrected = "key_resurrected" Invalid;
    /// A leaf counts deletions of rows that still exist.
    FalseErasure = "false_erasure" Invalid;
    /// Leaves were pruned that had to stay.
    PruneBeyondPolicy = "prune_beyond_policy" Invalid;
    /// Data was released after it had been forbidden.
    ReleasedAfterWithdrawal = "released_after_withdrawal" Invalid;
    /// A stored hash is wrong while the leaf is right: a cache to be rebuilt.
    TilePoisoned = "tile_poisoned" Warning;
    /// A time-stamp does not hold.
    AnchorInvalid = "anchor_invalid" Invalid;
    /// A time-stamp has not come yet.
    AnchorPending = "anchor_pending" NotAttested;
    /// Something present breaks its format.
    Malformed = "malformed" Invalid;
    /// A leaf of a version this verifier does not know.
    UnknownVersion = "unknown_version" Incomplete;
    /// An event this verifier does not know.
    UnknownEvent = "unknown_event" Incomplete;
    /// The log succeeds another one that lost leaves.
    SucceededWithLoss = "succeeded_with_loss" Incomplete;
}

/// How heavy a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Changes no verdict.
    Warning,
    /// Intact, but nobody else vouches for it.
    NotAttested,
    /// Something is missing, without proof of deceit.
    Incomplete,
    /// Less than the verifier's own trust asks for.
    Downgraded,
    /// Something present is wrong.
    Invalid,
    /// Two views, or a lost tail.
    Forked,
}

/// The verdict over a whole verification: the heaviest finding. `Severity` is ordered so that the
/// order of verdicts (30, 40, 50, 20, 10) is the order of weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// All checked, attested, fresh.
    Intact,
    /// Intact, not attested.
    NotAttested,
    /// Incomplete.
    Incomplete,
    /// Downgraded.
    Downgraded,
    /// Invalid.
    Invalid,
    /// Forked.
    Forked,
}

impl Severity {
    /// The word for it in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::NotAttested => "not_attested",
            Self::Incomplete => "incomplete",
            Self::Downgraded => "downgraded",
            Self::Invalid => "invalid",
            Self::Forked => "forked",
        }
    }
}

impl Verdict {
    /// The exit code of the command.
    #[must_use]
    pub const fn exit(self) -> u8 {
        match self {
            Self::Intact => 0,
            Self::NotAttested => 10,
            Self::Incomplete => 20,
            Self::Forked => 30,
            Self::Invalid => 40,
            Self::Downgraded => 50,
        }
    }

    /// The word for it in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intact => "intact",
            Self::NotAttested => "not_attested",
            Self::Incomplete => "incomplete",
            Self::Downgraded => "downgraded",
            Self::Invalid => "invalid",
            Self::Forked => "forked",
        }
    }

    /// The verdict that these findings lead to.
    #[must_use]
    pub fn of(findings: &[Finding]) -> Self {
        match findings.iter().map(|finding| finding.code.severity()).max() {
            None | Some(Severity::Warning) => Self::Intact,
            Some(Severity::NotAttested) => Self::NotAttested,
            Some(Severity::Incomplete) => Self::Incomplete,
            Some(Severity::Downgraded) => Self::Downgraded,
            Some(Severity::Invalid) => Self::Invalid,
            Some(Severity::Forked) => Self::Forked,
        }
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Severity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Verdict {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Where in the log a finding lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Position {
    /// One leaf.
    Leaf {
        /// Its index.
        seq: u64,
    },
    /// Leaves from the first to the last, both included; or the two leaves of a pair.
    Between {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The log as a whole.
    Whole {},
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub code: Code,
    /// How heavy it weighs.
    pub severity: Severity,
    /// Where it lies.
    #[serde(flatten)]
    pub position: Position,
    /// What it means, in a sentence. Never personal data.
    pub text: String,
}

impl Finding {
    /// A finding at a place.
    #[must_use]
    pub fn new(code: Code, position: Position, text: impl Into<String>) -> Self {
        Self { code, severity: code.severity(), position, text: text.into() }
    }

    /// A finding at one leaf.
    #[must_use]
    pub fn at(code: Code, seq: u64, text: impl Into<String>) -> Self {
        Self::new(code, Position::Leaf { seq }, text)
    }

    /// A finding over a range, or at a pair.
    #[must_use]
    pub fn between(code: Code, from: u64, to: u64, text: impl Into<String>) -> Self {
        Self::new(code, Position::Between { from, to }, text)
    }

    /// A finding about the whole.
    #[must_use]
    pub fn whole(code: Code, text: impl Into<String>) -> Self {
        Self::new(code, Position::Whole {}, text)
    }
}

/// What a verification comes to; serialises as the `--json` form of the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// The exit code that says the same.
    pub exit: u8,
    /// The log, if a leaf or a checkpoint says which.
    pub origin: Option<String>,
    /// The number of leaves the log has, as far as it was seen.
    pub size: u64,
    /// Leaves whose contents were hashed again.
    pub checked: u64,
    /// Parts that were opened and fit.
    pub opened: u64,
    /// Sealed parts that are gone.
    pub erased: u64,
    /// Leaves that were pruned.
    pub pruned: u64,
    /// The largest size that the quorum of witnesses vouches for.
    pub witnessed_to: Option<u64>,
    /// The largest size that a time-stamp dates.
    pub anchored_to: Option<u64>,
    /// Time of the newest leaf, in microseconds since 1970 UTC.
    pub newest: Option<u64>,
    /// The time-stamps that leaves say have arrived. Not part of what is printed.
    #[serde(skip)]
    pub dated: Vec<Dated>,
    /// The leaves that say that others were pruned. Not part of what is printed.
    #[serde(skip)]
    pub prunes: Vec<Pruned>,
    /// Everything that was found, by position.
    pub findings: Vec<Finding>,
    /// Notes of the log that contradict each other, for files of their own.
    #[serde(skip)]
    pub evidence: Vec<Evidence>,
}

impl Report {
    /// An empty report to fill.
    #[must_use]
    pub fn new() -> Self {
        Self {
            verdict: Verdict::Intact,
            exit: 0,
            origin: None,
            size: 0,
            checked: 0,
            opened: 0,
            erased: 0,
            pruned: 0,
            witnessed_to: None,
            anchored_to: None,
            newest: None,
            dated: Vec::new(),
            prunes: Vec::new(),
            findings: Vec::new(),
            evidence: Vec::new(),
        }
    }

    /// Sorts the findings by position and draws the verdict from them.
    pub fn conclude(&mut self) {
        self.findings.sort_by_key(|finding| (finding.position_start(), finding.code));
        self.verdict = Verdict::of(&self.findings);
        self.exit = self.verdict.exit();
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

impl Finding {
    fn position_start(&self) -> u64 {
        match self.position {
            Position::Leaf { seq } => seq,
            Position::Between { from, .. } => from,
            Position::Whole {} => u64::MAX,
        }
    }
}

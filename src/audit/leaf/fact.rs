//! Facts: the few things a leaf says in the clear, none of them about a person.

use crate::audit::cbor::{Kind, Malformed, Reader, length, put_bytes, put_head, put_uint};
use crate::audit::tree::Hash;

/// One fact. Which facts a leaf has is a rule of its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// 1: content hash of the policy.
    PolicyHash(Hash),
    /// 2: digest of the thing named.
    Digest(Hash),
    /// 3: sealed rows deleted, or parts pruned.
    Deleted(Counts),
    /// 4: a number; the event says of what.
    Number(u64),
    /// 5: fingerprints of destroyed keys.
    Fingerprints(Vec<[u8; 32]>),
    /// 6: why.
    Cause(Cause),
    /// 7: a size of the log.
    LogSize(u64),
    /// 8: a root of the log.
    Root(Hash),
    /// 9: a verifier: type byte and public key.
    Verifier([u8; 33]),
    /// 10: the origin of the log.
    Origin(String),
    /// 11: from, or the time before, in microseconds since 1970 UTC.
    From(u64),
    /// 12: until, or the time after, in microseconds since 1970 UTC.
    Until(u64),
    /// 13: the epoch of the log.
    Epoch(u64),
    /// 14: seconds between heartbeats.
    HeartbeatSeconds(u64),
    /// 15: classes whose audit key was kept: bit 0 operation, bit 1 evidence.
    KeptClasses(u64),
    /// 16: the verifier that is replaced.
    ReplacedVerifier([u8; 33]),
}

/// Numbers of sealed rows by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Class operation.
    pub operation: u64,
    /// Class evidence.
    pub evidence: u64,
    /// Class system.
    pub system: u64,
}

impl From<[u64; 3]> for Counts {
    fn from([operation, evidence, system]: [u64; 3]) -> Self {
        Self { operation, evidence, system }
    }
}

impl From<Counts> for [u64; 3] {
    fn from(Counts { operation, evidence, system }: Counts) -> Self {
        [operation, evidence, system]
    }
}

/// Why something happened (fact 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// 1.
    Planned,
    /// 2.
    SuspectedCompromise,
    /// 3.
    CleanStop,
    /// 4.
    Crash,
    /// 5.
    Restore,
    /// 6.
    MemoryRebuilt,
    /// 7.
    ClockBehind,
    /// 8.
    ClockAhead,
    /// 9.
    FatalError,
}

impl Cause {
    const fn number(self) -> u8 {
        match self {
            Self::Planned => 1,
            Self::SuspectedCompromise => 2,
            Self::CleanStop => 3,
            Self::Crash => 4,
            Self::Restore => 5,
            Self::MemoryRebuilt => 6,
            Self::ClockBehind => 7,
            Self::ClockAhead => 8,
            Self::FatalError => 9,
        }
    }

    fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Planned,
            2 => Self::SuspectedCompromise,
            3 => Self::CleanStop,
            4 => Self::Crash,
            5 => Self::Restore,
            6 => Self::MemoryRebuilt,
            7 => Self::ClockBehind,
            8 => Self::ClockAhead,
            9 => Self::FatalError,
            _ => return None,
        })
    }

    /// The word for it in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::SuspectedCompromise => "suspected_compromise",
            Self::CleanStop => "clean_stop",
            Self::Crash => "crash",
            Self::Restore => "restore",
            Self::MemoryRebuilt => "memory_rebuilt",
            Self::ClockBehind => "clock_behind",
            Self::ClockAhead => "clock_ahead",
            Self::FatalError => "fatal_error",
        }
    }
}

impl Fact {
    /// The key in the leaf.
    #[must_use]
    pub const fn key(&self) -> u8 {
        match self {
            Self::PolicyHash(_) => 1,
            Self::Digest(_) => 2,
            Self::Deleted(_) => 3,
            Self::Number(_) => 4,
            Self::Fingerprints(_) => 5,
            Self::Cause(_) => 6,
            Self::LogSize(_) => 7,
            Self::Root(_) => 8,
            Self::Verifier(_) => 9,
            Self::Origin(_) => 10,
            Self::From(_) => 11,
            Self::Until(_) => 12,
            Self::Epoch(_) => 13,
            Self::HeartbeatSeconds(_) => 14,
            Self::KeptClasses(_) => 15,
            Self::ReplacedVerifier(_) => 16,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_uint(out, u64::from(self.key()));
        match self {
            Self::PolicyHash(hash) | Self::Digest(hash) | Self::Root(hash) => put_bytes(out, hash),
            Self::Deleted(counts) => {
                put_head(out, Kind::Array, 3);
                put_uint(out, counts.operation);
                put_uint(out, counts.evidence);
                put_uint(out, counts.system);
            }
            Self::Fingerprints(fingerprints) => {
                put_head(out, Kind::Array, length(fingerprints.len()));
                for fingerprint in fingerprints {
                    put_bytes(out, fingerprint);
                }
            }
            Self::Cause(cause) => put_uint(out, u64::from(cause.number())),
            Self::Verifier(verifier) | Self::ReplacedVerifier(verifier) => put_bytes(out, verifier),
            Self::Origin(origin) => put_bytes(out, origin.as_bytes()),
            Self::Number(value)
            | Self::LogSize(value)
            | Self::From(value)
            | Self::Until(value)
            | Self::Epoch(value)
            | Self::HeartbeatSeconds(value)
            | Self::KeptClasses(value) => put_uint(out, *value),
        }
    }

    fn decode(key: u64, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match key {
            1 => Self::PolicyHash(*reader.fixed()?),
            2 => Self::Digest(*reader.fixed()?),
            3 => {
                if reader.head(Kind::Array)? != 3 {
                    return Err(Malformed);
                }
                Self::Deleted(Counts { operation: reader.uint()?, evidence: reader.uint()?, system: reader.uint()? })
            }
            4 => Self::Number(reader.uint()?),
            5 => {
                // No capacity is taken from the length: it is a claim, and the input is short.
                let mut fingerprints = Vec::new();
                for _ in 0..reader.head(Kind::Array)? {
                    fingerprints.push(*reader.fixed()?);
                }
                Self::Fingerprints(fingerprints)
            }
            6 => Self::Cause(Cause::from_number(reader.uint()?).ok_or(Malformed)?),
            7 => Self::LogSize(reader.uint()?),
            8 => Self::Root(*reader.fixed()?),
            9 => Self::Verifier(*reader.fixed()?),
            10 => {
                let origin = std::str::from_utf8(reader.bytes()?).map_err(|_| Malformed)?;
                Self::Origin(origin.to_owned())
            }
            11 => Self::From(reader.uint()?),
            12 => Self::Until(reader.uint()?),
            13 => Self::Epoch(reader.uint()?),
            14 => Self::HeartbeatSeconds(reader.uint()?),
            15 => Self::KeptClasses(reader.uint()?),
            16 => Self::ReplacedVerifier(*reader.fixed()?),
            _ => return Err(Malformed),
        })
    }
}

/// The facts of one leaf, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(Vec<Fact>);

impl Facts {
    /// No facts.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// These facts; they may come in any order.
    #[must_use]
    pub fn new(mut facts: Vec<Fact>) -> Self {
        facts.sort_by_key(Fact::key);
        Self(facts)
    }

    /// The facts, by key.
    #[must_use]
    pub fn as_slice(&self) -> &[Fact] {
        &self.0
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number (fact 4), if there is one.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.0.iter().find_map(|fact| match fact {
            Fact::Number(value) => Some(*value),
            _ => None,
        })
    }

    /// The counts (fact 3), if there are any.
    #[must_use]
    pub fn deleted(&self) -> Option<Counts> {
        self.0.iter().find_map(|fact| match fact {
            Fact::Deleted(counts) => Some(*counts),
            _ => None,
        })
    }

    /// The keys as a set: bit n is fact n.
    pub(super) fn keys(&self) -> u32 {
        self.0.iter().fold(0, |set, fact| set | 1 << fact.key())
    }

    /// Whether a key is there twice.
    pub(super) fn has_repeated(&self) -> bool {
        !self.0.is_sorted_by(|one, next| one.key() < next.key())
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_head(out, Kind::Map, length(self.0.len()));
        for fact in &self.0 {
            fact.encode(out);
        }
    }

    /// Reads the map; keys must rise strictly.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = reader.head(Kind::Map)?;
        let mut facts = Vec::new();
        let mut last = 0;
        for _ in 0..count {
            let key = reader.uint()?;
            if key <= last {
                return Err(Malformed);
            }
            last = key;
            facts.push(Fact::decode(key, reader)?);
        }
        Ok(Self(facts))
    }
}

//! Trust policies (C2SP tlog-policy): which logs, which witnesses, and how many of them.

use super::note::{KeyKind, VerifierKey};

/// Names that mean something in the file itself.
const RESERVED: [&str; 3] = ["none", "any", "all"];

/// Whom a verifier believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    logs: Vec<VerifierKey>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    quorum: Quorum,
}

/// A witness of a trust policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its name within the file.
    pub name: String,
    /// Its key.
    pub key: VerifierKey,
    /// Where it takes checkpoints, if the file says so.
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    threshold: usize,
    members: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Quorum {
    None,
    Of(String),
}

/// A line of a trust policy that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The line is not `log`, `witness`, `group` or `quorum` with what belongs to it.
    #[error("line {0} of the trust policy is not a log, witness, group or quorum line")]
    Line(usize),
    /// A `vkey` is malformed, or a key of another type than its line asks for.
    #[error("line {0} of the trust policy has no usable key")]
    Key(usize),
    /// A name stands twice, means something else, or is not defined above.
    #[error("line {0} of the trust policy uses a name that is taken or not defined above")]
    Name(usize),
    /// A threshold is 0 or above the number of members.
    #[error("line {0} of the trust policy has a threshold that cannot be met or asks for nobody")]
    Threshold(usize),
    /// There is no log.
    #[error("the trust policy names no log")]
    NoLog,
    /// There is no `quorum` line; `quorum none` says that none is asked for.
    #[error("the trust policy has no quorum line")]
    NoQuorum,
}

impl Trust {
    /// Trust in these keys of logs and in no witness.
    #[must_use]
    pub const fn of_logs(keys: Vec<VerifierKey>) -> Self {
        Self { logs: keys, witnesses: Vec::new(), groups: Vec::new(), quorum: Quorum::None }
    }

    /// Reads a trust policy. Names must be defined above the line that uses them, so groups cannot
    /// go in circles; a name is a member of at most one group.
    ///
    /// # Errors
    ///
    /// A [`TrustError`] with the number of the line, from 1.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let mut trust = Self { logs: Vec::new(), witnesses: Vec::new(), groups: Vec::new(), quorum: Quorum::None };
        let mut quorum = None;
        for (line, text) in (1..).zip(text.lines()) {
            let words: Vec<&str> = text.split_ascii_whitespace().collect();
            match words.as_slice() {
                [] => {}
                [comment, ..] if comment.starts_with('#') => {}
                ["log", vkey] | ["log", vkey, _] => {
                    let key = parse_key(vkey, KeyKind::Ed25519, line)?;
                    if trust.logs.contains(&key) {
                        return Err(TrustError::Name(line));
                    }
                    trust.logs.push(key);
                }
                ["witness", name, vkey, url @ ..] if url.len() < 2 => {
                    let key = parse_key(vkey, KeyKind::Cosignature, line)?;
                    if trust.is_taken(name) || trust.witnesses.iter().any(|known| known.key == key) {
                        return Err(TrustError::Name(line));
                    }
                    trust.witnesses.push(Witness {
                        name: (*name).to_owned(),
                        key,
                        url: url.first().map(|url| (*url).to_owned()),
                    });
                }
                ["group", name, threshold, members @ ..] => {
                    let group = trust.parse_group(name, threshold, members, line)?;
                    trust.groups.push(group);
                }
                ["quorum", name] if quorum.is_none() => {
                    quorum = Some(match *name {
                        "none" => Quorum::None,
                        name if trust.is_defined(name) => Quorum::Of(name.to_owned()),
                        _ => return Err(TrustError::Name(line)),
                    });
                }
                _ => return Err(TrustError::Line(line)),
            }
        }
        if trust.logs.is_empty() {
            return Err(TrustError::NoLog);
        }
        trust.quorum = quorum.ok_or(TrustError::NoQuorum)?;
        Ok(trust)
    }

    fn parse_group(&self, name: &str, threshold: &str, members: &[&str], line: usize) -> Result<Group, TrustError> {
        let threshold = match threshold {
            "any" => 1,
            "all" => members.len(),
            number => number.parse().map_err(|_| TrustError::Threshold(line))?,
        };
        if threshold == 0 || threshold > members.len() {
            return Err(TrustError::Threshold(line));
        }
        if self.is_taken(name) {
            return Err(TrustError::Name(line));
        }
        let mut seen: Vec<&str> = Vec::new();
        for member in members {
            let elsewhere = self.groups.iter().any(|group| group.members.iter().any(|other| other == member));
            if elsewhere || seen.contains(member) || !self.is_defined(member) {
                return Err(TrustError::Name(line));
            }
            seen.push(member);
        }
        let members = members.iter().map(|member| (*member).to_owned()).collect();
        Ok(Group { name: name.to_owned(), threshold, members })
    }

    fn is_defined(&self, name: &str) -> bool {
        self.witnesses.iter().any(|witness| witness.name == name) || self.groups.iter().any(|group| group.name == name)
    }

    fn is_taken(&self, name: &str) -> bool {
        RESERVED.contains(&name) || self.is_defined(name)
    }

    /// The keys of the logs.
    #[must_use]
    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    /// The witnesses.
    #[must_use]
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// The keys of the witnesses.
    #[must_use]
    pub fn witness_keys(&self) -> Vec<VerifierKey> {
        self.witnesses.iter().map(|witness| witness.key.clone()).collect()
    }

    /// Whether any witness must have cosigned.
    #[must_use]
    pub fn asks_for_quorum(&self) -> bool {
        self.quorum != Quorum::None
    }

    /// Whether the cosignatures of these keys meet the quorum. Without one, always.
    #[must_use]
    pub fn is_met_by<'a>(&self, keys: impl IntoIterator<Item = &'a VerifierKey>) -> bool {
        let Quorum::Of(quorum) = &self.quorum else {
            return true;
        };
        let keys: Vec<&VerifierKey> = keys.into_iter().collect();
        let mut met: Vec<&str> = self
            .witnesses
            .iter()
            .filter(|witness| keys.contains(&&witness.key))
            .map(|witness| witness.name.as_str())
            .collect();
        // Groups stand below their members, so one pass in the order of the file is enough.
        for group in &self.groups {
            let count = group.members.iter().filter(|name| met.contains(&name.as_str())).count();
            if count >= group.threshold {
                met.push(&group.name);
            }
        }
        met.contains(&quorum.as_str())
    }
}

fn parse_key(vkey: &str, kind: KeyKind, line: usize) -> Result<VerifierKey, TrustError> {
    let key = VerifierKey::parse(vkey).map_err(|_| TrustError::Key(line))?;
    if key.kind() == kind { Ok(key) } else { Err(TrustError::Key(line)) }
}

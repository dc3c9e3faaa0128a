//! The journal of stops: a restore may lose new data, but must not lose a *no* (K6).
//!
//! Each withdrawal, refusal, objection, restriction, suppression and erasure is a line in every
//! place, fsynced before the person is answered: `seq time what subject purpose mac`, ids and keyed
//! values only, the MAC chained over the line before. One fsync serves everything that waits.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::crypto::commitment::JournalChain;
use crate::domain::consent::ConsentEventKind;
use crate::domain::id::SubjectId;

use super::keyholder::Keyholder;
use super::{Error, Result};

/// One stop.
#[derive(Clone, Debug)]
pub struct Stop {
    /// What was stopped.
    pub kind: StopKind,
    /// Whose.
    pub subject: SubjectId,
    /// The purpose, or a suppression value in hexadecimal digits; empty for a whole person.
    pub what: String,
    /// When.
    pub at: Timestamp,
}

/// What a line of the journal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopKind {
    /// A consent was withdrawn.
    Withdrawal,
    /// A consent was refused.
    Refusal,
    /// Art. 21.
    Objection,
    /// An address entered the suppression list.
    Suppression,
    /// Art. 17.
    Erasure,
}

impl StopKind {
    /// The kind of stop that a protective consent event is.
    #[must_use]
    pub const fn of(event: ConsentEventKind) -> Self {
        match event {
            ConsentEventKind::Object => Self::Objection,
            ConsentEventKind::Withdraw | ConsentEventKind::Invalidate => Self::Withdrawal,
            _ => Self::Refusal,
        }
    }

    /// Reads a spelling.
    #[must_use]
    pub fn parse(spelling: &str) -> Option<Self> {
        const ALL: [StopKind; 5] =
            [StopKind::Withdrawal, StopKind::Refusal, StopKind::Objection, StopKind::Suppression, StopKind::Erasure];
        ALL.into_iter().find(|kind| kind.as_str() == spelling)
    }

    /// The spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Withdrawal => "withdrawal",
            Self::Refusal => "refusal",
            Self::Objection => "objection",
            Self::Suppression => "suppression",
            Self::Erasure => "erasure",
        }
    }
}

/// The journal in all its places.
pub struct Journal {
    keyholder: Arc<Keyholder>,
    places: Mutex<Vec<Place>>,
}

struct Place {
    path: PathBuf,
    file: File,
    next: u64,
    last: [u8; 32],
}

const FILE: &str = "stops.journal";

impl Journal {
    /// Opens or begins the journal in each of these folders and checks its chain. A last line that a
    /// crash cut short is dropped: nobody was answered for it.
    ///
    /// # Errors
    /// [`Error::File`] when a place cannot be read or written, [`Error::WrongState`] when a chain
    /// does not hold.
    pub fn open(folders: &[PathBuf], keyholder: Arc<Keyholder>) -> Result<Self> {
        let secrets = keyholder.secrets();
        let chain = JournalChain::new(&secrets.journal);
        let places = folders.iter().map(|folder| Place::open(folder, &chain)).collect::<Result<Vec<_>>>()?;
        drop(secrets);
        Ok(Self { keyholder, places: Mutex::new(places) })
    }

    /// Writes stops durably in every place.
    ///
    /// # Errors
    /// [`Error::File`] when a place cannot be written; then nobody may be told that the stop stands.
    pub async fn write(&self, stops: Vec<Stop>) -> Result<()> {
        if stops.is_empty() {
            return Ok(());
        }
        let mut places = self.places.lock().await;
        let secrets = self.keyholder.secrets();
        let mut taken = std::mem::take(&mut *places);
        let (taken, written) = tokio::task::spawn_blocking(move || {
            let chain = JournalChain::new(&secrets.journal);
            let written = taken.iter_mut().try_for_each(|place| place.append(&chain, &stops));
            (taken, written)
        })
        .await
        .map_err(|_| Error::WrongState("the journal of stops cannot be written"))?;
        *places = taken;
        written
    }
}

impl Journal {
    /// Goes through the stops of every place, each in its order. What stands in two places comes twice.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub async fn each<T: Send + 'static>(
        &self,
        mut told: T,
        mut visit: impl FnMut(&mut T, Stop) + Send + 'static,
    ) -> Result<T> {
        let places: Vec<PathBuf> = self.places.lock().await.iter().map(|place| place.path.clone()).collect();
        let secrets = self.keyholder.secrets();
        tokio::task::spawn_blocking(move || {
            let chain = JournalChain::new(&secrets.journal);
            for path in places {
                let failed = |source| cannot_open(&path, source);
                let file = File::open(&path).map_err(failed)?;
                let mut unread = false;
                walk(&file, &chain, &path, |line| match Stop::read(line) {
                    Some(stop) => visit(&mut told, stop),
                    None => unread = true,
                })?;
                if unread {
                    return Err(Error::WrongState("the journal of stops holds a line that this version cannot read"));
                }
            }
            Ok(told)
        })
        .await
        .map_err(|_| Error::WrongState("the journal of stops cannot be read"))?
    }
}

/// Counts the stops of these folders from an instant on, by kind; what stands in two places counts once.
/// The chain is not checked: nothing is changed and no key is opened.
///
/// # Errors
/// [`Error::File`] when a place cannot be read.
pub(super) fn count_since(folders: &[PathBuf], since: Timestamp) -> Result<BTreeMap<&'static str, u64>> {
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for folder in folders {
        let path = folder.join(FILE);
        let mut found: BTreeMap<&'static str, u64> = BTreeMap::new();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(cannot_open(&path, error)),
        };
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|source| cannot_open(&path, source))?;
            let stop = line.rsplit_once(' ').and_then(|(body, _)| Stop::read(body));
            if let Some(stop) = stop.filter(|stop| stop.at >= since) {
                *found.entry(stop.kind.as_str()).or_default() += 1;
            }
        }
        for (kind, count) in found {
            let most = counts.entry(kind).or_default();
            *most = count.max(*most);
        }
    }
    Ok(counts)
}

impl Stop {
    /// Reads a line without its MAC: `seq time kind subject what`.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?.parse().ok()?, StopKind::parse(words.next()?)?);
        let (subject, what) = (SubjectId::parse(words.next()?)?, words.next()?);
        let what = if what == "-" { String::new() } else { what.to_owned() };
        words.next().is_none().then_some(Self { kind, subject, what, at })
    }
}

/// What a whole journal comes to.
struct Walked {
    next: u64,
    last: [u8; 32],
    /// Bytes of whole lines.
    whole: u64,
}

/// Goes through the lines of a place and checks its chain. A last line that was cut short is left out.
fn walk(file: &File, chain: &JournalChain<'_>, path: &Path, mut visit: impl FnMut(&str)) -> Result<Walked> {
    let mut walked = Walked { next: 0, last: [0; 32], whole: 0 };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(|source| cannot_open(path, source))?;
        if read == 0 || line.last() != Some(&b'\n') {
            return Ok(walked);
        }
        let text = std::str::from_utf8(&line).unwrap_or_default().trim_end();
        let broken = Error::WrongState("the journal of stops is broken: a line does not follow the one before");
        let Some((body, mac)) = text.rsplit_once(' ') else { return Err(broken) };
        let Ok(mac) = data_encoding::HEXLOWER.decode(mac.as_bytes()) else { return Err(broken) };
        if !chain.follows(&walked.last, body.as_bytes(), &mac) {
            return Err(broken);
        }
        walked.last = mac.try_into().map_err(|_| broken)?;
        walked.next += 1;
        walked.whole += u64::try_from(read).unwrap_or(0);
        visit(body);
    }
}

fn cannot_open(path: &Path, source: std::io::Error) -> Error {
    Error::File { what: "cannot open the journal of stops", path: path.display().to_string(), source }
}

impl Place {
    fn open(folder: &Path, chain: &JournalChain<'_>) -> Result<Self> {
        super::set_up::make_private_folder(folder)?;
        let path = folder.join(FILE);
        let failed = |source| cannot_open(&path, source);
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path).map_err(failed)?;
        let Walked { next, last, whole } = walk(&file, chain, &path, |_| {})?;
        file.set_len(whole).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(Self { path, file, next, last })
    }

    fn append(&mut self, chain: &JournalChain<'_>, stops: &[Stop]) -> Result<()> {
        let mut text = String::new();
        let (mut next, mut last) = (self.next, self.last);
        for stop in stops {
            let what = if stop.what.is_empty() { "-" } else { &stop.what };
            let body = format!("{next} {} {} {} {what}", stop.at, stop.kind.as_str(), stop.subject);
            last = chain.mac(&last, body.as_bytes());
            text.push_str(&body);
            text.push(' ');
            text.push_str(&data_encoding::HEXLOWER.encode(&last));
            text.push('\n');
            next += 1;
        }
        let failed = |source| Error::File {
            what: "cannot write the journal of stops",
            path: self.path.display().to_string(),
            source,
        };
        let length = self.file.metadata().map_err(failed)?.len();
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half a line would break the chain for good.
            self.file.set_len(length).map_err(failed)?;
            return Err(failed(error));
        }
        (self.next, self.last) = (next, last);
        Ok(())
    }
}

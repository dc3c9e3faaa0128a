//! Reading the log from a position to its end, with rests.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::audit::finding::Report;
use crate::audit::tree::Frontier;
use crate::audit::verify::{EntryWatch, Paused, Start, Story, Verifier};
use crate::gateway::verify::{
    Against, Begun, Business, Destroyed, PartOpener, Payloads, Reading, Verification, WrongTile, begin, partitions,
    total,
};
use crate::gateway::{Error, Gateway, Result};
use crate::storage::audit_log::{self, LogHead, ScrubState};

use super::{Pace, Tally};

/// How often the position is remembered.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// Positions in one step of looking back at what a reading that was interrupted had seen.
const LOOK_BACK: u64 = 10_000;
/// A rest is taken in pieces, so that it can be broken off.
const NAP: Duration = Duration::from_millis(100);

/// How a reading ended.
pub(super) enum Read {
    ToTheEnd(Box<Whole>),
    /// Leaves below were read, and the rest the next time.
    Until(u64),
    LeaseLost,
}

/// What a reading that came to the end of the log found.
pub(super) struct Whole {
    /// As it was before; what was found earlier stands in its progress.
    pub(super) state: ScrubState,
    pub(super) report: Report,
    pub(super) wrong: Vec<WrongTile>,
    pub(super) head: LogHead,
}

/// What is remembered of a reading that is not finished.
#[derive(Serialize, Deserialize)]
pub(super) struct Progress {
    size: u64,
    /// In hexadecimal digits.
    frontier: String,
    story: Story,
    faults: u64,
    first_fault: Option<u64>,
}

impl Progress {
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(super) const fn tally(&self) -> Tally {
        Tally { faults: self.faults, first: self.first_fault }
    }

    fn of(paused: Paused, tally: Tally) -> Self {
        Self {
            size: paused.frontier.size(),
            frontier: data_encoding::HEXLOWER.encode(&paused.frontier.to_bytes()),
            story: paused.story,
            faults: tally.faults,
            first_fault: tally.first,
        }
    }

    fn paused(&self) -> Option<Paused> {
        let bytes = data_encoding::HEXLOWER.decode(self.frontier.as_bytes()).ok()?;
        Some(Paused { frontier: Frontier::from_bytes(self.size, &bytes).ok()?, story: self.story.clone() })
    }
}

/// Reads until the end of the log or until `go_on` says no. `save` remembers a state and says whether
/// the work is still this instance's.
pub(super) fn read(
    house: &Gateway,
    pace: Pace,
    mut go_on: impl FnMut(u64) -> bool,
    save: impl Fn(ScrubState) -> Result<bool>,
) -> Result<Read> {
    let began = Instant::now();
    let mut connection = house.settings.database.connect_to_read().map_err(Error::store)?;
    let state = audit_log::scrub_state(&mut connection).map_err(Error::store)?;
    let Begun { known, frontier, findings, head } = begin(&own_verification(house), &mut connection)?;
    let first = frontier.size();
    let pruned = head.map_or(0, |head| head.minimum_index);
    // What was pruned meanwhile cannot be gone on from.
    let progress = state.progress.as_deref().and_then(Progress::parse).filter(|progress| progress.size >= first);
    let before = progress.as_ref().map_or_else(Tally::default, Progress::tally);
    let paused = progress.and_then(|progress| progress.paused());

    let size = total(&mut connection, None)?;
    let count = partitions(size);
    // Of a very large log each scrub watches another part of the entries for repetition.
    let part = u8::try_from(state.round % u64::from(count)).unwrap_or(0);
    let start = Start { entries: EntryWatch::partition(part, count), ..known.start() };
    let (from, mut verifier) = match paused {
        Some(paused) => (paused.frontier.clone(), Verifier::resume(start, paused)),
        None => (frontier.clone(), Verifier::new(Start { frontier, ..start })),
    };
    let origin = house.origin.clone();
    let mut payloads = Payloads::new(PartOpener::of(&house.keyholder), origin, &house.settings.keys, Against::Rows)?;
    let mut looked = first;
    while looked < from.size() {
        let (began, until) = (Instant::now(), looked.saturating_add(LOOK_BACK).min(from.size()));
        payloads.look_back(&mut connection, looked, until)?;
        looked = until;
        if !rest(pace, began.elapsed(), || go_on(from.size())) {
            return Ok(Read::Until(from.size()));
        }
    }
    let mut reading = Reading::new(&mut connection, from, size)?.opening(Some(payloads));
    if !rest(pace, began.elapsed(), || go_on(reading.position())) {
        return Ok(Read::Until(reading.position()));
    }
    let mut saved = Instant::now();
    loop {
        let began = Instant::now();
        if !reading.step(&mut verifier, None)? {
            break;
        }
        let is_interrupted = !rest(pace, began.elapsed(), || go_on(reading.position()));
        if is_interrupted || saved.elapsed() >= SAVE_EVERY {
            saved = Instant::now();
            if let Some(paused) = verifier.pause() {
                let tally = before.with(verifier.found()).with(reading.found());
                let progress = serde_json::to_string(&Progress::of(paused, tally)).ok();
                if !save(ScrubState { position: reading.position(), progress, ..state.clone() })? {
                    return Ok(Read::LeaseLost);
                }
            }
        }
        if is_interrupted {
            return Ok(Read::Until(reading.position()));
        }
    }

    let began = Instant::now();
    let (report, wrong, head) = end(reading, verifier)?;
    if !rest(pace, began.elapsed(), || go_on(head.size)) {
        return Ok(Read::Until(head.size));
    }
    if head.minimum_index != pruned {
        // Leaves went from under the reading; it begins anew.
        let is_ours = save(ScrubState { position: 0, progress: None, ..state })?;
        return Ok(if is_ours { Read::Until(0) } else { Read::LeaseLost });
    }
    let mut business = Business::new(first, head.size, (part, part + 1), count);
    loop {
        let began = Instant::now();
        if !business.step(&mut connection)? {
            break;
        }
        if !rest(pace, began.elapsed(), || go_on(head.size)) {
            return Ok(Read::Until(head.size));
        }
    }
    let memory = (Some(house.settings.memory.as_path()), house.origin.as_str());
    let mut destroyed = Destroyed::new(&mut connection, &house.settings.keys, memory, first, head.size)?;
    loop {
        let began = Instant::now();
        if !destroyed.step(&mut connection)? {
            break;
        }
        if !rest(pace, began.elapsed(), || go_on(head.size)) {
            return Ok(Read::Until(head.size));
        }
    }
    let mut report = report;
    report.findings.extend(findings);
    report.findings.extend(business.findings());
    report.findings.extend(destroyed.findings());
    report.conclude();
    Ok(Read::ToTheEnd(Box::new(Whole { state, report, wrong, head })))
}

/// Reads what was appended meanwhile and counts the sealed rows, all as of one instant: rows go while
/// a reading lasts, so what was seen page by page cannot be balanced.
fn end(mut reading: Reading<'_>, mut verifier: Verifier) -> Result<(Report, Vec<WrongTile>, LogHead)> {
    reading.connection().begin_snapshot().map_err(Error::store)?;
    let head = audit_log::head(reading.connection()).map_err(Error::store)?.ok_or(Error::NotFound)?;
    while reading.step(&mut verifier, None)? {}
    let rows = audit_log::part_counts(reading.connection()).map_err(Error::store)?;
    reading.connection().end_snapshot().map_err(Error::store)?;
    let (report, wrong) = reading.conclude(verifier.finish_with_rows(rows), Some(&head));
    Ok((report, wrong, head))
}

/// What this gateway knows of its own log.
fn own_verification(house: &Gateway) -> Verification {
    Verification {
        database: house.settings.database.clone(),
        keys: Some(house.settings.keys.clone()),
        memory: Some(house.settings.memory.clone()),
        checkpoints: Vec::new(),
        trust: None,
        anchor_roots: Default::default(),
        maximum_age: None,
        now: house.source.now(),
        business: true,
        destroyed_keys: false,
        opener: None,
    }
}

/// Rests after work that took so long. False: the scrub is to stop.
fn rest(pace: Pace, worked: Duration, mut go_on: impl FnMut() -> bool) -> bool {
    let mut left = match pace {
        Pace::Tenth => worked.saturating_mul(9),
        Pace::Full => Duration::ZERO,
    };
    while go_on() {
        if left.is_zero() {
            return true;
        }
        let nap = left.min(NAP);
        std::thread::sleep(nap);
        left -= nap;
    }
    false
}

//! What whoever has the key of a log can write: everything hashes and is signed, and the history itself is wrong.

use amanat::audit::anchor::query;
use amanat::audit::leaf::{Cause, Counts, Fact};
use amanat::domain::event::{Event, Outcome};
use amanat::policy::{Files, content_hash};

use crate::harness::authority::{Authority, Made, USUAL};
use crate::harness::shipped_policy;
use crate::tamper::Attack;
use crate::tamper::Place::{At, Between, Whole};
use crate::tamper::made::{HOUR, MadeKey, MadeLog, START, trust};

/// Histories, each signed by the log's own key.
pub fn by_the_owner_of_the_key() -> Vec<Attack<'static>> {
    [clocks(), rotations(), silences(), forks(), prunes(), time_stamps(), successors()].into_iter().flatten().collect()
}

fn signed(mut log: MadeLog, key: &MadeKey) -> MadeLog {
    log.sign(&[key]);
    log
}

/// 11, 33: what a wrong clock leaves behind, and what nobody may write.
fn clocks() -> Vec<Attack<'static>> {
    let key = MadeKey::new(1);
    let own = trust(&[&key]);
    let before = MadeLog::of(&key, 620);
    let last = before.time - HOUR / 2;

    let mut clamped = before.clone();
    clamped.time = last;
    clamped.push(Event::ClockRegressed, Outcome::Done, vec![Fact::From(last), Fact::Until(last - HOUR)]);
    clamped.beat(10);

    let mut corrected = before.clone();
    let leapt = vec![Fact::From(last), Fact::Until(last + 2 * 365 * 24 * HOUR)];
    corrected.push(Event::ClockLeapt, Outcome::Refused, leapt);
    let from = corrected.time;
    corrected.time = last;
    let facts = vec![Fact::Cause(Cause::ClockAhead), Fact::From(from), Fact::Until(last), Fact::Epoch(1)];
    corrected.push(Event::ClockCorrected, Outcome::Done, facts);
    corrected.beat(10);

    let mut forged = before;
    forged.time = last - HOUR;
    forged.beat(10);
    vec![
        Attack::made(11, "a clock that went back, told and clamped", &signed(clamped, &key), own.clone()).in_order(),
        Attack::made(11, "a smaller time, signed", &signed(forged, &key), own.clone()).gives(
            40,
            "clock_backwards",
            At(620),
        ),
        Attack::made(33, "a clock two years ahead, refused and corrected", &signed(corrected, &key), own).in_order(),
    ]
}

/// 15: which key may sign which size.
fn rotations() -> Vec<Attack<'static>> {
    let (old, new) = (MadeKey::new(1), MadeKey::new(2));
    let own = trust(&[&old, &new]);
    let mut log = MadeLog::of(&old, 610);
    log.sign(&[&old]);
    let facts = vec![
        Fact::Cause(Cause::Planned),
        Fact::Verifier(new.verifier.typed()),
        Fact::ReplacedVerifier(old.verifier.typed()),
    ];
    log.push(Event::LogKeyRotated, Outcome::Done, facts);
    log.sign(&[&old, &new]);
    log.beat(20);
    log.sign(&[&new]);
    let (early, size) = (610, log.size());
    vec![
        Attack::made(15, "a key that was rotated", &log, own.clone()).in_order(),
        Attack::made(15, "the same, to whoever knew the old key alone", &log, trust(&[&old])).in_order(),
        Attack::made(15, "the same, to whoever knows the new key alone", &log, trust(&[&new])).in_order(),
        Attack::made(15, "the same, to a stranger", &log, trust(&[&MadeKey::new(3)])).gives(
            40,
            "checkpoint_signature",
            Whole,
        ),
        Attack::made(15, "the new key on an old size", &log, own.clone()).with_note(log.note(early, &[&new])).gives(
            40,
            "key_not_valid_here",
            At(early),
        ),
        Attack::made(15, "the retired key on a new size", &log, own.clone()).with_note(log.note(size, &[&old])).gives(
            40,
            "key_not_valid_here",
            At(size),
        ),
        Attack::made(15, "both keys long after the rotation", &log, own.clone())
            .with_note(log.note(size, &[&old, &new]))
            .gives(40, "key_not_valid_here", At(size)),
        Attack::made(15, "a key that no leaf names", &log, trust(&[&old, &new, &MadeKey::new(3)]))
            .with_note(log.note(size, &[&MadeKey::new(3)]))
            .gives(40, "key_not_valid_here", At(size)),
    ]
}

/// 16, 17: hours in which nothing is said.
fn silences() -> Vec<Attack<'static>> {
    let key = MadeKey::new(1);
    let own = trust(&[&key]);
    let mut whole = MadeLog::of(&key, 700);
    let saved = whole.sign(&[&key]);
    // In a quiet hour the last fifty leaves go, and the log goes on as if they had never been.
    let mut cut = whole.cut(650);
    cut.time = whole.time + 3 * HOUR;
    cut.beat(20);
    let mut longer = cut.clone();
    longer.beat(50);
    // A stop that was told is no silence.
    let mut stopped = MadeLog::of(&key, 650);
    stopped.push(Event::GatewayStopped, Outcome::Done, vec![Fact::Cause(Cause::CleanStop)]);
    stopped.time += 40 * HOUR;
    stopped.beat(5);

    let mut dumb = MadeLog::opened(&key);
    for _ in 0..620 {
        dumb.time += 4 * HOUR;
        dumb.push(Event::LogWitnessed, Outcome::Done, vec![Fact::LogSize(1), Fact::Until(START)]);
    }
    let cut = signed(cut, &key);
    vec![
        Attack::made(17, "truncated in a quiet hour", &cut, own.clone()).gives(20, "silence", Between(649, 650)),
        Attack::made(17, "the same, and somebody saved a checkpoint past it", &cut, own.clone())
            .with_note(saved.clone())
            .gives(30, "rollback", Between(670, 699))
            .proves("rollback"),
        Attack::made(17, "the same, and it has grown past that", &signed(longer, &key), own.clone())
            .with_note(saved)
            .gives(30, "fork", At(700)),
        Attack::made(17, "a stop that was told", &signed(stopped, &key), own.clone()).in_order(),
        Attack::made(16, "no heartbeats, although leaf 0 announces them", &signed(dumb, &key), own).gives(
            50,
            "downgrade",
            Whole,
        ),
    ]
}

/// 5, 6, 9, 18: two histories of one log.
fn forks() -> Vec<Attack<'static>> {
    let key = MadeKey::new(1);
    let own = trust(&[&key]);
    let mut whole = MadeLog::of(&key, 640);
    whole.sign(&[&key]);
    let mut newer = whole.clone();
    newer.beat(60);
    let saved = newer.sign(&[&key]);
    let short = signed(newer.cut(600), &key);
    let rewritten = signed(
        {
            let mut other = newer.cut(1);
            other.beat(699);
            other
        },
        &key,
    );
    vec![
        Attack::made(5, "truncated and signed again", &short, own.clone())
            .with_note(saved.clone())
            .gives(30, "rollback", Between(600, 699))
            .proves("rollback"),
        Attack::made(6, "written again from the first leaf on", &rewritten, own.clone())
            .with_note(saved.clone())
            .gives(30, "fork", At(700))
            .proves("fork"),
        Attack::made(18, "an old view", &whole, own.clone()).with(&["--max-age", "24h"]).gives(10, "stale", Whole),
        Attack::made(18, "an old view, and a newer one was saved", &whole, own)
            .with(&["--max-age", "24h"])
            .with_note(saved)
            .gives(30, "rollback", Between(640, 699)),
    ]
}

/// 23: leaves that were pruned, by the leaf that says so.
fn prunes() -> Vec<Attack<'static>> {
    let key = MadeKey::new(1);
    let own = trust(&[&key]);
    let years = |years: u64| years * 366 * 24 * HOUR;
    // The stop before the years explains them.
    let pruned = |passed: u64, below: u64, policy: &Files, shifted: u64| {
        let mut log = MadeLog::of(&key, 800);
        log.push(Event::GatewayStopped, Outcome::Done, vec![Fact::Cause(Cause::CleanStop)]);
        log.time += years(passed);
        let newest = START + (below - 1) * HOUR / 2 + shifted;
        let facts = vec![
            Fact::PolicyHash(content_hash(policy).0),
            Fact::Deleted(Counts::default()),
            Fact::Number(below),
            Fact::Root(log.root_at(below)),
            Fact::Until(newest),
        ];
        log.push(Event::LogPruned, Outcome::Done, facts);
        log.beat(5);
        signed(log, &key)
    };
    let usual = shipped_policy();
    let mut brief = usual.clone();
    let retention = String::from_utf8(brief["retention.toml"].clone()).expect("UTF-8");
    brief.insert("retention.toml".to_owned(), retention.replace("P10Y", "P2Y").into_bytes());
    let mut by_another = pruned(3, 512, &brief, 0);
    by_another.add_policy(brief.clone());
    let mut too_young_for_another = pruned(1, 512, &brief, 0);
    too_young_for_another.add_policy(brief);
    // Ten years of the calendar have 3,652 or 3,653 days; between the newest leaf and the prune lie eleven times 366 days
    // and the six of the leaves between them.
    let [too_young, old_enough] = [14, 12].map(|days: u64| years(1) + days * 24 * HOUR);
    let at = At(801);
    let beyond = "prune_beyond_policy";
    vec![
        Attack::made(23, "leaves that were old enough", &pruned(11, 512, &usual, 0), own.clone()).in_order(),
        Attack::made(23, "leaves that were too young", &pruned(9, 512, &usual, 0), own.clone()).gives(40, beyond, at),
        Attack::made(23, "the newest of them was days too young", &pruned(11, 512, &usual, too_young), own.clone())
            .gives(40, beyond, at),
        Attack::made(23, "the newest of them was just old enough", &pruned(11, 512, &usual, old_enough), own.clone())
            .in_order(),
        Attack::made(23, "too near the end", &pruned(11, 768, &usual, 0), own.clone()).gives(40, beyond, at),
        Attack::made(23, "not whole tiles", &pruned(11, 300, &usual, 0), own.clone()).gives(40, beyond, at),
        Attack::made(23, "by a policy that keeps less", &by_another, own.clone()).in_order(),
        Attack::made(23, "too young for that one too", &too_young_for_another, own.clone()).gives(40, beyond, at),
        Attack::made(23, "by a policy that nobody shows", &pruned(11, 512, &usual, 0).without_policies(), own)
            .gives(40, beyond, at),
    ]
}

/// 6, 30: time-stamps on a log and on its rewritten copy.
fn time_stamps() -> Vec<Attack<'static>> {
    let key = MadeKey::new(1);
    let own = trust(&[&key]);
    let authority = Authority::make(USUAL);
    let expired = Authority::make(Made { until: "20210101000000Z", ..USUAL });
    let reply = |authority: &Authority, text: &str| authority.reply(&query(text, &[7; 16]).expect("query"));
    let mut log = MadeLog::of(&key, 640);
    let saved = log.sign(&[&key]);
    let text = log.checkpoint(640).text();
    let sound = reply(&authority, &text);
    let told = |log: &mut MadeLog, reply: &[u8]| {
        use sha2::Digest as _;
        let facts = vec![Fact::LogSize(640), Fact::Digest(sha2::Sha256::digest(reply).into())];
        log.push(Event::LogAnchored, Outcome::Done, facts);
        log.beat(9);
    };
    let with = |log: &MadeLog, kept: Option<&[u8]>, said: Option<&[u8]>| {
        let mut log = log.clone();
        kept.iter().for_each(|reply| log.dated(640, reply.to_vec()));
        if let Some(reply) = said {
            told(&mut log, reply);
        }
        signed(log, &key)
    };
    let mut rewritten = log.cut(1);
    rewritten.beat(639);
    rewritten.sign(&[&key]);
    let elsewhere = reply(&authority, &rewritten.checkpoint(640).text());
    let lapsed = reply(&expired, &text);
    let mut altered = sound.clone();
    // The token says another second: what is signed is another text.
    let second = altered.windows(3).position(|window| window == b"Z0\x0a").unwrap_or(altered.len() / 3);
    altered[second - 6] ^= 1;
    let (pending, invalid) = ("anchor_pending", "anchor_invalid");
    vec![
        Attack::made(
            30,
            "by an authority that nobody knows here",
            &with(&log, Some(&sound), Some(&sound)),
            own.clone(),
        )
        .gives(10, pending, At(640)),
        Attack::made(
            30,
            "by one whose certificate had expired",
            &with(&log, Some(&lapsed), Some(&lapsed)),
            own.clone(),
        )
        .gives(10, pending, At(640)),
        Attack::made(30, "a reply that the log tells of is not here", &with(&log, None, Some(&sound)), own.clone())
            .gives(10, pending, At(640)),
        Attack::made(30, "of another imprint", &with(&log, Some(&elsewhere), None), own.clone()).gives(
            40,
            invalid,
            At(640),
        ),
        Attack::made(30, "not the reply that the log tells of", &with(&log, Some(&lapsed), Some(&sound)), own.clone())
            .gives(40, invalid, At(640)),
        Attack::made(30, "half a reply", &with(&log, Some(&sound[..sound.len() / 2]), None), own.clone()).gives(
            40,
            invalid,
            At(640),
        ),
        Attack::made(30, "a byte more", &with(&log, Some(&[sound.as_slice(), &[0]].concat()), None), own.clone())
            .gives(40, invalid, At(640)),
        Attack::made(30, "a token that says another time", &with(&log, Some(&altered), None), own.clone()).gives(
            40,
            invalid,
            At(640),
        ),
        Attack::made(6, "written again, with the old time-stamp", &with(&rewritten, Some(&sound), None), own.clone())
            .gives(40, invalid, At(640)),
        Attack::made(6, "the same, and somebody saved a checkpoint", &with(&rewritten, Some(&sound), None), own)
            .with_note(saved)
            .gives(30, "fork", At(640)),
    ]
}

/// 34: a log that succeeds one which lost leaves says so for ever.
fn successors() -> Vec<Attack<'static>> {
    let key = MadeKey::new(1);
    let own = trust(&[&key]);
    let succeeding = |lost: u64| {
        let last = || vec![Fact::LogSize(900), Fact::Root([9; 32])];
        let mut log = MadeLog::opened_with(&key, [last(), vec![Fact::Epoch(1)]].concat());
        log.push(Event::LogSucceeded, Outcome::Done, [last(), vec![Fact::Number(lost)]].concat());
        log.beat(620);
        signed(log, &key)
    };
    vec![
        Attack::made(34, "a successor after a loss", &succeeding(7), own.clone()).gives(
            20,
            "succeeded_with_loss",
            At(1),
        ),
        Attack::made(34, "a successor of a whole log", &succeeding(0), own).in_order(),
    ]
}

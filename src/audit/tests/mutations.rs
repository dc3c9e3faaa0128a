//! Every parser of the log against bytes that are nearly right.
//!
//! Each starts from valid inputs and changes them the way their form suggests: numbers at the edges of
//! their types, lines doubled and swapped, heads of CBOR with other lengths, pieces of one input in
//! another. What a parser takes becomes a start of its own. Nothing may panic or take long, and what is
//! read must be what would be written: a second spelling of anything could be shown to a verifier as
//! something else. `AMANAT_TEST_LONG=1` changes a hundred and twenty-five times as many,
//! `AMANAT_TEST_SEED` repeats a run.

use std::time::{Duration, Instant};

use data_encoding::{BASE64, HEXLOWER};

use super::vectors::{text, vectors};
use crate::audit::bundle::container::{HEADER_LENGTH, Member, header, read_header};
use crate::audit::bundle::{BundlePath, FileHash, Manifest};
use crate::audit::checkpoint::{Checkpoint, open};
use crate::audit::evidence::{Evidence, Kind};
use crate::audit::leaf::{Draft, Leaf};
use crate::audit::note::{Note, VerifierKey};
use crate::audit::payload::{Value, read_plaintext};
use crate::audit::proof::LogProof;
use crate::audit::receipt::{Receipt, TrustSource};
use crate::audit::tile::{TilePath, put_entry, read_entries};
use crate::audit::trust::Trust;
use crate::audit::witness::{AddCheckpoint, Claim, cosignatures, size_in};

/// Changed inputs for each parser.
const TURNS: u32 = 2_000;
/// In the long form.
const LONG_TURNS: u32 = 250_000;
/// Longer than this no input of a few kilobytes may take, even in a debug build on a busy machine.
const LIMIT: Duration = Duration::from_secs(5);
/// Inputs that were taken and are changed further, at most.
const STARTS: usize = 400;
/// Bytes of an input at most.
const LONGEST: usize = 70_000;

/// A parser under test.
struct Parser {
    name: &'static str,
    /// Inputs it must take.
    starts: Vec<Vec<u8>>,
    /// Reads; of what it takes, gives what would be written.
    read: Box<dyn Fn(&[u8]) -> Option<Vec<u8>>>,
}

fn parser(name: &'static str, starts: Vec<Vec<u8>>, read: impl Fn(&[u8]) -> Option<Vec<u8>> + 'static) -> Parser {
    Parser { name, starts, read: Box::new(read) }
}

/// A parser of texts.
fn of_text(name: &'static str, starts: Vec<String>, read: impl Fn(&str) -> Option<String> + 'static) -> Parser {
    let starts = starts.into_iter().map(String::into_bytes).collect();
    parser(name, starts, move |bytes| read(std::str::from_utf8(bytes).ok()?).map(String::into_bytes))
}

fn parsers() -> Vec<Parser> {
    let all = vectors();
    let log = &all["amanat_log"];
    let bytes = |value: &serde_json::Value| HEXLOWER.decode(text(value).as_bytes()).unwrap();
    let leaves: Vec<Vec<u8>> = log["leaves"].as_array().unwrap().iter().map(|leaf| bytes(&leaf["leaf"])).collect();
    let proofs: Vec<String> = log["proofs"].as_object().unwrap().values().map(|proof| text(proof).to_owned()).collect();
    let note = text(&log["checkpoint"]).to_owned();
    let other = text(&all["signed_note"]["checkpoint"]).to_owned();
    let trust = text(&log["receipt_file"]["trust"]).to_owned();
    let vkey = text(&log["log_vkey"]).to_owned();
    let key = VerifierKey::parse(&vkey).unwrap();
    let witness = VerifierKey::parse(text(&log["witness_vkey"])).unwrap();
    let body = text(&all["signed_note"]["add_checkpoint_3_to_7"]).to_owned();
    let plaintext = BASE64.decode(text(&log["receipt_file"]["opened"][0]["plaintext"]).as_bytes()).unwrap();
    let payload = read_plaintext(&plaintext).unwrap().encode();
    let mut entries = Vec::new();
    leaves.iter().for_each(|leaf| put_entry(&mut entries, leaf).unwrap());

    vec![
        parser("leaf", leaves, |bytes| {
            let leaf = Leaf::decode(bytes).ok()?;
            let (seq, previous, time) = (leaf.seq, leaf.previous, leaf.time);
            let mut again = Vec::new();
            let draft = Draft::new(leaf.entry, leaf.event, leaf.outcome, leaf.parts, leaf.facts);
            draft.expect("what is read keeps the rules").encode(seq, &previous, time, &mut again);
            Some(again)
        }),
        parser("payload", vec![payload], |bytes| Value::decode(bytes).ok().map(|value| value.encode())),
        parser("plaintext", vec![plaintext], |bytes| {
            // Behind the payload a mark and zeros, up to a bucket.
            let payload = read_plaintext(bytes).ok()?.encode();
            let padding = bytes.strip_prefix(payload.as_slice()).expect("the payload stands first");
            assert!(padding.first() == Some(&0x80) && padding.iter().skip(1).all(|byte| *byte == 0));
            Some(bytes.to_vec())
        }),
        parser("note", vec![note.clone().into_bytes(), other.into_bytes()], |bytes| {
            let note = Note::parse(bytes).ok()?;
            let lines = note.signatures.iter().map(|line| {
                let bytes = [line.id.as_slice(), &line.bytes].concat();
                format!("\u{2014} {} {}\n", line.name, BASE64.encode(&bytes))
            });
            Some(format!("{}\n{}", note.text, lines.collect::<String>()).into_bytes())
        }),
        of_text("checkpoint", vec![note.split_inclusive('\n').take(3).collect()], |text| {
            Checkpoint::parse(text).ok().map(|checkpoint| checkpoint.text())
        }),
        parser("signed checkpoint", vec![note.clone().into_bytes()], {
            let (key, witness) = (key.clone(), witness.clone());
            move |bytes| {
                let opened = open(bytes, None, std::slice::from_ref(&key), std::slice::from_ref(&witness)).ok()?;
                // No change of the text gets past the signature.
                assert_eq!((opened.checkpoint.size, opened.checkpoint.origin.as_str()), (6, key.name()));
                Some(bytes.to_vec())
            }
        }),
        of_text("verifier key", vec![vkey, witness.to_string()], |text| {
            VerifierKey::parse(text).ok().map(|key| key.to_string())
        }),
        of_text("proof", proofs, |text| LogProof::parse(text).ok().map(|proof| proof.to_string())),
        of_text(
            "tile path",
            ["tile/0/000", "tile/entries/x001/x234/067.p/112", "tile/7/x999/999"].map(str::to_owned).into(),
            |text| TilePath::parse(text).map(|path| path.to_string()),
        ),
        parser("entry bundle", vec![entries], |bytes| {
            let mut again = Vec::new();
            read_entries(bytes).ok()?.iter().for_each(|leaf| put_entry(&mut again, leaf).unwrap());
            Some(again)
        }),
        of_text(
            "trust",
            vec![
                trust.clone(),
                format!("# two of\n{trust}").replace("quorum", "group g 1 w1\ngroup h any g\n# quorum\nquorum"),
            ],
            |text| {
                let trust = Trust::parse(text).ok()?;
                let keys = trust.witness_keys();
                assert!(!trust.logs().is_empty() && (trust.is_met_by(&keys) || trust.asks_for_quorum()));
                assert_eq!(trust.is_met_by([]), !trust.asks_for_quorum(), "nobody meets a quorum");
                Some(text.to_owned())
            },
        ),
        of_text("witness request", vec![body], {
            let log = VerifierKey::parse(text(&all["signed_note"]["log_vkey"])).unwrap();
            move |text| {
                let judged = Claim::open(text.as_bytes(), std::slice::from_ref(&log)).map(|claim| claim.follows(None));
                assert!(!matches!(judged, Ok(Ok(()))), "it speaks of a log that this witness never cosigned");
                AddCheckpoint::parse(text.as_bytes()).ok().map(|request| request.to_string())
            }
        }),
        parser("witness answer", vec![note.split_inclusive('\n').skip(4).collect::<String>().into_bytes()], {
            let text: String = note.split_inclusive('\n').take(3).collect();
            let cosigned =
                open(note.as_bytes(), None, std::slice::from_ref(&key), std::slice::from_ref(&witness)).unwrap();
            let seconds = cosigned.cosignatures[0].seconds;
            move |bytes| {
                let kept = cosignatures(bytes, &text, std::slice::from_ref(&witness));
                assert!(kept.iter().all(|line| line.seconds == seconds && line.key == witness));
                (!kept.is_empty()).then(|| bytes.to_vec())
            }
        }),
        parser("witnessed size", vec![b"600\n".to_vec()], |bytes| {
            size_in(bytes).map(|size| format!("{size}\n").into_bytes())
        }),
        evidence(&all, key.clone()),
        receipt(&all),
        manifest(),
        of_text(
            "file of a bundle",
            [
                "checkpoints/600".to_owned(),
                "tile/0/x001/234.p/7".to_owned(),
                format!("sealed/{}.1", "0a".repeat(16)),
                format!("opened/{}.3.json", "0a".repeat(16)),
                "anchor/512.tsr".to_owned(),
                format!("policy/{}/notices/1.md", "ab".repeat(32)),
            ]
            .into(),
            |text| BundlePath::parse(text).map(|path| path.to_string()),
        ),
        container(),
    ]
}

fn evidence(all: &serde_json::Value, key: VerifierKey) -> Parser {
    let notes = [text(&all["amanat_log"]["checkpoint"]).to_owned(), text(&all["signed_note"]["checkpoint"]).to_owned()];
    let fork = Evidence { kind: Kind::Fork, notes, proof: Some(vec![[7; 32]; 3]), why: "met".to_owned() };
    let rollback = Evidence { kind: Kind::Rollback, proof: None, ..fork.clone() };
    parser("evidence", [fork, rollback].map(|evidence| evidence.to_json().into_bytes()).into(), move |bytes| {
        let evidence = Evidence::parse(bytes).ok()?;
        // JSON has many spellings; what is read stays the same.
        assert_eq!(Evidence::parse(evidence.to_json().as_bytes()), Ok(evidence.clone()));
        assert!(evidence.judge(std::slice::from_ref(&key)).is_err(), "nobody signed a contradiction");
        Some(bytes.to_vec())
    })
}

fn receipt(all: &serde_json::Value) -> Parser {
    let file = &all["amanat_log"]["receipt_file"];
    let trust = Trust::parse(text(&file["trust"])).unwrap();
    let original = serde_json::to_vec(file).unwrap();
    let fine = Receipt::parse(&original).unwrap();
    let proof = LogProof::parse(text(&file["proof"])).unwrap();
    parser("receipt", vec![original], move |bytes| {
        let receipt = Receipt::parse(bytes).ok()?;
        let written = serde_json::to_vec(&receipt).unwrap();
        assert!(Receipt::parse(&written).is_ok_and(|again| again == receipt));
        let report = receipt.verify(TrustSource::Own(&trust));
        assert_ne!(receipt.verify(TrustSource::Receipt).exit, 0, "its own word is not enough");
        if report.exit == 0 {
            // It says what was signed and nothing else, whatever its own claim of whom to trust.
            assert!(receipt.opened == fine.opened && receipt.statement == fine.statement);
            let shown = LogProof::parse(&receipt.proof).unwrap();
            assert_eq!(
                (shown.leaf, shown.index, shown.hashes),
                (proof.leaf.clone(), proof.index, proof.hashes.clone())
            );
        }
        Some(bytes.to_vec())
    })
}

fn manifest() -> Parser {
    let mut manifest = Manifest::new("gw.example/log".to_owned(), 600, 256, 600);
    for path in ["README.txt", "checkpoint", "tile/0/000"] {
        manifest.files.insert(path.to_owned(), FileHash([7; 32]));
    }
    let mut bytes = Vec::new();
    manifest.write(&mut bytes).unwrap();
    parser("manifest", vec![bytes], |bytes| {
        let mut again = Vec::new();
        Manifest::parse(bytes).ok()?.write(&mut again).unwrap();
        Some(again)
    })
}

fn container() -> Parser {
    let member = Member { path: "checkpoint".to_owned(), length: 300, checksum: 0xdead_beef, offset: 7 };
    parser("header in a zip", vec![header(&member)], |bytes| {
        let claimed = read_header(bytes.first_chunk()?)?;
        let path = String::from_utf8(bytes.get(HEADER_LENGTH..)?.to_vec()).ok()?;
        if usize::from(claimed.name) != path.len() {
            return None;
        }
        Some(header(&Member { path, length: claimed.length, checksum: claimed.checksum, offset: 0 }))
    })
}

/// A generator that a number repeats (Steele, Lea and Flood's SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(4) == 0 { length } else { 16 };
        start..(start + self.below(most + 1)).min(length)
    }
}

/// Bytes that mean something: edges of numbers, heads of CBOR, what separates texts.
const BYTES: &[u8] = b"\x00\x01\x17\x18\x19\x1a\x1b\x20\x3b\x40\x5b\x5f\x60\x7f\x80\x98\x9f\xa0\xb8\xbf\xc0\xf6\xf9\xff\n\r\t +/=\"\\{}[]:,.x0";
const NUMBERS: &[&str] = &[
    "0",
    "00",
    "1",
    "-1",
    "+1",
    "1e3",
    "1.0",
    "255",
    "256",
    "257",
    "65536",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
];

/// Changes an input in one way.
fn change(input: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let length = input.len();
    let place = dice.below(length);
    match dice.below(14) {
        0 if length > 0 => input[place] ^= 1 << dice.below(8),
        1 if length > 0 => input[place] = *dice.one(BYTES),
        2 => input.insert(place, *dice.one(BYTES)),
        3 => drop(input.drain(dice.range(length))),
        4 => input.truncate(place),
        // A piece once more, behind itself.
        5 => {
            let range = dice.range(length);
            let piece = input[range.clone()].repeat(1 + dice.below(3));
            input.splice(range.end..range.end, piece);
        }
        // A piece of another input.
        6 => {
            let piece = other[dice.range(other.len())].to_vec();
            input.splice(dice.range(length), piece);
        }
        7 => replace_number(input, dice),
        8 | 9 => change_lines(input, dice),
        // A head of CBOR, or another number in big-endian: one longer, or another value.
        10 if length > 0 => {
            let (major, short) = (input[place] & 0xe0, input[place] & 0x1f);
            let head = if dice.below(2) == 0 { vec![major | 24, short] } else { vec![major | 25, 0, short] };
            input.splice(place..=place, head);
        }
        11 => {
            let number = *dice.one(&[0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, 256, 1 << 32]);
            let end = (place + 8).min(length);
            input.splice(place..end, number.to_be_bytes());
        }
        // One letter of what may be base64: the same bytes in another spelling, if anybody takes it.
        12 if length > 0 => {
            input[place] = *dice.one(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
        }
        13 => spell_anew(input, dice),
        _ => input.push(*dice.one(BYTES)),
    }
}

/// Writes a run of base64 as two, each with its padding: the same bytes in another spelling.
fn spell_anew(input: &mut Vec<u8>, dice: &mut Dice) {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    let mut runs = Vec::new();
    let mut at = 0;
    for run in input.split(|byte| !is_letter(byte)) {
        runs.extend(BASE64.decode(run).ok().filter(|bytes| bytes.len() > 8).map(|bytes| (at..at + run.len(), bytes)));
        at += run.len() + 1;
    }
    if runs.is_empty() {
        return;
    }
    let (range, bytes) = dice.one(&runs).clone();
    let (one, other) = bytes.split_at(dice.below(bytes.len()));
    input.splice(range, [BASE64.encode(one), BASE64.encode(other)].concat().into_bytes());
}

fn replace_number(input: &mut Vec<u8>, dice: &mut Dice) {
    let starts: Vec<usize> = (0..input.len())
        .filter(|&at| input[at].is_ascii_digit() && (at == 0 || !input[at - 1].is_ascii_digit()))
        .collect();
    if starts.is_empty() {
        return;
    }
    let start = *dice.one(&starts);
    let digits = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    input.splice(start..start + digits, dice.one(NUMBERS).bytes());
}

fn change_lines(input: &mut Vec<u8>, dice: &mut Dice) {
    let mut lines: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let (one, another) = (dice.below(lines.len()), dice.below(lines.len()));
    match dice.below(6) {
        0 => lines.swap(one, another),
        1 => lines.insert(another, lines[one].clone()),
        2 => drop(lines.remove(one)),
        3 => lines.insert(one, Vec::new()),
        4 => lines[one].push(b'\r'),
        _ => {
            let many = vec![lines[one].clone(); 70];
            lines.splice(one..one, many);
        }
    }
    *input = lines.join(&b'\n');
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the environment says how long a test may take")]
fn what_is_nearly_right_is_refused_or_read_as_it_stands() {
    let turns = if std::env::var_os("AMANAT_TEST_LONG").is_some() { LONG_TURNS } else { TURNS };
    let seed = std::env::var("AMANAT_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for parser in parsers() {
        let mut dice = Dice(seed);
        let (mut taken, mut slowest) = (0_u32, Duration::ZERO);
        let mut starts = parser.starts;
        let given = starts.len();
        let longest = starts.iter().map(Vec::len).max().unwrap_or(0);
        for start in &starts {
            assert_eq!((parser.read)(start).as_ref(), Some(start), "{}", parser.name);
        }
        for turn in 0..turns {
            let mut input = dice.one(&starts).clone();
            let other = dice.one(&starts).clone();
            for _ in 0..=dice.below(4) {
                change(&mut input, &other, &mut dice);
                input.truncate(LONGEST);
            }
            let began = Instant::now();
            let written = (parser.read)(&input);
            let took = began.elapsed();
            assert!(took < LIMIT, "{}: turn {turn} of seed {seed} took {took:?}", parser.name);
            slowest = slowest.max(took);
            let Some(written) = written else { continue };
            assert_eq!(
                HEXLOWER.encode(&written),
                HEXLOWER.encode(&input),
                "{}: turn {turn} of seed {seed}",
                parser.name
            );
            taken += 1;
            if input.len() > 2 * longest + 64 {
                // Starts that grow and grow would leave no time for others.
            } else if starts.len() < STARTS {
                starts.push(input);
            } else {
                let place = given + dice.below(STARTS - given);
                starts[place] = input;
            }
        }
        println!("{}: {turns} changed inputs, {taken} of them valid, the slowest {slowest:?}", parser.name);
    }
}

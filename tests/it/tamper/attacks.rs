//! The table. The numbers are those of the design's list of attacks; what is not tried here is tried where it happens
//! ([`super::numbers`]).

mod files;
mod owner;

use std::path::Path;

use amanat::audit::leaf::{Leaf, leaf_hash};
use amanat::domain::event::Role;
use data_encoding::HEXLOWER;
use serde_json::Value;

use super::Attack;
use super::Place::{At, Between, Whole};
use super::rows::{Rows, entry_in, execute, time_in};
use super::scene::{Scene, signed_size};

pub use files::{on_bundles, on_files};
pub use owner::by_the_owner_of_the_key;

/// In microseconds.
const HOUR: u64 = 3_600_000_000;

/// Leaves changed, taken away, moved, put in.
pub fn on_leaves(scene: &Scene) -> Vec<Attack<'_>> {
    let size = scene.size;
    let (early, late) = (scene.bare(1), size - 1);
    let swap = |one: u64, other: u64| {
        move |file: &Path| {
            execute(file, &format!(
                "UPDATE audit_leaf SET seq = 100000 WHERE seq = {one}; UPDATE audit_leaf SET seq = {one} WHERE seq = {other};
                 UPDATE audit_leaf SET seq = {other} WHERE seq = 100000;"
            ));
        }
    };
    let rewritten = move |file: &Path, from: u64, change: &dyn Fn(&mut Rows)| {
        let mut rows = Rows::of(file);
        let from = usize::try_from(from).expect("position");
        change(&mut rows);
        rows.relink(from + 1);
        rows.write(file, from);
    };
    vec![
        Attack::on("log.db", 0, "nothing", |_| {}),
        Attack::on("log.db", 1, "a byte of a leaf", |file| change(file, 150, 45)).gives(40, "leaf_altered", At(150)),
        Attack::on("log.db", 1, "the first byte of a leaf", |file| change(file, 7, 0)).gives(40, "malformed", At(7)),
        Attack::on("log.db", 1, "a byte of the first leaf", |file| change(file, 0, 70)).gives(40, "leaf_altered", At(0)),
        Attack::on("log.db", 1, "a byte of the last leaf", move |file| change(file, late, 45))
            .gives(40, "leaf_altered", At(late)),
        Attack::on("log.db", 1, "the entry of a leaf", |file| change(file, 300, 47)).gives(40, "leaf_altered", At(300)),
        Attack::on("log.db", 1, "a leaf and its stored hash", |file| {
            let mut rows = Rows::of(file);
            let time = time_in(&rows.leaves[150]) + 7;
            rows.leaves[150][time] ^= 1;
            let (leaf, hash) = (HEXLOWER.encode(&rows.leaves[150]), HEXLOWER.encode(&leaf_hash(&rows.leaves[150])));
            execute(file, &format!("UPDATE audit_leaf SET leaf = x'{leaf}', hash = x'{hash}' WHERE seq = 150"));
        })
        .gives(40, "leaf_altered", At(150)),
        Attack::on("log.db", 2, "a leaf, and everything behind it made good", move |file| {
            rewritten(file, 350, &|rows| {
                let time = time_in(&rows.leaves[350]) + 7;
                rows.leaves[350][time] ^= 1;
            });
        })
        .gives(40, "root_mismatch", Between(scene.older, size - 1)),
        Attack::on("log.db", 3, "a leaf is gone", |file| execute(file, "DELETE FROM audit_leaf WHERE seq = 300"))
            .gives(40, "leaf_missing", At(300)),
        Attack::on("log.db", 3, "three leaves are gone", |file| {
            execute(file, "DELETE FROM audit_leaf WHERE seq BETWEEN 300 AND 302");
        })
        .gives(40, "leaf_missing", Between(300, 302)),
        Attack::on("log.db", 3, "the first leaf is gone", |file| execute(file, "DELETE FROM audit_leaf WHERE seq = 0"))
            .gives(40, "leaf_missing", At(0)),
        Attack::on("log.db", 4, "the tail is gone", move |file| {
            execute(file, &format!("DELETE FROM audit_leaf WHERE seq >= {}", size - 5));
        })
        .gives(30, "rollback", Between(size - 5, size - 1)),
        Attack::on("log.db", 7, "two neighbours change places", swap(40, 41)).gives(40, "order_changed", Between(40, 41)),
        Attack::on("log.db", 7, "two leaves change places", swap(40, 400)).gives(40, "order_changed", Between(40, 400)),
        Attack::on("log.db", 8, "a leaf is put in, the others move on", move |file| {
            insert(file, 200, &|leaf| {
                let entry = entry_in(leaf);
                leaf[entry] ^= 1;
            });
        })
        .gives(40, "leaf_inserted", At(200)),
        Attack::on("log.db", 11, "a smaller time", move |file| {
            rewritten(file, 350, &|rows| {
                let time = time_in(&rows.leaves[350]);
                let earlier = scene.leaves[350].time - HOUR;
                rows.leaves[350][time..time + 8].copy_from_slice(&earlier.to_be_bytes());
            });
        })
        .gives(40, "clock_backwards", At(350)),
        Attack::on("log.db", 16, "heartbeats are taken out", move |file| {
            rewritten(file, 350, &|rows| {
                for position in 350..rows.leaves.len() {
                    let time = time_in(&rows.leaves[position]);
                    let later = scene.leaves[position].time + 9 * HOUR;
                    rows.leaves[position][time..time + 8].copy_from_slice(&later.to_be_bytes());
                }
            });
        })
        .unsaved()
        .trusting(None)
        .gives(50, "downgrade", Whole),
        Attack::on("log.db", 20, "one entry stands twice", move |file| {
            execute(file, "CREATE TABLE freed AS SELECT * FROM audit_leaf; DROP TABLE audit_leaf; ALTER TABLE freed RENAME TO audit_leaf;");
            let entry = *scene.leaves[usize::try_from(early).expect("position")].entry.as_bytes();
            rewritten(file, late, &|rows| {
                let leaf = rows.leaves.last_mut().expect("a leaf");
                let at = entry_in(leaf);
                leaf[at..at + 16].copy_from_slice(&entry);
            });
        })
        .unsaved()
        .gives(40, "entry_repeated", Between(early, late)),
        Attack::on("log.db", 25, "a leaf of rubbish", |file| {
            execute(file, "UPDATE audit_leaf SET leaf = zeroblob(100) WHERE seq = 88");
        })
        .gives(40, "malformed", At(88)),
        Attack::on("log.db", 25, "an empty leaf", |file| execute(file, "UPDATE audit_leaf SET leaf = x'' WHERE seq = 88"))
            .gives(40, "malformed", At(88)),
        Attack::on("log.db", 25, "a leaf longer than any", |file| {
            execute(file, "UPDATE audit_leaf SET leaf = CAST(leaf || zeroblob(5000) AS BLOB) WHERE seq = 88");
        })
        .gives(40, "malformed", At(88)),
        Attack::on("log.db", 31, "one bit on the disk", |file| {
            let leaf = Rows::of(file).leaves[222].clone();
            let mut bytes = std::fs::read(file).expect("file");
            let at = bytes.windows(leaf.len()).position(|window| window == leaf).expect("the leaf lies there");
            bytes[at + 50] ^= 0x10;
            std::fs::write(file, bytes).expect("file");
        })
        .gives(40, "leaf_altered", At(222)),
    ]
}

/// What stands beside the leaves: sealed parts, columns, tiles, head, checkpoints, rows of business.
pub fn beside_leaves(scene: &Scene) -> Vec<Attack<'_>> {
    let people = scene.with_part(1);
    let (one, other) = (people[3], people[200]);
    let entry = |seq: u64| HEXLOWER.encode(scene.leaves[usize::try_from(seq).expect("position")].entry.as_bytes());
    let swap_sealed = {
        let (one, other) = (entry(one), entry(other));
        move |file: &Path| {
            execute(file, &format!(
                "CREATE TEMP TABLE held AS SELECT sealed FROM audit_sealed WHERE entry = x'{one}' AND role = 1;
                 UPDATE audit_sealed SET sealed = (SELECT sealed FROM audit_sealed WHERE entry = x'{other}' AND role = 1)
                   WHERE entry = x'{one}' AND role = 1;
                 UPDATE audit_sealed SET sealed = (SELECT sealed FROM held) WHERE entry = x'{other}' AND role = 1;"
            ));
        }
    };
    let taken = entry(other);
    vec![
        Attack::on("log.db", 12, "sealed parts of two people change places", swap_sealed.clone())
            .gives(40, "sealed_altered", At(one)),
        Attack::on("log.db", 12, "the same, at the other place", swap_sealed).gives(40, "sealed_altered", At(other)),
        Attack::on("log.db", 19, "a row without a leaf", |file| {
            execute(file,
                "INSERT INTO record (id, subject, collector, kind, occurred_at, collected_at, policy, plain, sealed, entry)
                 VALUES (zeroblob(16), zeroblob(16), 'c', 'k', 0, 0, x'', '', x'', zeroblob(16))");
        })
        .with(&["--business"])
        .gives(20, "business_row_without_leaf", Whole),
        Attack::on("log.db", 19, "a sealed part is gone, and no leaf counts it", move |file| {
            execute(file, &format!("DELETE FROM audit_sealed WHERE entry = x'{taken}'"));
        })
        .gives(20, "sealed_missing", Between(0, last_gone(scene, other))),
        Attack::on("log.db", 23, "parts that a leaf counts as deleted live", |file| {
            let older = scene.path("older.db");
            execute(file, &format!(
                "ATTACH '{}' AS older; INSERT OR IGNORE INTO audit_sealed SELECT * FROM older.audit_sealed; DETACH older;",
                older.display()
            ));
        })
        .gives(40, "false_erasure", Whole),
        Attack::on("log.db", 24, "a tile is poisoned", |file| {
            execute(file, "UPDATE audit_tile SET hashes = zeroblob(8192) WHERE level = 0 AND idx = 1");
        })
        .gives(10, "tile_poisoned", Between(256, 511)),
        Attack::on("log.db", 24, "the root of a tile is poisoned", |file| {
            execute(file, "UPDATE audit_tile SET root = zeroblob(32) WHERE level = 0 AND idx = 0");
        })
        .gives(10, "tile_poisoned", Between(0, 255)),
        Attack::on("log.db", 24, "the hash beside a leaf is poisoned", |file| {
            execute(file, "UPDATE audit_leaf SET hash = zeroblob(32) WHERE seq = 270");
        })
        .gives(10, "tile_poisoned", At(270)),
        Attack::on("log.db", 1, "a column beside a leaf", |file| {
            execute(file, "UPDATE audit_leaf SET time = time + 1 WHERE seq = 270");
        })
        .gives(40, "leaf_altered", At(270)),
        Attack::on("log.db", 2, "the root of the head", |file| {
            execute(file, "UPDATE audit_log SET root = zeroblob(32)");
        })
        .gives(40, "root_mismatch", Whole),
        Attack::on("log.db", 25, "a stored note of rubbish", |file| {
            execute(file, "UPDATE audit_checkpoint SET note = 'rubbish' WHERE size = (SELECT max(size) FROM audit_checkpoint)");
        })
        .gives(40, "malformed", Whole),
        Attack::on("log.db", 16, "the signature of a stored note is another's", |file| {
            execute(file, "UPDATE audit_checkpoint SET note = replace(note, char(8212) || ' amanat.test/log ', char(8212) || ' another.test/log ')
                           WHERE size = (SELECT max(size) FROM audit_checkpoint)");
        })
        .gives(40, "checkpoint_signature", Whole),
    ]
}

/// Whole histories: old ones, forked ones, others'.
pub fn on_history(scene: &Scene) -> Vec<Attack<'_>> {
    let (size, older, short) = (scene.size, scene.older, scene.short);
    let saved = scene.text("saved");
    let mut forged = saved.clone();
    let signature = forged.rfind("\u{2014}").expect("a signature") + 40;
    let other = if &forged[signature..=signature] == "A" { "B" } else { "A" };
    forged.replace_range(signature..=signature, other);
    let numbered = |text: &str| saved.replacen(&format!("\n{size}\n"), &format!("\n{text}\n"), 1);
    let lines = |count: usize| saved.clone() + &"\u{2014} somebody.test/w AAAAAAA=\n".repeat(count);
    let vectors: Value = serde_json::from_str(include_str!("../../vectors/audit.json")).expect("vectors");
    let known = &vectors["signed_note"];
    let another = known["checkpoint"].as_str().expect("note").to_owned();
    let witness = known["witness_vkey"].as_str().expect("key");
    let demanding = scene.text("trust").replace("quorum none", &format!("witness w {witness}\nquorum w"));
    let nothing = |_: &Path| {};
    vec![
        Attack::on("short.db", 5, "truncated and signed again with the key", nothing)
            .gives(30, "rollback", Between(short, size - 1))
            .proves("rollback"),
        Attack::on("long.db", 6, "written again with the key", nothing).gives(30, "fork", At(size)).proves("fork"),
        Attack::on("log.db", 9, "two histories, the other one in a longer bundle", nothing)
            .against(&scene.path("bundle-long.zip"))
            .gives(30, "rollback", Between(size, signed_size(&scene.text("saved-long")) - 1)),
        Attack::on("log.db", 9, "two histories, the other one in a shorter bundle", nothing)
            .against(&scene.path("bundle-short.zip"))
            .gives(30, "fork", At(scene.first_signed_in("bundle-short.zip")))
            .proves("fork"),
        Attack::on("log.db", 9, "two histories, seen by two readers", nothing)
            .with_note(scene.text("saved-long"))
            .gives(30, "rollback", Between(size, signed_size(&scene.text("saved-long")) - 1)),
        Attack::on("log.db", 9, "two histories, the other one shorter", nothing)
            .with_note(scene.text("saved-short"))
            .gives(30, "fork", At(short)),
        Attack::on("older.db", 10, "a backup is restored", nothing).gives(30, "rollback", Between(older, size - 1)),
        Attack::on("older.db", 18, "an old log, and nothing saved", nothing)
            .unsaved()
            .with(&["--max-age", "0s"])
            .gives(10, "stale", Whole),
        Attack::on("log.db", 14, "a checkpoint of another log", nothing).with_note(another).gives(
            40,
            "origin_mismatch",
            Whole,
        ),
        Attack::on("log.db", 14, "trust in another log", nothing)
            .unsaved()
            .trusting(Some(format!("log {}\nquorum none\n", known["log_vkey"].as_str().expect("key"))))
            .gives(40, "origin_mismatch", At(0)),
        Attack::on("log.db", 16, "no cosignatures, and the trust asks for one", nothing)
            .trusting(Some(demanding))
            .gives(50, "downgrade", Whole),
        Attack::on("log.db", 16, "a signature that does not hold", nothing).with_note(forged).gives(
            40,
            "checkpoint_signature",
            Whole,
        ),
        Attack::on("log.db", 16, "no signature", nothing)
            .with_note(saved.split("\u{2014}").next().unwrap_or_default())
            .gives(40, "malformed", Whole),
        Attack::on("log.db", 25, "a size past 2^63", nothing).with_note(numbered("9223372036854775808")).gives(
            40,
            "malformed",
            Whole,
        ),
        Attack::on("log.db", 25, "a size with a zero before it", nothing)
            .with_note(numbered(&format!("0{size}")))
            .gives(40, "malformed", Whole),
        Attack::on("log.db", 25, "32 signature lines", nothing).with_note(lines(31)),
        Attack::on("log.db", 25, "33 signature lines", nothing).with_note(lines(32)).gives(40, "malformed", Whole),
        Attack::on("log.db", 25, "lines that end in CR LF", nothing).with_note(saved.replace('\n', "\r\n")).gives(
            40,
            "malformed",
            Whole,
        ),
        Attack::on("log.db", 25, "an empty note", nothing).with_note("").gives(40, "malformed", Whole),
    ]
}

/// Flips one bit of a byte of a leaf.
fn change(database: &Path, seq: u64, byte: usize) {
    let mut leaf = Rows::of(database).leaves[usize::try_from(seq).expect("position")].clone();
    leaf[byte] ^= 1;
    execute(database, &format!("UPDATE audit_leaf SET leaf = x'{}' WHERE seq = {seq}", HEXLOWER.encode(&leaf)));
}

/// Puts a changed copy of a leaf before it and moves the rows behind on.
fn insert(database: &Path, seq: u64, change: &dyn Fn(&mut Vec<u8>)) {
    let mut leaf = Rows::of(database).leaves[usize::try_from(seq).expect("position")].clone();
    change(&mut leaf);
    let at = entry_in(&leaf);
    let (entry, hash) = (HEXLOWER.encode(&leaf[at..at + 16]), HEXLOWER.encode(&leaf_hash(&leaf)));
    execute(
        database,
        &format!(
            "UPDATE audit_leaf SET seq = -seq - 1 WHERE seq >= {seq}; UPDATE audit_leaf SET seq = -seq WHERE seq < 0;
         INSERT INTO audit_leaf (log, seq, entry, time, event, leaf, hash)
           SELECT log, {seq}, x'{entry}', time, event, x'{}', x'{hash}' FROM audit_leaf WHERE seq = {seq} + 1;",
            HEXLOWER.encode(&leaf)
        ),
    );
}

/// The last leaf whose part of a class is gone, once that of `taken` is.
fn last_gone(scene: &Scene, taken: u64) -> u64 {
    let rows = Rows::of(&scene.path("log.db"));
    let class = scene.leaves[usize::try_from(taken).expect("position")].event.class();
    let is_gone = |leaf: &&Leaf| {
        leaf.event.class() == class
            && leaf
                .parts
                .iter()
                .any(|part| part.role != Role::Receipt && !rows.has_sealed(leaf.entry, part.role.number()))
    };
    scene.leaves.iter().filter(is_gone).map(|leaf| leaf.seq).max().unwrap_or(0).max(taken)
}

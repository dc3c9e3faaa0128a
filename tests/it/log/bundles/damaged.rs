//! What is done to a bundle, and where it is found.

use std::path::PathBuf;

use amanat::audit::finding::{Code, Position};
use amanat::audit::leaf::{Leaf, leaf_hash};
use amanat::gateway::export::{BundleOrder, SealedParts};

use crate::harness::Backend;

use super::super::{TestLog, grow, run};
use super::{SEALED, Unpacked, at, between, bundled, exit_and_faults, export, verify};

on_both! {
    async fn what_is_done_to_a_bundle_is_found_at_its_place(log: TestLog) {
        let bundle = bundled(&log).await;
        let folder = log.folder.path();
        let original = Unpacked::read(&bundle);
        let size = verify(&bundle).size;
        let judge = |change: &dyn Fn(&mut Unpacked)| {
            let mut files = Unpacked(original.0.clone());
            change(&mut files);
            exit_and_faults(&verify(&files.write(folder)))
        };
        let edited = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
            judge(&|files| {
                let mut leaves = files.leaves();
                change(&mut leaves);
                files.set_leaves(&leaves);
            })
        };
        // 1: a byte of a leaf.
        assert_eq!(edited(&|leaves| {
            let place = entry_in(&leaves[300]);
            leaves[300][place] ^= 1;
        }), (40, vec![(Code::LeafAltered, at(300))]));
        // 2: an edit that is repaired to the end, without the key.
        let repaired = judge(&|files| {
            let mut leaves = files.leaves();
            let mut old = leaf_hash(&leaves[300]);
            let place = entry_in(&leaves[300]);
            leaves[300][place] ^= 1;
            for seq in 301..leaves.len() {
                let new = leaf_hash(&leaves[seq - 1]);
                let place = leaves[seq].windows(32).position(|window| window == old).expect("prev");
                old = leaf_hash(&leaves[seq]);
                leaves[seq][place..place + 32].copy_from_slice(&new);
            }
            files.set_leaves(&leaves);
            files.repair_hashes();
        });
        assert_eq!(repaired, (40, vec![(Code::RootMismatch, between(0, size - 1))]));
        // 3: a leaf that is gone from the last tile.
        let (exit, found) = edited(&|leaves| drop(leaves.remove(520)));
        assert!(exit == 40 && found.contains(&(Code::LeafMissing, at(520))), "{found:?}");
        // 4: the tail is gone, the checkpoint stays.
        let (exit, found) = judge(&|files| files.0.retain(|path, _| !path.starts_with("tile/0/002") && !path.starts_with("tile/entries/002") && !path.starts_with("sealed/")));
        assert!(exit == 30 && found.contains(&(Code::Rollback, between(512, size - 1))), "{found:?}");
        // 7: two leaves changed places.
        assert_eq!(edited(&|leaves| leaves.swap(10, 12)).1.first(), Some(&(Code::OrderChanged, between(10, 12))));
        // 8: a leaf that nobody appended.
        let (exit, found) = edited(&|leaves| leaves.insert(520, leaves[20].clone()));
        assert!(exit == 40 && found.contains(&(Code::LeafInserted, at(520))), "{found:?}");
        // 12: two sealed parts changed places.
        let swapped = judge(&|files| {
            let sealed: Vec<String> = files.0.keys().filter(|path| path.starts_with("sealed/")).cloned().collect();
            let (one, other) = (files.0[&sealed[0]].clone(), files.0[&sealed[1]].clone());
            files.0.insert(sealed[0].clone(), other);
            files.0.insert(sealed[1].clone(), one);
        });
        assert_eq!((swapped.0, swapped.1.iter().map(|(code, _)| *code).collect::<Vec<_>>()), (40, vec![Code::SealedAltered; 2]));
        // 19: a sealed part is gone and nobody counted it.
        let (exit, found) = judge(&|files| {
            let first = files.0.keys().find(|path| path.starts_with("sealed/")).expect("sealed").clone();
            files.0.remove(&first);
        });
        assert!(exit == 20 && found.iter().any(|(code, _)| *code == Code::SealedMissing), "{found:?}");
        // 24: a poisoned hash is a warning where the leaf is there.
        assert_eq!(judge(&|files| files.0.get_mut("tile/0/001").expect("tile")[3] ^= 1), (10, vec![(Code::TilePoisoned, at(256))]));
        // 26: an interior node offered as a leaf.
        let (exit, found) = edited(&|leaves| {
            leaves[300] = [&[1][..], &leaf_hash(&leaves[300]), &leaf_hash(&leaves[301])].concat();
        });
        assert!(exit == 40 && found.contains(&(Code::Malformed, at(300))), "{found:?}");
        // 14: a checkpoint of another log.
        let other = judge(&|files| {
            let note = String::from_utf8(files.0["checkpoint"].clone()).expect("UTF-8");
            files.0.insert("checkpoint".to_owned(), note.replacen("amanat.test", "other.test", 1).into_bytes());
        });
        assert_eq!(other, (40, vec![(Code::OriginMismatch, Position::Whole {})]));
        // 16: the log's signature is stripped or another.
        let stripped = judge(&|files| {
            let note = files.0.get_mut("checkpoint").expect("note");
            let last = note.len() - 4;
            note[last] = if note[last] == b'A' { b'B' } else { b'A' };
        });
        assert!(stripped.0 == 40 && stripped.1.contains(&(Code::CheckpointSignature, Position::Whole {})), "{stripped:?}");
        // Hashes of leaves that a range leaves out are load-bearing.
        let ranged = export(&log, "ranged.zip", &BundleOrder { from: Some(0), to: Some(256), sealed: SealedParts::Left });
        let mut files = Unpacked::read(&ranged);
        files.0.get_mut("tile/0/001").expect("tile")[3] ^= 1;
        assert_eq!(verify(&files.write(folder)).exit, 40);
    }
}

/// Where the entry id stands in a leaf.
fn entry_in(leaf: &[u8]) -> usize {
    let entry = *Leaf::decode(leaf).expect("leaf").entry.as_bytes();
    leaf.windows(16).position(|window| window == entry).expect("entry")
}

/// A small bundle and a place to put what becomes of it.
async fn small(log: &TestLog) -> (Vec<u8>, PathBuf) {
    let house = log.open().await;
    grow(&house, 5).await;
    house.publish_once().await.expect("published");
    house.close();
    let bundle = export(log, "small.zip", &SEALED);
    assert_eq!(verify(&bundle).exit, 10);
    (std::fs::read(&bundle).expect("bundle"), log.folder.path().join("changed.zip"))
}

/// Flips bytes one after the other, `step` apart. Nothing of a bundle is outside the claim.
fn flip_every(step: usize) {
    run(Backend::Sqlite, async move |log| {
        let (mut bytes, changed) = small(&log).await;
        for place in (0..bytes.len()).step_by(step) {
            let mask = if place % 2 == 0 { 0x01 } else { 0x20 };
            bytes[place] ^= mask;
            std::fs::write(&changed, &bytes).expect("written");
            let report = verify(&changed);
            assert!(matches!(report.exit, 20 | 30 | 40), "byte {place} of {}: {report:?}", bytes.len());
            bytes[place] ^= mask;
        }
    });
}

#[test]
fn a_flipped_byte_is_found() {
    flip_every(17);
}

#[test]
#[ignore = "every byte takes minutes"]
fn every_flipped_byte_is_found() {
    flip_every(1);
}

#[test]
fn no_mutation_passes_or_panics() {
    run(Backend::Sqlite, async |log| {
        let (original, changed) = small(&log).await;
        let strategy = (
            proptest::collection::vec(
                (
                    proptest::prelude::any::<u32>(),
                    0_usize..40,
                    proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
                ),
                1..4,
            ),
            proptest::prelude::any::<bool>(),
        );
        let mut runner = proptest::test_runner::TestRunner::new(proptest::test_runner::Config {
            cases: 300,
            failure_persistence: None,
            ..Default::default()
        });
        runner
            .run(&strategy, |(splices, is_cut)| {
                let mut bytes = original.clone();
                for (place, length, with) in splices {
                    let start = place as usize % bytes.len();
                    let end = (start + length).min(bytes.len());
                    bytes.splice(start..end, with);
                }
                if is_cut {
                    bytes.truncate(bytes.len() / 2);
                }
                std::fs::write(&changed, &bytes).expect("written");
                let report = verify(&changed);
                proptest::prop_assert!(bytes == original || matches!(report.exit, 20 | 30 | 40), "{report:?}");
                Ok(())
            })
            .expect("every mutation is found");
    });
}

/// 25: containers that lie.
#[test]
fn malformed_containers_are_refused_with_their_place() {
    run(Backend::Sqlite, async |log| {
        let (bytes, changed) = small(&log).await;
        let judge = |bytes: &[u8]| {
            std::fs::write(&changed, bytes).expect("written");
            let report = verify(&changed);
            assert_eq!((report.exit, report.findings.len()), (40, 1), "{report:?}");
            assert_eq!(report.findings[0].code, Code::Malformed);
            report.findings[0].text.clone()
        };
        let renamed = |from: &str, to: &str| {
            let mut renamed = bytes.clone();
            let places: Vec<usize> = bytes
                .windows(from.len())
                .enumerate()
                .filter(|(_, window)| *window == from.as_bytes())
                .map(|(place, _)| place)
                .collect();
            for place in places {
                renamed[place..place + from.len()].copy_from_slice(to.as_bytes());
            }
            renamed
        };
        assert!(judge(&renamed("trust.txt", "../st.txt")).contains("\"../st.txt\" is not a file of a bundle"));
        assert!(judge(&renamed("trust.txt", "/rust.txt")).contains("\"/rust.txt\""));
        assert!(judge(&renamed("trust.txt", "tr\u{7}st.txt")).contains("tr\\u{7}st.txt"));
        assert!(judge(&bytes[..100]).contains("archive"));
        assert!(judge(&[&bytes[..], b"x"].concat()).contains("follow behind its end"));
        assert!(judge(b"PK\x03\x04").contains("cut short"));
        assert!(judge(b"PK").contains("cut short"));
        // A file that stands in it twice, the second after the directory was made to fit the first.
        let twice = [&bytes[..30 + 10 + length_of(&bytes)], &bytes[..]].concat();
        assert!(judge(&twice).contains("\"README.txt\" stands in it twice"));
        // Compression is not read, so nothing can burst.
        let mut packed = bytes.clone();
        packed[8] = 8;
        assert!(judge(&packed).contains("unpack the archive"));
        // A length that no file has.
        let mut long = bytes.clone();
        long[18..26].copy_from_slice(&[0xff; 8]);
        assert!(judge(&long).contains("ends behind the end of the archive"));

        // Folders: links and strangers are refused too.
        let folder = Unpacked::read(&log.folder.path().join("small.zip")).write(log.folder.path());
        assert_eq!(verify(&folder).exit, 10);
        std::os::unix::fs::symlink("/etc/passwd", folder.join("checkpoints")).expect("link");
        assert!(verify(&folder).findings[0].text.contains("neither a file nor a folder"));
        std::fs::remove_file(folder.join("checkpoints")).expect("removed");
        std::fs::write(folder.join("more"), "").expect("file");
        assert!(verify(&folder).findings[0].text.contains("\"more\" is not a file of a bundle"));
        std::fs::remove_file(folder.join("more")).expect("removed");
        std::fs::write(folder.join("checkpoints"), "").expect("file");
        assert_eq!(verify(&folder).exit, 40);
    });
}

fn length_of(bytes: &[u8]) -> usize {
    bytes[18..22].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

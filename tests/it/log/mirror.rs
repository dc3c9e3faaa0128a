//! The mirror: the log as static files, whole at every moment, and never in anybody's way.

use std::path::{Path, PathBuf};

use amanat::audit::checkpoint::Checkpoint;
use amanat::audit::leaf::leaf_hash;
use amanat::audit::note::Note;
use amanat::audit::tile::{TilePath, read_entries, tiles_at};
use amanat::audit::tree::Frontier;
use amanat::gateway::Gateway;
use amanat::gateway::mirror::Mirrored;
use amanat::gateway::prune::Rows;

use crate::harness::{Backend, files_below};

use super::{TestLog, grow, run, tamper};

impl TestLog {
    /// From the next start on, a mirror is kept.
    pub fn with_mirror(&mut self) -> PathBuf {
        let place = self.folder.path().join("mirror");
        self.settings.mirror = Some(place.clone());
        place
    }
}

/// Writes everything that is published.
pub async fn mirrored(house: &Gateway) {
    while house.mirror_once().await.expect("mirrored") == Mirrored::Behind {}
}

fn checkpoint(place: &Path) -> Checkpoint {
    let note = std::fs::read(place.join("checkpoint")).expect("a checkpoint");
    Checkpoint::parse(Note::parse(&note).expect("a note").text).expect("a checkpoint")
}

/// Reads a mirror as a stranger would: the entries must give the signed root, and nothing else must be
/// there. Gives its size.
fn holds_itself(place: &Path) -> u64 {
    let Checkpoint { size, root, .. } = checkpoint(place);
    let mut expected = vec!["checkpoint".to_owned()];
    let mut frontier = Frontier::new();
    for level in 0..3_u8 {
        let (full, width) = tiles_at(level, size);
        for (index, width) in (0..full).map(|index| (index, 256)).chain((width > 0).then_some((full, width))) {
            let path = TilePath { kind: amanat::audit::tile::TileKind::Hashes(level), index, width };
            let bytes = std::fs::read(place.join(path.to_string())).expect("hashes");
            assert_eq!(bytes.len(), usize::from(width) * 32, "{path}");
            expected.push(path.to_string());
            if level == 0 {
                let path = TilePath { kind: amanat::audit::tile::TileKind::Entries, ..path };
                let bundle = std::fs::read(place.join(path.to_string())).expect("entries");
                let leaves = read_entries(&bundle).expect("leaves");
                for (leaf, hash) in leaves.iter().zip(bytes.chunks(32)) {
                    assert_eq!(leaf_hash(leaf), hash, "{path}");
                    frontier.append(&leaf_hash(leaf));
                }
                expected.push(path.to_string());
            }
        }
    }
    assert_eq!((frontier.size(), frontier.root()), (size, root));
    let names = |path: PathBuf| path.strip_prefix(place).expect("below").to_str().expect("UTF-8").to_owned();
    let mut found: Vec<String> = files_below(place).into_iter().map(names).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    size
}

on_both! {
    async fn the_mirror_is_the_whole_log_and_grows_with_it(log: TestLog) {
        let mut log = log;
        log.lived(700).await;
        let place = log.with_mirror();
        let house = log.open().await;
        mirrored(&house).await;
        assert_eq!(holds_itself(&place), house.published().expect("published").size);
        for leaves in [1, 100, 300] {
            grow(&house, leaves).await;
            let size = house.publish_once().await.expect("published").expect("a checkpoint").size;
            mirrored(&house).await;
            assert_eq!(holds_itself(&place), size);
        }
        assert_eq!(house.mirror_once().await.expect("mirrored"), Mirrored::UpToDate, "nothing new, nothing written");
        house.close();
        // Another process goes on from what is there.
        log.lived(300).await;
        let house = log.open().await;
        mirrored(&house).await;
        assert_eq!(holds_itself(&place), house.published().expect("published").size);
        // One that was killed before its checkpoint left tiles behind, and perhaps half a file.
        std::fs::remove_file(place.join("checkpoint")).expect("removed");
        house.close();
        let house = log.open().await;
        mirrored(&house).await;
        assert_eq!(holds_itself(&place), house.published().expect("published").size);
        house.close();
    }

    async fn a_folder_that_cannot_be_written_stops_nobody(log: TestLog) {
        let mut log = log;
        log.lived(10).await;
        let place = log.with_mirror();
        std::fs::write(&place, "not a folder").expect("file");
        let house = log.open().await;
        grow(&house, 10).await;
        house.publish_once().await.expect("published").expect("a checkpoint");
        house.mirror_once().await.expect_err("nothing can be written there");
        std::fs::remove_file(&place).expect("removed");
        mirrored(&house).await;
        assert_eq!(holds_itself(&place), house.published().expect("published").size);
        house.close();
    }

    async fn a_folder_with_another_log_is_left_alone(log: TestLog) {
        let mut log = log;
        log.lived(10).await;
        let place = log.with_mirror();
        let foreign = "another.example/log\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— x AAAAAAAA\n";
        std::fs::create_dir_all(&place).expect("folder");
        std::fs::write(place.join("checkpoint"), foreign).expect("file");
        let house = log.open().await;
        house.mirror_once().await.expect_err("another log stands there");
        assert_eq!(std::fs::read_to_string(place.join("checkpoint")).expect("note"), foreign);
        house.close();
    }

    async fn data_behind_the_mirror_are_refused_though_nothing_else_remembers(log: TestLog) {
        let mut log = log;
        let place = log.with_mirror();
        let older = log.lived(300).await;
        log.tamper("CREATE TABLE kept AS SELECT * FROM audit_log");
        let newer = log.lived(20).await;
        let house = log.open().await;
        mirrored(&house).await;
        house.close();
        log.tamper(&format!(
            "DELETE FROM audit_leaf WHERE seq >= {older}; DELETE FROM audit_checkpoint WHERE size > {older};
             UPDATE audit_log SET size = (SELECT size FROM kept), root = (SELECT root FROM kept), frontier = (SELECT frontier FROM kept),
               last_hash = (SELECT last_hash FROM kept), last_time = (SELECT last_time FROM kept); DROP TABLE kept;"
        ));
        tamper(&log.settings.keys, "DELETE FROM last_signed");
        std::fs::remove_dir_all(&log.settings.memory).expect("removed");
        let (exit, what) = log.refusal().await;
        assert_eq!(exit, 30);
        assert!(what.contains("mirror") && what.contains(&newer.to_string()), "{what}");
        assert_eq!(holds_itself(&place), newer);
    }

    async fn pruned_entries_leave_the_mirror(log: TestLog) {
        let mut log = log;
        let years = 11 * 366 * 24 * 3_600;
        let place = log.with_mirror();
        log.source.mislead(-years);
        let house = log.open().await;
        grow(&house, 900).await;
        house.publish_once().await.expect("published");
        mirrored(&house).await;
        assert!(holds_itself(&place) > 900);
        house.close();
        log.source.mislead(years);
        let house = log.open().await;
        house.note_start(house.start_cause()).await.expect("start");
        grow(&house, 300).await;
        let plan = house.plan_prune(None).await.expect("plan");
        assert!(plan.below >= 512, "{plan:?}");
        house.prune(&plan, Rows::Kept).await.expect("pruned");
        house.publish_once().await.expect("published");
        mirrored(&house).await;
        let entries = |index: u64| place.join(format!("tile/entries/{index:03}")).exists();
        assert!(!entries(0) && !entries(plan.below / 256 - 1) && entries(plan.below / 256));
        assert!(place.join("tile/0/000").exists(), "hashes stay");
        // A mirror that begins now never gets them.
        std::fs::remove_dir_all(&place).expect("removed");
        house.close();
        let house = log.open().await;
        mirrored(&house).await;
        assert!(!entries(0) && entries(plan.below / 256) && place.join("tile/0/000").exists());
        house.close();
    }
}

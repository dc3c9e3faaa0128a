//! Somebody else's reader of tiled logs at the public door, over HTTP, unmodified.

use amanat::gateway::Gateway;
use signed_note::{StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint, Error, HashReader, Tile, TileHashReader, TileReader, check_record, check_tree, prove_record,
    prove_tree, record_hash, stored_hash_index, tree_hash,
};
use tokio::runtime::Handle;

use crate::both;
use crate::harness::Wish;

use super::grow;

/// Fetches tiles from a log. It speaks HTTP and knows nothing of us but the address.
#[derive(Clone)]
struct OverHttp {
    client: reqwest::Client,
    log: String,
}

impl OverHttp {
    fn get(&self, path: &str) -> Option<Vec<u8>> {
        Handle::current().block_on(async {
            let answer = self.client.get(format!("{}/{path}", self.log)).send().await.ok()?;
            let bytes = answer.error_for_status().ok()?.bytes().await.ok()?;
            Some(bytes.to_vec())
        })
    }

    /// The newest checkpoint, believed on the word of this key.
    fn checkpoint(&self, vkey: &str) -> Checkpoint {
        let note = signed_note::Note::from_bytes(&self.get("checkpoint").expect("a checkpoint")).expect("a note");
        let known = VerifierList::new(vec![Box::new(StandardVerifier::new(vkey).expect("a key"))]);
        note.verify(&known).expect("signed by the log");
        Checkpoint::from_bytes(note.text()).expect("a checkpoint")
    }

    /// The entries of an entry bundle.
    fn entries(&self, index: u64, width: u32) -> Vec<Vec<u8>> {
        let bytes = self.get(&path(&Tile::new(8, 0, index, width, true))).expect("an entry bundle");
        let mut rest = bytes.as_slice();
        let mut entries = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let (entry, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
            entries.push(entry.to_vec());
            rest = after;
        }
        entries
    }
}

impl TileReader for OverHttp {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        tiles.iter().map(|tile| self.get(&path(tile)).ok_or(Error::InvalidTile)).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// The reader's paths are those of the Go checksum database, which C2SP shortened.
fn path(tile: &Tile) -> String {
    tile.path().replacen("tile/8/data/", "tile/entries/", 1).replacen("tile/8/", "tile/", 1)
}

async fn published(house: &Gateway, more: usize) {
    grow(house, more).await;
    house.publish_once().await.expect("published").expect("a checkpoint");
}

both! {
    async fn a_stock_reader_proves_entries_and_growth(gateway: TestGateway = Wish { public_entries: true, ..Wish::default() }) {
        let reader = OverHttp { client: gateway.client.clone(), log: format!("{}/log", gateway.url) };
        let vkey = gateway.house.log_verifier().expect("key").to_string();
        published(&gateway.house, 600).await;
        let (other, key) = (reader.clone(), vkey.clone());
        let old = tokio::task::spawn_blocking(move || {
            let checkpoint = other.checkpoint(&key);
            let (size, root) = (checkpoint.size(), *checkpoint.hash());
            let hashes = TileHashReader::new(size, root, &other);
            assert_eq!(tree_hash(size, &hashes).expect("a root"), root);
            let mut entries = other.entries(0, 256);
            entries.extend(other.entries(1, 256));
            entries.extend(other.entries(2, u32::try_from(size - 512).expect("few")));
            assert_eq!(entries.len() as u64, size);
            for (index, entry) in (0..).zip(&entries) {
                let hash = record_hash(entry);
                assert_eq!(hashes.read_hashes(&[stored_hash_index(0, index)]).expect("a hash"), [hash]);
                if index % 50 == 0 {
                    let proof = prove_record(size, index, &hashes).expect("a proof");
                    check_record(&proof, size, root, index, hash).expect("the entry is in the log");
                }
            }
            checkpoint
        });
        let old = old.await.expect("read");
        published(&gateway.house, 200).await;
        let grown = tokio::task::spawn_blocking(move || {
            let new = reader.checkpoint(&vkey);
            let hashes = TileHashReader::new(new.size(), *new.hash(), &reader);
            let proof = prove_tree(new.size(), old.size(), &hashes).expect("a proof");
            check_tree(&proof, new.size(), *new.hash(), old.size(), *old.hash()).expect("the log only grew");
            new.size() - old.size()
        });
        assert!(grown.await.expect("read") >= 200);
    }
}

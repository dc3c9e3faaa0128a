//! What the log shows of itself: proofs, tiles, checkpoints, and the public door.

use std::time::Duration;

use amanat::audit::checkpoint::Checkpoint;
use amanat::audit::leaf::leaf_hash;
use amanat::audit::note::Note;
use amanat::audit::tile::read_entries;
use amanat::audit::tree::{Frontier, verify_consistency};
use amanat::audit::trust::Trust;
use amanat::gateway::Error;
use amanat::gateway::prove::Wanted;
use amanat::gateway::tokens::Scope;
use amanat::gateway::verify::verify_proof;

use crate::both;
use crate::harness::{Backend, Wish};

use super::{TestLog, faults, grow, run};

on_both! {
    async fn every_entry_is_proved_to_a_stranger(log: TestLog) {
        let house = log.open().await;
        grow(&house, 300).await;
        assert!(matches!(house.prove_entry(Wanted::Position(0)).await, Err(Error::Pending { .. })), "nothing is published");
        let published = house.publish_once().await.expect("published").expect("a checkpoint");
        let trust = Trust::parse(&format!("log {}\nquorum none\n", house.log_verifier().expect("key"))).expect("trust");
        for seq in [0, 1, 255, 256, published.size - 1] {
            let text = house.prove_entry(Wanted::Position(seq)).await.expect("proof").to_string();
            let report = verify_proof(&text, Some(&trust), None, log.source.now());
            assert_eq!((report.exit, faults(&report)), (10, vec![]), "{report:?}");
            let forged = text.replacen(&format!("index {seq}\n"), &format!("index {}\n", seq + 2), 1);
            assert_eq!(verify_proof(&forged, Some(&trust), None, log.source.now()).exit, 40);
        }
        grow(&house, 100).await;
        let newest = published.size;
        assert!(matches!(house.prove_entry(Wanted::Position(newest)).await, Err(Error::Pending { .. })), "not covered yet");
        let entry = house.entry(Wanted::Position(newest)).await.expect("rendered");
        assert_eq!((entry["event"].as_str(), entry["standing"].as_str()), (Some("log.heartbeat"), Some("claimed")));
        let later = house.publish_once().await.expect("published").expect("a checkpoint");
        let proof = house.prove_consistency(newest, later.size).await.expect("proof");
        assert!(house.prove_consistency(newest, later.size + 1).await.is_err());
        let hashes: Vec<[u8; 32]> =
            proof.hashes.iter().map(|hash| data_encoding::BASE64.decode(hash.as_bytes()).expect("hash").try_into().expect("hash")).collect();
        let root = |note: &str| Checkpoint::parse(Note::parse(note.as_bytes()).expect("note").text).expect("checkpoint").root;
        verify_consistency(newest, &root(&published.note), later.size, &root(&later.note), &hashes).expect("consistent");
        house.close();
    }

    async fn a_wrong_tile_spoils_no_proof(log: TestLog) {
        let house = log.open().await;
        grow(&house, 600).await;
        house.publish_once().await.expect("published");
        let trust = Trust::parse(&format!("log {}\nquorum none\n", house.log_verifier().expect("key"))).expect("trust");
        let fine = house.prove_entry(Wanted::Position(7)).await.expect("proof");
        log.tamper("UPDATE audit_tile SET hashes = (SELECT other.hashes FROM audit_tile other WHERE other.level = 0 AND other.idx = 1) WHERE level = 0 AND idx = 0");
        let proof = house.prove_entry(Wanted::Position(7)).await.expect("proof");
        assert_eq!(proof, fine, "the leaves themselves prove it");
        let report = verify_proof(&proof.to_string(), Some(&trust), None, log.source.now());
        assert_eq!((report.exit, faults(&report)), (10, vec![]), "{report:?}");
        house.close();
    }

    async fn tiles_give_the_published_root(log: TestLog) {
        let house = log.open().await;
        grow(&house, 600).await;
        let published = house.publish_once().await.expect("published").expect("a checkpoint");
        grow(&house, 200).await;
        let mut frontier = Frontier::new();
        for index in 0..=published.size / 256 {
            let width = (published.size - index * 256).min(256);
            let path = |kind: &str| match width {
                256 => format!("tile/{kind}/{index:03}"),
                width => format!("tile/{kind}/{index:03}.p/{width}"),
            };
            let hashes = house.tile(&path("0")).await.expect("tile");
            let bundle = house.tile(&path("entries")).await.expect("bundle");
            let leaves = read_entries(&bundle).expect("entries");
            assert_eq!((hashes.len(), leaves.len() as u64), (width as usize * 32, width));
            for (hash, leaf) in hashes.as_chunks::<32>().0.iter().zip(leaves) {
                assert_eq!(*hash, leaf_hash(leaf));
                frontier.append(hash);
            }
        }
        let said = Checkpoint::parse(Note::parse(published.note.as_bytes()).expect("note").text).expect("checkpoint");
        assert_eq!((frontier.size(), frontier.root()), (said.size, said.root));
        assert_eq!(house.tile("tile/1/000.p/2").await.expect("tile").len(), 64);
        let beyond = published.size % 256 + 1;
        for path in [format!("tile/0/002.p/{beyond}"), "tile/0/002".to_owned(), "tile/1/000.p/3".to_owned(), "tile/0/1".to_owned()] {
            assert!(matches!(house.tile(&path).await, Err(Error::NotFound)), "{path}");
        }
        house.close();
    }

    async fn the_publisher_signs_beats_and_stops(log: TestLog) {
        let mut log = log;
        log.settings.checkpoint_every = Duration::from_millis(100);
        log.settings.heartbeat_every = Duration::from_secs(60);
        let house = log.open().await;
        house.publish_once().await.expect("published");
        let size = house.published().expect("published").size;
        log.source.shift(61);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let publisher = tokio::spawn({
            let house = house.clone();
            async move { house.run_publisher(stopped).await }
        });
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if house.published().expect("published").size > size {
                break;
            }
        }
        assert!(house.published().expect("published").size > size, "the heartbeat was appended and published");
        stop.send_replace(true);
        publisher.await.expect("ended").expect("in order");
        house.close();
    }
}

both! {
    async fn the_log_is_public_and_its_entries_are_not(gateway: TestGateway) {
        gateway.house.publish_once().await.expect("published");
        let get = |path: &'static str| gateway.client.get(format!("{}{path}", gateway.url)).send();
        let answer = get("/log/checkpoint").await.expect("answer");
        assert_eq!((answer.status().as_u16(), answer.headers()["cache-control"].to_str().expect("text")), (200, "max-age=1"));
        assert!(answer.text().await.expect("note").starts_with("amanat.test/log\n"));
        let tile = get("/log/tile/0/000.p/1").await.expect("answer");
        assert_eq!((tile.status().as_u16(), tile.headers()["cache-control"].to_str().expect("text")), (200, "max-age=31536000, immutable"));
        assert_eq!(tile.headers()["content-type"], "application/octet-stream");
        assert_eq!(get("/log/tile/entries/000.p/1").await.expect("answer").status(), 404);
        assert_eq!(get("/v1/audit/entries").await.expect("answer").status(), 401);

        let (_, token) = gateway.house.add_token("auditor", &[Scope::AuditRead], None, None).await.expect("token");
        let ask = |path: &'static str| gateway.call(&token, reqwest::Method::GET, path, None);
        let (status, page) = ask("/v1/audit/entries?limit=1").await;
        assert_eq!((status, page["entries"][0]["event"].as_str(), page["next"].as_u64()), (200, Some("log.opened"), Some(0)), "{page}");
        let (status, entry) = ask("/v1/audit/entries/0").await;
        assert_eq!((status, entry["parts"][0]["state"].as_str()), (200, Some("sealed")), "{entry}");
        let (status, proof) = ask("/v1/audit/entries/0/proof").await;
        assert!(status == 200 && proof.as_str().expect("text").starts_with("c2sp.org/tlog-proof@v1\n"), "{proof}");
        let (status, problem) = ask("/v1/audit/consistency?from=3&to=1").await;
        assert!((400..500).contains(&status), "{problem}");
        assert_eq!(ask("/v1/audit/status").await.0, 200);
        let events = ask("/v1/audit/events").await.1;
        let exported = events["events"].as_array().expect("a list").iter().find(|event| event["code"] == 110).expect("listed");
        assert_eq!((exported["event"].as_str(), &exported["facts"]), (Some("log.exported"), &serde_json::json!([2, 4, 7])));
        let entries = gateway.client.get(format!("{}/log/tile/entries/000.p/1", gateway.url)).bearer_auth(&*token).send();
        let entries = entries.await.expect("answer");
        assert_eq!((entries.status().as_u16(), entries.headers()["cache-control"].to_str().expect("text")), (200, "private, max-age=31536000, immutable"));
        for path in ["/log/tile/entries/000.p/255", "/log/tile/entries/0", "/log/tile/entries/", "/log/tile/0/000.p/256", "/log/tile/64/000"] {
            let answer = gateway.client.get(format!("{}{path}", gateway.url)).bearer_auth(&*token).send().await.expect("answer");
            assert_eq!(answer.status(), 404, "{path}");
        }
    }

    async fn entries_may_be_made_public(gateway: TestGateway = Wish { public_entries: true, ..Wish::default() }) {
        gateway.house.publish_once().await.expect("published");
        let get = |path: &'static str| gateway.client.get(format!("{}{path}", gateway.url)).send();
        let answer = get("/log/tile/entries/000.p/1").await.expect("answer");
        let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
        assert_eq!((answer.status().as_u16(), header("content-type")), (200, "application/octet-stream".to_owned()));
        assert_eq!(header("cache-control"), "max-age=31536000, immutable");
        let bytes = answer.bytes().await.expect("bytes");
        assert_eq!(read_entries(&bytes).expect("entries").len(), 1);
        assert_eq!(get("/v1/audit/entries").await.expect("answer").status(), 401, "the rendering stays for officers");
    }
}

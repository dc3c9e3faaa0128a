//! The page that verifies, in a real browser, on real files and tampered ones.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::wire::Sent;
use crate::harness::{Backend, Wish, client_tool, run};
use crate::tamper::scene::Scene;

#[test]
fn the_page_is_guarded_and_whole() {
    run(Backend::Sqlite, Wish::default(), async |gateway| {
        let get = |path: &str| Sent { method: "GET".to_owned(), target: path.to_owned(), ..Sent::default() };
        let page = get("/verify").to(&gateway.url).await;
        let policy = page.header("content-security-policy").expect("a policy").to_owned();
        assert!(
            page.status == 200 && policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        for part in page.text().split('"').filter(|part| part.starts_with("/verify/")) {
            let answer = get(part).to(&gateway.url).await;
            assert_eq!((answer.status, answer.header("x-content-type-options")), (200, Some("nosniff")), "{part}");
        }
        assert_eq!(get("/verify/events.json").to(&gateway.url).await.json()[0]["name"], "log.opened");
        assert_eq!(get("/verify/nothing.js").to(&gateway.url).await.status, 404);
        gateway.finish().await;
    });
}

#[test]
#[ignore = "needs a browser"]
fn real_clients_verify_in_a_browser() {
    let scene = Scene::get();
    let folder = tempfile::tempdir().expect("folder");
    let log = crate::log::TestLog::new(Backend::Sqlite);
    let (three, trusts) = crate::log::rotation::bundle_of_three_keys(&log);
    let cases = folder.path().join("cases");
    let mut listed = cases_of(scene, folder.path());
    for (number, trust) in trusts.iter().enumerate() {
        let name = format!("bundle-of-three-keys-{number}");
        listed.as_array_mut().expect("list").push(
            json!({"name": name, "path": three, "trust": trust, "verdict": "not_attested", "exit": 10, "codes": ["unwitnessed"]}),
        );
    }
    std::fs::write(&cases, listed.to_string()).expect("cases");
    run(Backend::Sqlite, Wish::default(), async |gateway| {
        crate::log::grow(&gateway.house, 400).await;
        gateway.house.publish_once().await.expect("published");
        let (program, driver) = client_tool("verify_page.mjs");
        let url = gateway.url.clone();
        let output = tokio::task::spawn_blocking(move || {
            Command::new(program).arg(driver).arg(url).arg(cases).env("NO_PROXY", "*").output().expect("node")
        });
        let output = output.await.expect("thread");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said.trim(), "[]", "{}", String::from_utf8_lossy(&output.stderr));
        gateway.finish().await;
    });
}

/// What is dropped on the page, and what it must say.
fn cases_of(scene: &Scene, folder: &std::path::Path) -> Value {
    let trust = scene.text("trust");
    let written = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, bytes).expect("file");
        path
    };
    let receipt: Value = serde_json::from_str(&scene.text("receipt")).expect("JSON");
    let mut edited = receipt.clone();
    edited["statement"]["person"] = json!("somebody@example.org");
    let mut swapped = receipt.clone();
    swapped["proof"] = json!(scene.text("proof"));
    let mut unbound = receipt;
    unbound["opened"][0]["role"] = json!(1);
    let proof = scene.text("proof");
    let unsigned = proof.replacen("\u{2014} amanat.test/log ", "\u{2014} another.test/log ", 1);
    let edited = written("edited", edited.to_string().as_bytes());
    let unbound = written("unbound", unbound.to_string().as_bytes());
    let swapped = written("swapped", swapped.to_string().as_bytes());
    let unsigned = written("unsigned", unsigned.as_bytes());
    let moved = written("moved", proof.replacen("index 300", "index 302", 1).as_bytes());
    let witness = "witness w witness.example/w1+df1c0a35+BIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU";
    let demanding = trust.replace("quorum none", &format!("{witness}\nquorum w"));
    let mut bundle = std::fs::read(scene.path("bundle.zip")).expect("bundle");
    let leaf = crate::tamper::rows::Rows::of(&scene.path("log.db")).leaves[300].clone();
    let at = bundle.windows(leaf.len()).position(|window| window == leaf).expect("the leaf lies there");
    bundle[at + 50] ^= 1;
    let tampered = written("tampered.zip", &bundle);
    json!([
        {"name": "receipt", "path": scene.path("receipt"), "verdict": "not_attested", "exit": 10, "codes": ["unwitnessed"]},
        {"name": "receipt-trusted", "path": scene.path("receipt"), "trust": trust, "verdict": "not_attested", "exit": 10},
        {"name": "receipt-demanding", "path": scene.path("receipt"), "trust": demanding, "verdict": "downgraded", "exit": 50, "codes": ["downgrade"]},
        {"name": "receipt-edited", "path": edited, "verdict": "invalid", "exit": 40, "codes": ["statement_differs"]},
        {"name": "receipt-unbound", "path": unbound, "verdict": "invalid", "exit": 40, "codes": ["part_unbound"]},
        {"name": "receipt-swapped", "path": swapped, "verdict": "invalid", "exit": 40, "codes": ["part_unbound"]},
        {"name": "proof", "path": scene.path("proof"), "verdict": "not_attested", "exit": 10},
        {"name": "proof-trusted", "path": scene.path("proof"), "trust": trust, "verdict": "not_attested", "exit": 10},
        {"name": "proof-unsigned", "path": unsigned, "trust": trust, "verdict": "invalid", "exit": 40, "codes": ["checkpoint_signature"]},
        {"name": "proof-moved", "path": moved, "trust": trust, "verdict": "invalid", "exit": 40, "codes": ["leaf_altered"]},
        {"name": "bundle", "path": scene.path("bundle.zip"), "trust": trust, "verdict": "not_attested", "exit": 10},
        {"name": "bundle-tampered", "path": tampered, "trust": trust, "verdict": "invalid", "exit": 40, "codes": ["leaf_altered"]},
        {"name": "rubbish", "path": cases_of_rubbish(folder), "verdict": "invalid", "exit": 40, "codes": ["malformed"]},
    ])
}

fn cases_of_rubbish(folder: &std::path::Path) -> PathBuf {
    let path = folder.join("rubbish");
    std::fs::write(&path, [0xff_u8; 4096]).expect("file");
    path
}

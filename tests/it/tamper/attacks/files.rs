//! Attacks on what somebody holds in one file: proofs and receipts.

use std::path::Path;

use amanat::audit::leaf::{Leaf, leaf_hash};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};

use crate::tamper::Attack;
use crate::tamper::Place::{At, Between, Whole};
use crate::tamper::rows::Rows;
use crate::tamper::scene::{Scene, signed_size};

/// Proofs and receipts.
pub fn on_files(scene: &Scene) -> Vec<Attack<'_>> {
    let vectors: Value = serde_json::from_str(include_str!("../../../vectors/audit.json")).expect("vectors");
    let another = format!("log {}\nquorum none\n", vectors["amanat_log"]["log_vkey"].as_str().expect("key"));
    let receipt: Value = serde_json::from_str(&scene.text("receipt")).expect("JSON");
    let erasure = leaf_of(receipt["proof"].as_str().expect("proof"));
    let seq = erasure.seq;
    let two_keys = &vectors["two_key_ciphertext"];
    let others = vectors["amanat_log"]["receipt_file"].clone();
    let base64 =
        |name: &str| BASE64.encode(&HEXLOWER.decode(two_keys[name].as_str().expect("hex").as_bytes()).expect("hex"));
    let (key, plaintext) = (base64("key_2"), base64("plaintext_2"));
    let forged = move |change: &dyn Fn(&mut Value)| {
        let mut receipt = receipt.clone();
        change(&mut receipt);
        let text = receipt.to_string();
        move |file: &Path| std::fs::write(file, &text).expect("file")
    };
    let written = |text: &'static str| move |file: &Path| std::fs::write(file, text).expect("file");
    let proof = scene.text("proof");
    let told = {
        let text = proof.clone();
        move |change: &dyn Fn(&str) -> String| {
            let text = change(&text);
            move |file: &Path| std::fs::write(file, &text).expect("file")
        }
    };
    vec![
        Attack::on("proof", 0, "a proof as it is", |_| {}),
        Attack::on("proof", 0, "a proof, trusting nobody", |_| {}).trusting(None).gives(10, "unwitnessed", Whole),
        Attack::on("proof", 14, "a proof of another log", |_| {}).trusting(Some(another.clone())).gives(
            40,
            "origin_mismatch",
            Whole,
        ),
        Attack::on(
            "proof",
            14,
            "a proof for another position",
            told(&|text| text.replacen("index 300", "index 302", 1)),
        )
        .gives(40, "leaf_altered", At(302)),
        Attack::on(
            "proof",
            25,
            "a hash of a proof",
            told(&|text| {
                let mut lines: Vec<&str> = text.split('\n').collect();
                lines.swap(3, 4);
                lines.join("\n")
            }),
        )
        .gives(40, "root_mismatch", At(300)),
        Attack::on(
            "proof",
            25,
            "a hash too many",
            told(&|text| text.replacen("\n\n", &format!("\n{}\n\n", BASE64.encode(&[0; 32])), 1)),
        )
        .gives(40, "root_mismatch", At(300)),
        Attack::on(
            "proof",
            25,
            "sixty-four hashes",
            told(&|text| text.replacen("\n\n", &format!("\n{}\n", (BASE64.encode(&[0; 32]) + "\n").repeat(64)), 1)),
        )
        .gives(40, "malformed", Whole),
        Attack::on(
            "proof",
            25,
            "a proof without its leaf",
            told(&|text| {
                let (before, after) = text.split_once('\n').expect("lines");
                format!("{before}\n{}", after.split_once('\n').expect("lines").1)
            }),
        )
        .gives(40, "malformed", Whole),
        Attack::on("proof", 25, "a proof in lines that end in CR LF", told(&|text| text.replace('\n', "\r\n"))).gives(
            40,
            "malformed",
            Whole,
        ),
        Attack::on("proof", 25, "an empty file", written("")).gives(40, "malformed", Whole),
        Attack::on("proof", 26, "an inner node offered as a leaf", told(&inner_node)).gives(40, "malformed", At(150)),
        Attack::on(
            "proof",
            16,
            "a proof whose log did not sign",
            told(&|text| text.replacen("\u{2014} amanat.test/log ", "\u{2014} another.test/log ", 1)),
        )
        .gives(40, "checkpoint_signature", Whole),
        Attack::on("receipt", 0, "a receipt as it is", |_| {}),
        Attack::on("receipt", 0, "a receipt, by its own word", |_| {}).trusting(None).gives(10, "unwitnessed", Whole),
        Attack::on("receipt", 14, "a receipt of another log", |_| {}).trusting(Some(another)).gives(
            40,
            "origin_mismatch",
            Whole,
        ),
        Attack::on(
            "receipt",
            13,
            "one ciphertext, another text",
            forged(&|receipt| {
                receipt["opened"] = json!([{ "role": 4, "commit_key": key, "plaintext": plaintext }]);
            }),
        )
        .gives(40, "part_unbound", At(seq)),
        Attack::on(
            "receipt",
            35,
            "the plaintext of somebody else's receipt",
            forged(&|receipt| {
                receipt["opened"][0]["plaintext"] = others["opened"][0]["plaintext"].clone();
            }),
        )
        .gives(40, "part_unbound", At(seq)),
        Attack::on(
            "receipt",
            35,
            "all that somebody else's receipt opens",
            forged(&|receipt| {
                receipt["opened"] = others["opened"].clone();
                receipt["statement"] = others["statement"].clone();
            }),
        )
        .gives(40, "part_unbound", At(seq)),
        Attack::on(
            "receipt",
            35,
            "a part under another role",
            forged(&|receipt| receipt["opened"][0]["role"] = json!(1)),
        )
        .gives(40, "part_unbound", At(seq)),
        Attack::on(
            "receipt",
            35,
            "another key",
            forged(&|receipt| {
                receipt["opened"][0]["commit_key"] = json!(BASE64.encode(&[7; 32]));
            }),
        )
        .gives(40, "part_unbound", At(seq)),
        Attack::on(
            "receipt",
            35,
            "an edited statement",
            forged(&|receipt| {
                receipt["statement"]["person"] = json!("somebody@example.org");
            }),
        )
        .gives(40, "statement_differs", At(seq)),
        Attack::on(
            "receipt",
            35,
            "a statement with one line less",
            forged(&|receipt| {
                receipt["statement"].as_object_mut().expect("object").remove("kept");
            }),
        )
        .gives(40, "statement_differs", At(seq)),
        Attack::on("receipt", 35, "the proof of another leaf", forged(&|receipt| receipt["proof"] = json!(proof)))
            .gives(40, "part_unbound", At(300)),
        Attack::on("receipt", 25, "a receipt of nothing", forged(&|receipt| receipt["opened"] = json!([]))).gives(
            40,
            "malformed",
            Whole,
        ),
        Attack::on("receipt", 25, "a member too many", forged(&|receipt| receipt["more"] = json!(1))).gives(
            40,
            "malformed",
            Whole,
        ),
        Attack::on(
            "receipt",
            25,
            "a null in the statement",
            forged(&|receipt| receipt["statement"]["kept"] = Value::Null),
        )
        .gives(40, "malformed", Whole),
        Attack::on("receipt", 25, "a key that stands twice", move |file| {
            let text = std::fs::read_to_string(file).expect("receipt");
            std::fs::write(file, text.replacen("\"statement\"", "\"format\": \"amanat-receipt/1\", \"statement\"", 1))
                .expect("file");
        })
        .gives(40, "malformed", Whole),
        Attack::on("receipt", 25, "half a receipt", |file| {
            let text = std::fs::read(file).expect("receipt");
            std::fs::write(file, &text[..text.len() / 2]).expect("file");
        })
        .gives(40, "malformed", Whole),
        Attack::on("receipt", 25, "nested past any bound", move |file| {
            std::fs::write(file, "{\"statement\":".to_owned() + &"[".repeat(200_000)).expect("file");
        })
        .trusting(None)
        .gives(40, "malformed", Whole),
    ]
}

/// Bundles: what was exported, with bytes changed. What a bundle says of its own keys is no trust, so
/// every one is judged by the auditor's.
pub fn on_bundles(scene: &Scene) -> Vec<Attack<'_>> {
    let leaf = Rows::of(&scene.path("log.db")).leaves[300].clone();
    let hash = leaf_hash(&leaf).to_vec();
    let flipped = |wanted: Vec<u8>, byte: usize| {
        move |file: &Path| {
            let mut bytes = std::fs::read(file).expect("bundle");
            let at = bytes.windows(wanted.len()).position(|window| window == wanted).expect("it lies there");
            bytes[at + byte] ^= 1;
            std::fs::write(file, bytes).expect("bundle");
        }
    };
    vec![
        Attack::on("bundle.zip", 0, "a bundle as it is", |_| {}),
        Attack::on("bundle.zip", 0, "a bundle, by its own word", |_| {}).trusting(None).gives(10, "unwitnessed", Whole),
        Attack::on("bundle.zip", 1, "a byte of an entry", flipped(leaf, 50)).gives(40, "leaf_altered", At(300)),
        Attack::on("bundle.zip", 24, "a hash of a tile", flipped(hash, 7)).gives(40, "malformed", Whole),
        Attack::on("bundle.zip", 4, "the tail is gone", |_| {}).with_note(scene.text("saved-long")).gives(
            30,
            "rollback",
            Between(scene.size, signed_size(&scene.text("saved-long")) - 1),
        ),
        Attack::on("bundle.zip", 9, "two bundles of one copy, the other one longer", |_| {})
            .against(&scene.path("bundle-long.zip"))
            .gives(30, "fork", At(scene.size))
            .proves("fork"),
        Attack::on("bundle-long.zip", 9, "the same, by the longer one", |_| {})
            .against(&scene.path("bundle.zip"))
            .gives(30, "fork", At(scene.first_signed_in("bundle.zip")))
            .proves("fork"),
        Attack::on("bundle.zip", 9, "two bundles of one copy, the other one shorter", |_| {})
            .against(&scene.path("bundle-short.zip"))
            .gives(30, "fork", At(scene.first_signed_in("bundle-short.zip")))
            .proves("fork"),
        Attack::on("bundle-long.zip", 0, "a bundle that the other one extends", |_| {})
            .against(&scene.path("bundle-short.zip")),
        Attack::on("bundle.zip", 25, "held against no bundle", |_| {}).against(&scene.path("proof")).gives(
            40,
            "malformed",
            Whole,
        ),
        Attack::on("bundle.zip", 14, "a bundle of another log", |_| {})
            .trusting(Some(
                "log log.example/audit-1+fe08797a+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c\nquorum none\n"
                    .to_owned(),
            ))
            .gives(40, "origin_mismatch", Whole),
        Attack::on(
            "bundle.zip",
            16,
            "a signature",
            flipped(format!("amanat.test/log\n{}\n", scene.size).into_bytes(), 16),
        )
        .gives(40, "malformed", Whole),
        Attack::on("bundle.zip", 25, "the list of files", flipped(b"amanat-bundle/1".to_vec(), 14)).gives(
            40,
            "malformed",
            Whole,
        ),
        Attack::on("bundle.zip", 25, "half a bundle", |file| {
            let bytes = std::fs::read(file).expect("bundle");
            std::fs::write(file, &bytes[..bytes.len() / 2]).expect("bundle");
        })
        .gives(40, "malformed", Whole),
    ]
}

/// The leaf in a proof.
fn leaf_of(proof: &str) -> Leaf {
    Leaf::decode(&extra_of(proof)).expect("leaf")
}

fn extra_of(proof: &str) -> Vec<u8> {
    let extra = proof.lines().nth(1).and_then(|line| line.strip_prefix("extra ")).expect("a leaf");
    BASE64.decode(extra.as_bytes()).expect("base64")
}

/// The same proof one level up: the two hashes below a node in the place of a leaf.
fn inner_node(proof: &str) -> String {
    let own = leaf_hash(&extra_of(proof));
    let lines: Vec<&str> = proof.split('\n').collect();
    let sibling = BASE64.decode(lines[3].as_bytes()).expect("hash");
    // 300 is even, so it stands left.
    let node = BASE64.encode(&[own.as_slice(), &sibling].concat());
    format!("{}\nextra {node}\nindex 150\n{}", lines[0], lines[4..].join("\n"))
}

//! Checkpoints that time-stamping authorities date: which replies count, when they are asked for, what
//! the verifier says of them.

use amanat::audit::anchor::{AnchorError, check, query};
use amanat::audit::finding::{Code, Position, Report};
use amanat::audit::leaf::{Fact, Leaf};
use amanat::crypto::signature::certificate::{CertificateError, Roots};
use amanat::domain::event::{Event, Outcome};
use amanat::gateway::Gateway;
use amanat::gateway::anchor::AnchorSettings;
use amanat::gateway::export::BundleOrder;
use amanat::gateway::verify::verify;
use amanat::storage::{Step, Unit, audit_log};
use proptest::prelude::*;

use crate::harness::authority::{Authority, Made, P384, RSA_2048, RSA_4096, Served, Through, USUAL};
use crate::harness::process::Installed;
use crate::harness::store::Store;
use crate::tamper::judges;

use super::bundles::{Unpacked, export, verify_dated};
use super::{Backend, TestLog, faults, grow, run};

const TEXT: &str = "amanat.test/log\n5\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
const NONCE: [u8; 16] = [0xf1; 16];
const DAY: i64 = 86_400;

fn roots_of(authority: &Authority) -> Roots {
    Roots::from_pem(&authority.roots_pem()).expect("roots")
}

fn dated(authority: &Authority) -> Vec<u8> {
    authority.reply(&query(TEXT, &NONCE).expect("query"))
}

#[test]
fn replies_of_many_kinds_of_authority_hold_here_and_elsewhere() {
    let kinds = [
        USUAL,
        Made { signer: RSA_2048, digest: "sha512", ..USUAL },
        Made { root: RSA_4096, signer: RSA_4096, digest: "sha384", ..USUAL },
        Made { root: P384, signer: P384, digest: "sha384", names_by: "sha512", ..USUAL },
        Made { root: RSA_2048, signer: P384, names_by: "sha1", ..USUAL },
        Made { through: Through::Intermediate, ..USUAL },
    ];
    for made in kinds {
        let authority = Authority::make(made);
        let reply = dated(&authority);
        let checked = check(&reply, TEXT, Some(&NONCE), &roots_of(&authority));
        let time = checked.unwrap_or_else(|error| panic!("{made:?}: {error}"));
        let now = amanat::gateway::source::Source::default().now();
        assert!(now.duration_since(time).abs().as_secs() < 60, "{made:?}: {time}");
        assert!(authority.vouches(&reply, TEXT), "{made:?}");
    }
}

#[test]
fn replies_that_date_something_else_or_by_somebody_else_are_told_apart() {
    let (authority, other) = (Authority::make(USUAL), Authority::make(USUAL));
    let roots = roots_of(&authority);
    let reply = dated(&authority);
    let unknown = AnchorError::Certificate(CertificateError::UnknownChain);
    assert_eq!(check(&reply, "another text\n", Some(&NONCE), &roots), Err(AnchorError::OtherText));
    assert_eq!(check(&reply, TEXT, Some(&[0x71; 16]), &roots), Err(AnchorError::Nonce));
    assert_eq!(check(&reply, TEXT, Some(&NONCE), &roots_of(&other)), Err(unknown));
    assert_eq!(check(&reply, TEXT, None, &Roots::default()), Err(unknown));
    assert!(unknown.is_unvouched() && !AnchorError::OtherText.is_unvouched());

    let expired = Authority::make(Made { until: "20210101000000Z", ..USUAL });
    let reply = dated(&expired);
    let then = AnchorError::Certificate(CertificateError::NotValidThen);
    assert_eq!(check(&reply, TEXT, Some(&NONCE), &roots_of(&expired)), Err(then));
    assert!(then.is_unvouched() && !expired.vouches(&reply, TEXT));

    let refusal = authority.reply(b"no request");
    assert_eq!(check(&refusal, TEXT, Some(&NONCE), &roots), Err(AnchorError::Refused(2)));
}

#[test]
fn no_byte_of_a_reply_can_be_changed_to_date_at_another_time() {
    let authority = Authority::make(USUAL);
    let (reply, roots) = (dated(&authority), roots_of(&authority));
    let time = check(&reply, TEXT, Some(&NONCE), &roots).expect("dated");
    let mut passed = 0;
    for place in 0..reply.len() {
        assert!(check(&reply[..place], TEXT, Some(&NONCE), &roots).is_err(), "cut at {place}");
        for bit in [0x01, 0x80] {
            let mut changed = reply.clone();
            changed[place] ^= bit;
            if let Ok(said) = check(&changed, TEXT, Some(&NONCE), &roots) {
                assert_eq!(said, time, "byte {place}");
                passed += 1;
            }
        }
    }
    // What nobody signs: the status, and versions and algorithms that stand twice.
    assert!(passed < 40, "{passed} changes passed");
    let longer = [reply.as_slice(), &[0]].concat();
    assert_eq!(check(&longer, TEXT, Some(&NONCE), &roots), Err(AnchorError::Malformed));
}

#[test]
fn no_reply_makes_the_reader_panic() {
    let authority = Authority::make(Made { through: Through::Intermediate, ..USUAL });
    let (reply, roots) = (dated(&authority), roots_of(&authority));
    let length = reply.len();
    let cases = if std::env::var_os("AMANAT_TEST_LONG").is_some() { 200_000 } else { 3_000 };
    let spliced = (0..length, 0..length, proptest::collection::vec(any::<u8>(), 0..40), 0..8_usize);
    proptest!(ProptestConfig::with_cases(cases), |((at, gone, new, copies) in spliced, noise in proptest::collection::vec(any::<u8>(), 0..300))| {
        let mut changed = reply.clone();
        let end = (at + gone % 40).min(length);
        changed.splice(at..end, std::iter::repeat_n(new, copies).flatten());
        // It may only hold if nothing that counts was touched.
        let _judged = check(&changed, TEXT, Some(&NONCE), &roots);
        prop_assert!(check(&noise, TEXT, None, &roots).is_err());
        let _read = Roots::from_pem(&noise);
    });
}

/// A log whose gateway has an authority.
pub async fn with_authority(log: TestLog, made: Made) -> (TestLog, Authority, Served) {
    let authority = Authority::make(made);
    let served = authority.serve().await;
    let mut log = log;
    log.settings.anchors = vec![AnchorSettings {
        name: "tester".to_owned(),
        url: served.url(),
        roots: roots_of(&authority),
        guard: amanat::delivery::guard::GuardRules { allow_loopback: true, ..Default::default() },
    }];
    (log, authority, served)
}

async fn published(house: &Gateway) -> u64 {
    house.publish_once().await.expect("published").expect("a checkpoint").size
}

/// Outcome and facts of the leaves that tell of time-stamps.
fn told(log: &TestLog) -> Vec<(Outcome, Vec<Fact>)> {
    let mut connection = log.settings.database.connect_to_read().expect("store");
    let leaves = audit_log::leaves_of_events(&mut connection, &[105], 100).expect("leaves");
    let decoded = leaves.iter().map(|leaf| Leaf::decode(&leaf.leaf).expect("leaf"));
    decoded.map(|leaf| (leaf.outcome, leaf.facts.as_slice().to_vec())).collect()
}

fn verified(log: &TestLog, roots: Roots) -> Report {
    let mut verification = log.verification();
    verification.anchor_roots = roots;
    verify(&verification, |_, _| {}).expect("verifiable")
}

on_both! {
    async fn a_checkpoint_is_dated_and_the_log_says_so(log: TestLog) {
        let (log, authority, served) = with_authority(log, Made { signer: RSA_2048, ..USUAL }).await;
        let house = log.open().await;
        grow(&house, 300).await;
        let size = published(&house).await;
        house.anchor_once().await.expect("asked");
        house.anchor_once().await.expect("nothing is due");
        assert_eq!(served.asked(), 1);
        let [(Outcome::Done, facts)] = &told(&log)[..] else { panic!("{:?}", told(&log)) };
        let anchor = house.database.read(|c| audit_log::newest_anchor(c, "tester")).await.expect("read").expect("kept");
        let reply = anchor.reply.expect("a reply");
        assert_eq!(facts, &[Fact::Digest(amanat::gateway::hash_of(&reply)), Fact::LogSize(size)]);
        published(&house).await;
        house.close();

        let report = verified(&log, roots_of(&authority));
        assert_eq!((report.anchored_to, faults(&report)), (Some(size), vec![]), "{report:?}");
        // Whoever does not know the authority cannot tell.
        let report = log.verify();
        assert_eq!((report.exit, report.anchored_to), (10, None));
        assert_eq!(faults(&report), vec![(Code::AnchorPending, Position::Leaf { seq: size })]);
    }

    async fn a_reply_that_is_not_the_one_is_found(log: TestLog) {
        let (log, authority, _served) = with_authority(log, USUAL).await;
        let house = log.open().await;
        grow(&house, 20).await;
        let size = published(&house).await;
        house.anchor_once().await.expect("asked");
        published(&house).await;
        let kept = house.database.read(|c| audit_log::newest_anchor(c, "tester")).await.expect("read").expect("kept");
        house.close();
        let reply = kept.reply.expect("a reply");
        let at = Position::Leaf { seq: size };
        let set = |bytes: &[u8]| {
            let hex = data_encoding::HEXUPPER.encode(bytes);
            let literal = match log.settings.database {
                amanat::storage::Location::Sqlite(_) => format!("X'{hex}'"),
                amanat::storage::Location::Postgres { .. } => format!("'\\x{hex}'"),
            };
            log.tamper(&format!("UPDATE audit_anchor SET reply = {literal}"));
        };
        for other in [reply[..reply.len() - 1].to_vec(), dated(&authority), Vec::new()] {
            set(&other);
            let report = verified(&log, roots_of(&authority));
            assert_eq!((report.exit, report.anchored_to), (40, None), "{report:?}");
            assert!(faults(&report).contains(&(Code::AnchorInvalid, at)), "{report:?}");
        }
        set(&reply);
        assert_eq!(faults(&verified(&log, roots_of(&authority))), vec![]);
        let stranger = Authority::make(USUAL);
        assert_eq!(faults(&verified(&log, roots_of(&stranger))), vec![(Code::AnchorPending, at)]);

        log.tamper(&format!("DELETE FROM audit_checkpoint WHERE size = {size}"));
        assert_eq!(faults(&verified(&log, roots_of(&authority))), vec![(Code::AnchorInvalid, at)]);
        log.tamper("DELETE FROM audit_anchor");
        let report = verified(&log, roots_of(&authority));
        assert_eq!((report.exit, faults(&report)), (10, vec![(Code::AnchorPending, at)]), "what the log tells of is gone");
    }

    async fn an_authority_that_is_away_is_told_after_a_day_and_asked_again(log: TestLog) {
        let (log, authority, served) = with_authority(log, USUAL).await;
        served.close();
        let house = log.open().await;
        let size = published(&house).await;
        for _ in 0..3 {
            house.anchor_once().await.expect("asked");
        }
        assert_eq!(served.asked(), 1, "there is a pause after a failure");
        assert_eq!(faults(&verified(&log, roots_of(&authority))), vec![(Code::AnchorPending, Position::Leaf { seq: size })]);
        for asked in 2..=7 {
            // 1, 2, 4, 8, 16, 32 minutes.
            log.source.shift(60 << (asked - 2));
            house.anchor_once().await.expect("asked");
            assert_eq!(served.asked(), asked);
        }
        assert_eq!(told(&log), vec![]);
        log.source.shift(DAY);
        for _ in 0..3 {
            house.anchor_once().await.expect("asked");
        }
        assert_eq!(told(&log), vec![(Outcome::Failed, vec![Fact::LogSize(size)])], "once");
        let [owes] = &house.log_status().await.expect("status").anchors[..] else { panic!("one authority") };
        assert!(owes.dated.is_none() && owes.owed_since.is_some() && owes.is_overdue, "{owes:?}");
        house.close();

        // Another process goes on where this one was.
        let house = log.open().await;
        house.anchor_once().await.expect("asked");
        assert_eq!(told(&log).len(), 1);
        served.open();
        log.source.shift(3_600);
        let newer = published(&house).await;
        house.anchor_once().await.expect("asked");
        house.anchor_once().await.expect("and what is due by now");
        let sizes: Vec<_> = told(&log).into_iter().map(|(outcome, facts)| (outcome, facts.last().cloned())).collect();
        let size_of = |outcome, size| (outcome, Some(Fact::LogSize(size)));
        assert_eq!(sizes, vec![size_of(Outcome::Failed, size), size_of(Outcome::Done, size), size_of(Outcome::Done, newer)]);
        let [dated] = &house.log_status().await.expect("status").anchors[..] else { panic!("one authority") };
        assert!(dated.dated == Some(newer) && dated.owed_since.is_none() && !dated.is_overdue, "{dated:?}");
        house.close();
    }

    async fn what_rewrites_could_hide_is_dated_at_once(log: TestLog) {
        let (log, _authority, served) = with_authority(log, USUAL).await;
        let house = log.open().await;
        published(&house).await;
        house.anchor_once().await.expect("asked");
        grow(&house, 10).await;
        published(&house).await;
        house.anchor_once().await.expect("nothing is due");
        assert_eq!(served.asked(), 1);
        let facts = vec![Fact::Number(0), Fact::PolicyHash([0; 32]), Fact::Deleted(amanat::audit::leaf::Counts::default()), Fact::Root([0; 32]), Fact::Until(1)];
        let leaf = facts.into_iter().fold(house.leaf(Event::LogPruned, Outcome::Done).expect("leaf"), |leaf, fact| leaf.fact(fact));
        let leaf = leaf.finish().expect("draft");
        house.database.write(Unit::change(Vec::new(), vec![leaf], |_, _| Ok(Step::Commit))).await.expect("appended");
        house.anchor_once().await.expect("not published yet");
        assert_eq!(served.asked(), 1);
        published(&house).await;
        house.anchor_once().await.expect("asked");
        house.anchor_once().await.expect("nothing is due");
        assert_eq!(served.asked(), 2);
        log.source.shift(DAY);
        published(&house).await;
        house.anchor_once().await.expect("asked");
        assert_eq!(served.asked(), 3, "and once a day");
        house.close();
    }

    async fn a_reply_that_does_not_hold_is_not_kept(log: TestLog) {
        let (log, _authority, served) = with_authority(log, Made { until: "20210101000000Z", ..USUAL }).await;
        let house = log.open().await;
        published(&house).await;
        house.anchor_once().await.expect("asked");
        assert_eq!((served.asked(), told(&log)), (1, vec![]));
        let anchor = house.database.read(|c| audit_log::newest_anchor(c, "tester")).await.expect("read").expect("asked");
        assert_eq!(anchor.reply, None);
        house.close();
        // An authority that is not asked any more owes nothing.
        let other = Authority::make(USUAL);
        let mut log = log;
        log.settings.anchors[0].name = "other".to_owned();
        log.settings.anchors[0].roots = roots_of(&other);
        let house = log.open().await;
        published(&house).await;
        house.anchor_once().await.expect("asked");
        house.close();
        assert_eq!(Store::open(&log.settings.database).count("audit_anchor"), 1);
        log.settings.anchors.clear();
        let house = log.open().await;
        house.anchor_once().await.expect("nobody to ask");
        house.close();
        assert_eq!(Store::open(&log.settings.database).count("audit_anchor"), 0);
    }

    async fn a_bundle_carries_the_replies(log: TestLog) {
        let (log, authority, _served) = with_authority(log, Made { through: Through::Intermediate, ..USUAL }).await;
        let house = log.open().await;
        grow(&house, 600).await;
        let size = published(&house).await;
        house.anchor_once().await.expect("asked");
        published(&house).await;
        house.close();
        let bundle = export(&log, "dated.zip", &BundleOrder::default());
        let again = export(&log, "again.zip", &BundleOrder::default());
        assert_eq!(std::fs::read(&bundle).expect("bundle"), std::fs::read(again).expect("bundle"));
        let report = verify_dated(&bundle, roots_of(&authority));
        assert_eq!((report.anchored_to, faults(&report)), (Some(size), vec![]), "{report:?}");
        let at = (Code::AnchorPending, Position::Leaf { seq: size });
        assert_eq!(faults(&verify_dated(&bundle, Roots::default())), vec![at]);

        let (ours, theirs) = judges::both(&bundle, &[]);
        assert_eq!(ours, theirs, "neither knows the authority");

        let files = Unpacked::read(&bundle);
        let (reply, note) = (format!("anchor/{size}.tsr"), format!("checkpoints/{size}"));
        let text = String::from_utf8(files.0[&note].clone()).expect("note");
        let text = text.split("\n\n").next().expect("text").to_owned() + "\n";
        assert!(authority.vouches(&files.0[&reply], &text), "openssl believes it too");
        type Deed = Box<dyn Fn(&mut Unpacked)>;
        let another = dated(&authority);
        let deeds: [(Deed, i32, Code); 4] = [
            (Box::new({ let reply = reply.clone(); move |files| { files.0.remove(&reply); } }), 10, Code::AnchorPending),
            (Box::new({ let reply = reply.clone(); move |files| { files.0.get_mut(&reply).expect("reply").pop(); } }), 40, Code::AnchorInvalid),
            (Box::new({ let reply = reply.clone(); move |files| { files.0.insert(reply.clone(), another.clone()); } }), 40, Code::AnchorInvalid),
            (Box::new({ let note = note.clone(); move |files| { files.0.remove(&note); } }), 40, Code::AnchorInvalid),
        ];
        for (deed, exit, code) in deeds {
            let mut changed = Unpacked::read(&bundle);
            deed(&mut changed);
            let report = verify_dated(&changed.write(log.folder.path()), roots_of(&authority));
            assert_eq!(i32::from(report.exit), exit, "{report:?}");
            assert!(faults(&report).contains(&(code, Position::Leaf { seq: size })), "{report:?}");
        }
    }

    async fn a_dated_checkpoint_outlives_the_thinning(log: TestLog) {
        let (log, authority, _served) = with_authority(log, USUAL).await;
        let house = log.open().await;
        for _ in 0..4 {
            grow(&house, 1).await;
            published(&house).await;
        }
        house.anchor_once().await.expect("asked");
        let size = published(&house).await - 1;
        grow(&house, 1).await;
        published(&house).await;
        log.source.shift(3 * DAY);
        house.forget_old(&Default::default()).await.expect("forgotten");
        house.close();
        let report = verified(&log, roots_of(&authority));
        assert_eq!((report.anchored_to, faults(&report)), (Some(size), vec![]), "{report:?}");
    }
}

#[test]
fn an_address_inside_the_house_is_refused_unless_it_is_let_in() {
    run(Backend::Sqlite, |log| async move {
        let (mut log, _authority, _served) = with_authority(log, USUAL).await;
        log.settings.anchors[0].guard = Default::default();
        let error = log.try_open().await.map(drop).expect_err("refused");
        assert!(error.to_string().contains("anchors.tester.url"), "{error}");
    });
}

#[test]
fn the_program_dates_its_log_and_verifies_it_from_a_file_of_options() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let authority = Authority::make(USUAL);
    let served = runtime.block_on(authority.serve());
    let folder = tempfile::tempdir().expect("folder");
    let roots = authority.roots().display().to_string();
    let options = format!(
        "[anchors.tester]\nurl = \"{}\"\nroots = \"{roots}\"\n[delivery]\nallow_loopback = true\n",
        served.url()
    );
    std::fs::write(folder.path().join("amanat.toml"), options).expect("options");
    let below = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let mut installed = Installed::new(folder.path(), &below("amanat.db"), &below("keys.db"));
    installed.start();
    let begun = std::time::Instant::now();
    let is_dated = || {
        let (exit, said) = installed.run(&["audit", "verify"]);
        (exit == 10 && said.contains("dated ")).then_some(said)
    };
    let mut said = is_dated();
    while said.is_none() && begun.elapsed().as_secs() < 100 {
        std::thread::sleep(std::time::Duration::from_millis(500));
        said = is_dated();
    }
    let said = said.expect("dated in time");
    assert!(!said.contains("anchor_"), "{said}");
    let (exit, exported) = installed.run(&["audit", "export", "--format", "bundle", "out.zip"]);
    assert_eq!(exit, 0, "{exported}");
    let (_, alone) = installed.run(&["audit", "verify", "out.zip"]);
    assert!(alone.contains("anchor_pending") && !alone.contains("anchor_invalid"), "{alone}");
    let (exit, with) = installed.run(&["audit", "verify", "out.zip", "--anchor-roots", &roots]);
    assert!(exit == 10 && with.contains("dated ") && !with.contains("anchor_"), "{with}");
    installed.stop();
}

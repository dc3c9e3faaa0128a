//! An erasure through the gateway's own functions: the end state, a kill after each step, old events
//! afterwards. (Law: Art. 17, 19, 21(3); invariants I9–I12 of the requests.)

mod returned;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::audit::finding::{Code, Finding, Severity};
use crate::audit::payload::Payload;
use crate::audit::receipt::{Receipt, TrustSource};
use crate::domain::collected::{Collected, CollectedKind, Narrowing, RawIdentifier};
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::{CollectorId, DisclosureId, FieldPath, PurposeId, RecipientId, SubjectId};
use crate::domain::identifier::IdentifierKind;
use crate::domain::personal::Personal;
use crate::domain::reason::Reason;
use crate::domain::subject_request::{RequestOutcome, RequestState};
use crate::gateway::collect::Verdict;
use crate::gateway::source::Source;
use crate::gateway::subject_request::{Asked, AskedIdentifier, Case, Opener};
use crate::gateway::verify::{PartOpener, Verification, verify};
use crate::gateway::{KeyringSource, Settings};
use crate::policy::Files;
use crate::storage::disclosures::Disclosure;
use crate::storage::{Id16, Location, disclosures, keys, records, subjects};

/// The server of the integration tests, for the one test here that needs the inside of an erasure on it.
#[path = "../../../tests/it/harness/postgres.rs"]
#[expect(dead_code, unreachable_pub, clippy::disallowed_methods, reason = "it is theirs, and they need more of it")]
mod postgres;

pub(in crate::gateway) const EMAIL: &str = "anna.canary@example.org";
pub(in crate::gateway) const NAME: &str = "Anna Canary-Lastname";
pub(in crate::gateway) const ORDER: &str = "order-canary-77";

static POLICIES: include_dir::Dir<'_> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/policies");

fn policy() -> Files {
    fn add(dir: &include_dir::Dir<'_>, files: &mut Files) {
        for file in dir.files() {
            files.insert(file.path().to_str().unwrap().to_owned(), file.contents().to_vec());
        }
        for dir in dir.dirs() {
            add(dir, files);
        }
    }
    let mut files = Files::new();
    add(&POLICIES, &mut files);
    files
}

/// The data store and the key store.
type Stores = (Location, Location);

fn on_sqlite(folder: &Path) -> Stores {
    (Location::Sqlite(folder.join("amanat.db")), Location::Sqlite(folder.join("keys.db")))
}

fn on_postgres() -> Stores {
    let name = postgres::server().fresh_name();
    let parse = |store: &str| Location::parse(&postgres::server().url(&format!("{name}_{store}"))).unwrap();
    (parse("data"), parse("keys"))
}

fn settings(folder: &Path, (database, keys): Stores) -> Settings {
    Settings {
        database,
        keys,
        readers: 2,
        batch_units: 64,
        queue: 256,
        public_url: "http://127.0.0.1".to_owned(),
        origin: Some("amanat.test/log".to_owned()),
        memory: folder.join("memory"),
        mirror: None,
        journal: vec![folder.join("journal")],
        key_life: Duration::from_secs(30),
        checkpoint_every: Duration::from_millis(50),
        heartbeat_every: Duration::from_secs(3600),
        anchors: Vec::new(),
        trust: crate::gateway::witness::TrustSettings::default(),
        delivery_time_limit: Duration::from_secs(1),
        delivery_lease: Duration::from_secs(2),
        public_entries: false,
        stated_age_days: Some(35),
        config_digest: [0; 32],
        observe: Arc::new(|_, _, _| {}),
    }
}

pub(in crate::gateway) async fn open(folder: &Path, source: &Source) -> Gateway {
    open_at(folder, on_sqlite(folder), source).await
}

async fn open_at(folder: &Path, stores: Stores, source: &Source) -> Gateway {
    let root = KeyringSource::File { path: folder.join("root.key"), managed: true };
    Gateway::open(settings(folder, stores), root, policy(), source.clone()).await.unwrap()
}

/// An identify with a name, or an order when one is named.
fn event(at: Timestamp, id: &str, order: Option<&str>) -> Collected {
    let text = |text: &str| Personal::new(serde_json::Value::from(text).to_string());
    let mut values = vec![(FieldPath::new("traits.email"), text(EMAIL)), (FieldPath::new("traits.name"), text(NAME))];
    if let Some(order) = order {
        values.push((FieldPath::new("properties.order_id"), text(order)));
    }
    Collected {
        kind: if order.is_some() { CollectedKind::Track } else { CollectedKind::Identify },
        index: 0,
        message_id: Some(Personal::new(id.to_owned())),
        content_hash: [7; 32],
        occurred_at: at,
        has_time: true,
        identifiers: vec![RawIdentifier {
            kind: IdentifierKind::UserId,
            namespace: String::new(),
            text: Personal::new("user-canary-1".to_owned()),
            pointer: "/userId",
        }],
        previous: None,
        values,
        undeclared: Vec::new(),
        signals: Vec::new(),
        narrowing: Narrowing::default(),
        purposes: None,
        consent_record: None,
    }
}

async fn collect(house: &Gateway, event: Collected) -> Verdict {
    let now = house.source.now();
    let collection = house.collect(&CollectorId::new("shop-server"), vec![event], now).await.unwrap();
    collection.verdicts.into_iter().next().unwrap()
}

pub(in crate::gateway) fn asked(kinds: &[RequestKind]) -> Asked {
    Asked {
        kinds: kinds.to_vec(),
        identifiers: vec![AskedIdentifier {
            kind: IdentifierKind::Email,
            namespace: String::new(),
            text: Personal::new("Anna.Canary@Example.org".to_owned()),
        }],
        language: None,
        message: Some(Personal::new("please delete me, message-canary".to_owned())),
    }
}

async fn subject_of(house: &Gateway) -> Option<SubjectId> {
    let value = house.keyholder.secrets().index.value(&IdentifierKind::Email, "", EMAIL);
    house.find_identifier("email".to_owned(), String::new(), value, || EMAIL.to_owned()).await.unwrap()
}

/// A person with a profile record and, if asked for, an order that tax law keeps; disclosed once.
pub(in crate::gateway) async fn meet(house: &Gateway, order: Option<&str>) -> SubjectId {
    let now = house.source.now();
    assert_eq!(collect(house, event(now, "m-1", None)).await, Verdict::Accepted);
    if order.is_some() {
        assert_eq!(collect(house, event(now, "m-2", order)).await, Verdict::Accepted);
    }
    let subject = subject_of(house).await.unwrap();
    let entry = house.source.entry().unwrap();
    let disclosure = Disclosure {
        id: DisclosureId::from_uuid(house.source.ordered_id(now).unwrap()),
        subject,
        recipient: RecipientId::new("letterbox"),
        purpose: PurposeId::new("order_handling"),
        fields: vec![FieldPath::new("traits.email")],
        safeguard: String::new(),
        record: None,
        delivery: None,
        at: now.into(),
        entry,
    };
    house
        .commit_change(move || {
            let disclosure = disclosure.clone();
            Unit::change(Vec::new(), Vec::new(), move |transaction, _| {
                disclosures::insert(transaction.connection(), &disclosure)?;
                Ok(Step::Commit)
            })
        })
        .await
        .unwrap();
    subject
}

async fn wrapped_keys(house: &Gateway, subject: SubjectId) -> Vec<Vec<u8>> {
    house
        .keyholder
        .store()
        .read(move |c| {
            let mut found: Vec<Vec<u8>> =
                keys::subject_keys(c, &[Id16::from(subject)])?.into_iter().map(|key| key.wrapped).collect();
            found.extend(keys::audit_keys_of(c, 1, Id16::from(subject))?.into_iter().map(|key| key.wrapped));
            Ok(found)
        })
        .await
        .unwrap()
}

/// Files of a folder that hold one of these byte strings.
pub(in crate::gateway) fn holding(folder: &Path, wanted: &[Vec<u8>]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, wanted));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            if wanted.iter().any(|wanted| bytes.windows(wanted.len()).any(|window| window == wanted)) {
                found.push(path);
            }
        }
    }
    found
}

pub(in crate::gateway) fn canaries() -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for text in [EMAIL, NAME, ORDER, "message-canary", "user-canary-1"] {
        found.push(text.as_bytes().to_vec());
        found.push(text.to_lowercase().into_bytes());
        found.push(data_encoding::HEXLOWER.encode(text.as_bytes()).into_bytes());
        found.push(crate::crypto::mac::hash(text.as_bytes()).to_vec());
    }
    found
}

async fn check_end_state(house: &Gateway, folder: &Path, case: &Case, subject: SubjectId, destroyed: &[Vec<u8>]) {
    let request = case.requests.last().unwrap().id;
    let (_, now) = house.request(request).await.unwrap();
    assert_eq!(now.state, RequestState::Answered, "open tasks of recipients keep it from closing");
    assert_eq!(subject_of(house).await, None);
    assert!(house.person_now(subject).await.unwrap().is_none(), "the state row went");
    let counts = house.database.read(move |c| erasures::count_rows(c, &[subject])).await.unwrap();
    assert!(counts.iter().all(|(_, rows)| *rows == 0), "{counts:?}");
    assert!(wrapped_keys(house, subject).await.is_empty());
    assert!(house.keyholder.people(vec![(subject, 1)]).await.is_err());
    let commitments: Vec<Vec<u8>> = destroyed.iter().map(|wrapped| wrapped[18..66].to_vec()).collect();
    assert_eq!(holding(folder, &commitments), Vec::<PathBuf>::new(), "wrapped keys stand on disk");
    assert_eq!(holding(folder, &canaries()), Vec::<PathBuf>::new(), "a personal value stands on disk");
    let tasks = house.tasks(request).await.unwrap();
    let letterbox: Vec<_> =
        tasks.iter().filter(|task| task.target == Target::Recipient(RecipientId::new("letterbox"))).collect();
    assert_eq!(letterbox.iter().map(|task| task.verb.as_str()).collect::<Vec<_>>(), ["suppress", "erase"]);
    assert!(letterbox.iter().all(|task| task.outcome == TaskOutcome::Pending && task.next_at.is_some()));
    let journal = std::fs::read_to_string(folder.join("journal/stops.journal")).unwrap();
    assert!(journal.contains(&format!("erasure {subject}")) && journal.contains("suppression"), "{journal}");
    let memory = std::fs::read_to_string(house.erased_memory()).unwrap();
    assert_eq!(memory.lines().count(), destroyed.len());
}

async fn check_log_and_receipt(house: &Gateway, request: SubjectRequestId) -> serde_json::Value {
    house.publish_once().await.unwrap();
    let text = house.erasure_receipt(request).await.unwrap();
    let receipt = Receipt::parse(text.as_bytes()).unwrap();
    let report = receipt.verify(TrustSource::Receipt);
    assert_eq!(report.exit, 10, "{:?}", report.findings.iter().map(|finding| finding.code).collect::<Vec<_>>());
    let verification = Verification {
        database: house.settings.database.clone(),
        keys: Some(house.settings.keys.clone()),
        memory: Some(house.settings.memory.clone()),
        checkpoints: Vec::new(),
        trust: None,
        anchor_roots: Default::default(),
        maximum_age: None,
        now: house.source.now(),
        business: true,
        destroyed_keys: true,
        opener: Some(PartOpener::new(house.keyholder.installation, house.keyholder.keyring())),
    };
    let report = verify(&verification, |_, _| {}).unwrap();
    // The disclosure of these tests was put into the ledger without its leaf.
    let is_ours =
        |finding: &Finding| finding.severity <= Severity::NotAttested || finding.code == Code::BusinessRowWithoutLeaf;
    let others: Vec<_> = report.findings.iter().filter(|finding| !is_ours(finding)).collect();
    assert!(others.is_empty(), "{others:?}");
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["statement"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_whole() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Source::default());
    let house = open(folder.path(), &source).await;
    let subject = meet(&house, None).await;
    let destroyed = wrapped_keys(&house, subject).await;
    assert_eq!(destroyed.len(), 3);
    let case = house.open_case(asked(&[RequestKind::Erasure]), Opener::Operator).await.unwrap();
    house.carry_out_case(case.case.id).await.unwrap();
    check_end_state(&house, folder.path(), &case, subject, &destroyed).await;
    let statement = check_log_and_receipt(&house, case.requests[0].id).await;
    assert_eq!(statement["person"], "Anna.Canary@Example.org");
    assert_eq!(statement["completeness"], "full");
    assert_eq!(statement["recipients"][0]["name"], "Letterbox Mailversand GmbH");
    assert_eq!(statement["keys"].as_array().unwrap().len(), 3);
    let rows = statement["records"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["store"] == "record" && row["rows"] == 1), "{statement}");
    // An hour later nobody here can show it any more.
    source.shift(3_700);
    assert_eq!(house.forget_receipts().await.unwrap(), 1);
    assert!(matches!(house.erasure_receipt(case.requests[0].id).await, Err(Error::NotFound)));
    house.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_after_each_step_ends_the_same_on_sqlite() {
    kill_after_each_step(on_sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_after_each_step_ends_the_same_on_postgres() {
    kill_after_each_step(|_| on_postgres()).await;
}

async fn kill_after_each_step(stores: impl Fn(&Path) -> Stores) {
    let steps = [
        ErasureStep::Planned,
        ErasureStep::Begun,
        ErasureStep::Remembered,
        ErasureStep::KeysDestroyed,
        ErasureStep::RowsDeleted,
    ];
    for last in steps {
        let (folder, source) = (tempfile::tempdir().unwrap(), Source::default());
        let stores = stores(folder.path());
        let house = open_at(folder.path(), stores.clone(), &source).await;
        let subject = meet(&house, None).await;
        let destroyed = wrapped_keys(&house, subject).await;
        let case = house.open_case(asked(&[RequestKind::Erasure]), Opener::Operator).await.unwrap();
        let request = case.requests[0].id;
        house.erase_up_to(request, last).await.unwrap();
        house.close();

        let house = open_at(folder.path(), stores, &source).await;
        house.resume_erasures().await.unwrap();
        if last == ErasureStep::Planned {
            // Nothing had begun: the request is taken up as if for the first time.
            house.run_due_requests().await.unwrap();
        }
        check_end_state(&house, folder.path(), &case, subject, &destroyed).await;
        check_log_and_receipt(&house, request).await;
        house.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tax_law_keeps_stays_for_that_purpose_alone_under_a_fresh_key() {
    for last in [ErasureStep::KeysDestroyed, ErasureStep::Answered] {
        let (folder, source) = (tempfile::tempdir().unwrap(), Source::default());
        let house = open(folder.path(), &source).await;
        let subject = meet(&house, Some(ORDER)).await;
        let destroyed = wrapped_keys(&house, subject).await;
        let case = house.open_case(asked(&[RequestKind::Erasure]), Opener::Operator).await.unwrap();
        let request = case.requests[0].id;
        house.erase_up_to(request, last).await.unwrap();
        house.close();
        let house = open(folder.path(), &source).await;
        house.resume_erasures().await.unwrap();

        assert_eq!(subject_of(&house).await, None, "nothing finds the person any more");
        let person = house.person_now(subject).await.unwrap().unwrap();
        let purpose = PurposeId::new("bookkeeping");
        assert_eq!(person.subject.status, crate::domain::subject::SubjectStatus::RetainedOnly { purpose });
        assert_eq!(person.subject.key_version, 2);
        let kept = house.database.read(move |c| records::of_subject(c, subject, None, 10)).await.unwrap();
        assert_eq!(kept.len(), 1, "the profile went, the order stays");
        let opened = house.keyholder.people(vec![(subject, 2)]).await.unwrap();
        let policy = house.policy();
        let sealed = crate::crypto::sealed::Sealed::parse(kept[0].sealed.clone()).unwrap();
        let paths: Vec<_> = sealed.entries().filter_map(|entry| policy.terms.field_text(entry.field)).collect();
        assert_eq!(paths, ["properties.order_id"]);
        assert_eq!(sealed.dek_version(), opened[0].dek.version());
        let commitments: Vec<Vec<u8>> = destroyed.iter().map(|wrapped| wrapped[18..66].to_vec()).collect();
        assert_eq!(holding(folder.path(), &commitments), Vec::<PathBuf>::new());

        let statement = check_log_and_receipt(&house, request).await;
        assert_eq!(statement["completeness"], "partial");
        assert_eq!(statement["kept"][0]["ground"], "17(3)(b)");
        assert_eq!(statement["kept"][0]["rows"], 1);
        let tasks = house.tasks(request).await.unwrap();
        assert!(tasks.iter().any(|task| task.outcome == TaskOutcome::RetainedWithGround));
        house.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_events_do_not_bring_the_person_back_and_newer_ones_make_a_stranger() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Source::default());
    let house = open(folder.path(), &source).await;
    let subject = meet(&house, None).await;
    let before = house.source.now();
    let case = house.open_case(asked(&[RequestKind::Erasure]), Opener::Operator).await.unwrap();
    house.carry_out_case(case.case.id).await.unwrap();

    let old = collect(&house, event(before, "m-late", None)).await;
    assert_eq!(old, Verdict::Refused(vec![Reason::Erased]));
    assert_eq!(subject_of(&house).await, None);
    let replayed =
        collect(&house, event(before.checked_sub(SignedDuration::from_hours(1)).unwrap(), "m-1", None)).await;
    assert_ne!(replayed, Verdict::Accepted);

    source.shift(60);
    assert_eq!(collect(&house, event(house.source.now(), "m-new", None)).await, Verdict::Accepted);
    let stranger = subject_of(&house).await.unwrap();
    assert_ne!(stranger, subject, "a new person, with nothing of the old one");
    let state = house.database.read(move |c| subjects::find(c, stranger)).await.unwrap().unwrap();
    assert!(state.suppressed, "the objection outlives the data");
    house.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_here_is_a_proper_answer_and_creates_nobody() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Source::default());
    let house = open(folder.path(), &source).await;
    let case = house.open_case(asked(&[RequestKind::Erasure]), Opener::Operator).await.unwrap();
    house.carry_out_case(case.case.id).await.unwrap();
    let (_, request) = house.request(case.requests[0].id).await.unwrap();
    assert_eq!((request.state, request.outcome), (RequestState::Closed, Some(RequestOutcome::NoData)));
    assert_eq!(house.database.read(subjects::count).await.unwrap(), 0);
    assert_eq!(holding(folder.path(), &canaries()), Vec::<PathBuf>::new());
    house.close();
}

/// `cargo test --release -- --ignored --nocapture many_entries`: the keys of somebody with ten
/// thousand entries in the log go as fast as those of somebody with ten.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures"]
async fn the_keys_of_somebody_with_many_entries_are_measured() {
    for entries in [10, 10_000] {
        let (folder, source) = (tempfile::tempdir().unwrap(), Source::default());
        let house = open(folder.path(), &source).await;
        let subject = meet(&house, None).await;
        let keys = house.keyholder.people(vec![(subject, 1)]).await.unwrap().pop().unwrap();
        for _ in 0..entries / 10 {
            let payload = Payload { subject: Some(*subject.as_bytes()), ..Payload::default() };
            let leaf = || {
                let leaf = house.leaf(Event::DecisionGranted, Outcome::Done).unwrap();
                leaf.part(&house.source, Role::Subject, &keys.operation, &payload).unwrap().finish().unwrap()
            };
            let unit = Unit::change(Vec::new(), (0..10).map(|_| leaf()).collect(), |_, _| Ok(Step::Commit));
            house.database.write(unit).await.unwrap();
        }
        let case = house.open_case(asked(&[RequestKind::Erasure]), Opener::Operator).await.unwrap();
        let request = case.requests[0].id;
        let began = std::time::Instant::now();
        house.erase_up_to(request, ErasureStep::KeysDestroyed).await.unwrap();
        let keys = began.elapsed();
        house.erase(request).await.unwrap();
        println!("{entries} entries: keys gone after {keys:?}, all after {:?}", began.elapsed());
        house.close();
    }
}

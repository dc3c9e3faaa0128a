//! What single steps of the way of a record cost, in process.

#![expect(clippy::expect_used, clippy::disallowed_methods, reason = "a bench stops at the first surprise")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use uuid::Uuid;

use amanat::audit::leaf::{Draft, Facts, Part, leaf_hash};
use amanat::audit::payload::{Payload, Row};
use amanat::crypto::audit_seal::AuditKey;
use amanat::crypto::blind_index::BlindIndex;
use amanat::crypto::envelope::{Dek, Field, RecordPlace, Term};
use amanat::crypto::key::{Key, Secret};
use amanat::crypto::keyring::{Kek, KeyPlace, Keyring};
use amanat::crypto::mac::audit::AuditPlace;
use amanat::crypto::mac::{KeyPurpose, Owner, RecordKind, RowId};
use amanat::domain::decision::{Question, decide};
use amanat::domain::event::{Event, Outcome, Role};
use amanat::domain::id::{
    CollectorId, EntryId, FieldPath, InstallationId, PurposeId, RecipientId, RecordId, SubjectId,
};
use amanat::domain::identifier::{IdentifierKind, NormaliseContext, Subaddress, normalise};
use amanat::domain::policy::Policy;
use amanat::domain::subject::{Standing, SubjectStatus};
use amanat::http::collect::request::Request;
use amanat::http::collect::{self, Limits, Setting, route};
use amanat::policy::{Files, KnownNotices};

fn random(bytes: &mut [u8]) -> Result<(), amanat::crypto::Error> {
    getrandom::fill(bytes).map_err(|_| amanat::crypto::Error::EntropyUnavailable)
}

fn key() -> Key {
    Key::random(&mut random).expect("randomness")
}

const EVENT: &str = r#"{"type":"track","userId":"person-0000000","messageId":"00000000000000000000","timestamp":"2026-01-01T12:00:00.000Z","event":"Product Viewed","properties":{"sku":"article-4711","quantity":2,"currency":"EUR"},"context":{"locale":"de-DE","page":{"url":"https://shop.example/garden/furniture/chairs/4711?colour=green"},"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36 and some more text"}}"#;

fn sealing(criterion: &mut Criterion) {
    let dek = Dek::new(1, key());
    let subject = SubjectId::from_uuid(Uuid::now_v7());
    let place = RecordPlace {
        installation: InstallationId::from_uuid(Uuid::new_v4()),
        owner: Owner::from(subject),
        kind: RecordKind::new("record"),
        record: RowId::from(RecordId::from_uuid(Uuid::now_v7())),
    };
    let texts = [
        "context.locale",
        "context.page.url",
        "properties.a",
        "properties.b",
        "properties.c",
        "properties.d",
        "properties.e",
        "properties.f",
    ];
    let category = Term { number: 3, text: "Purchase" };
    let fields: Vec<Field<'_>> = texts
        .iter()
        .zip(1..)
        .map(|(text, number)| Field {
            field: Term { number, text },
            category,
            json: "\"a value of thirty-two characters\"",
        })
        .collect();
    for count in [1, 4, 8] {
        let some = fields.get(..count).expect("fields");
        criterion.bench_function(&format!("seal a record of {count} fields"), |bench| {
            bench.iter(|| dek.seal(&place, black_box(some), &mut random).expect("sealed"));
        });
    }
    let sealed = dek.seal(&place, &fields, &mut random).expect("sealed");
    criterion.bench_function("open a record and one field", |bench| {
        bench.iter(|| {
            let opener = dek.open(&place, black_box(&sealed)).expect("opened");
            opener.field(Term { number: 2, text: "context.page.url" }, "Purchase").expect("field")
        });
    });
    criterion.bench_function("open a record of 8 fields", |bench| {
        bench.iter(|| {
            let opener = dek.open(&place, black_box(&sealed)).expect("opened");
            fields.iter().map(|field| opener.field(field.field, "Purchase").expect("field")).collect::<Vec<_>>()
        });
    });
}

fn keys(criterion: &mut Criterion) {
    let keyring = Keyring::new(vec![Kek::new(1, key())], 1).expect("keyring");
    let owner = Owner::from(SubjectId::from_uuid(Uuid::now_v7()));
    let place = KeyPlace {
        installation: InstallationId::from_uuid(Uuid::new_v4()),
        purpose: KeyPurpose::Dek,
        owner: Some(owner),
        version: 1,
    };
    let wrapped = keyring.wrap(&place, &key(), &[7; 12]).expect("wrapped");
    criterion.bench_function("unwrap a key", |bench| {
        bench.iter(|| keyring.unwrap(&place, black_box(&wrapped)).expect("key"))
    });
    let index = BlindIndex::new(Secret::new(1, key()), [(IdentifierKind::UserId, String::new())]);
    criterion.bench_function("blind index", |bench| {
        bench.iter(|| index.value(&IdentifierKind::UserId, "", black_box("person-0000000")))
    });
}

fn deciding(criterion: &mut Criterion) {
    let policy = policy();
    let standing =
        Standing { status: SubjectStatus::Active, restrictions: Vec::new(), suppressed: false, lines: Vec::new() };
    let fields: Vec<FieldPath> =
        ["context.page.url", "event", "properties.quantity", "properties.sku"].map(FieldPath::new).to_vec();
    let purpose = PurposeId::new("product_analytics");
    let recipient = RecipientId::new("analytics");
    let question = Question {
        subject: SubjectId::from_uuid(Uuid::now_v7()),
        purpose: &purpose,
        channel: None,
        recipient: Some(&recipient),
        fields: &fields,
        device: None,
        signals: &[],
        collected_at: None,
    };
    let now = jiff::Timestamp::now();
    criterion.bench_function("decide (4 fields, one recipient)", |bench| {
        bench.iter(|| decide(&policy, &standing, black_box(&question), now));
    });
}

fn leaf(criterion: &mut Criterion) {
    let audit = AuditKey::new(key());
    let entry = EntryId::from_bytes(*Uuid::new_v4().as_bytes());
    let row = |kind| Row { kind, id: *Uuid::now_v7().as_bytes(), content_hash: [9; 32] };
    let payload = Payload {
        subject: Some(*Uuid::now_v7().as_bytes()),
        collector: Some("shop-server".to_owned()),
        rows: vec![row("record"), row("delivery")],
        policy: Some([5; 32]),
        ..Payload::default()
    };
    let event = Event::RecordCollected;
    criterion.bench_function("leaf: seal its part, encode, hash", |bench| {
        bench.iter(|| {
            let role = Role::Subject;
            let place = AuditPlace {
                role: role.number(),
                entry,
                event: event.number(),
                class: event.class().number(),
                origin: "load.example/log",
            };
            let sealed = audit.seal(&place, &black_box(&payload).encode(), &[3; 12]).expect("sealed");
            let part =
                Part { role, tag: sealed.tag, commitment: sealed.commitment, sealed_hash: Some(sealed.sealed_hash) };
            let draft = Draft::new(entry, event, Outcome::Done, vec![part], Facts::new(Vec::new())).expect("draft");
            let mut bytes = Vec::with_capacity(256);
            draft.encode(7, &[1; 32], 1_700_000_000_000_000, &mut bytes);
            leaf_hash(&bytes)
        });
    });
}

fn reading(criterion: &mut Criterion) {
    let blocked = Vec::new();
    let context =
        NormaliseContext { namespace: "", default_region: Some("DE"), subaddress: Subaddress::Keep, blocked: &blocked };
    let address = "Ada.Lovelace@Shop.Example".to_owned();
    criterion.bench_function("normalise an e-mail address", |bench| {
        bench.iter(|| normalise(&IdentifierKind::Email, black_box(&address), &context));
    });
    let policy = policy();
    let rules = policy.collectors.get(&CollectorId::new("shop-server")).expect("collector");
    let limits = Limits::default();
    let setting = Setting { rules, fields: &policy.fields, limits: &limits, received_at: jiff::Timestamp::now() };
    let request = Request { method: "POST", path: "/v1/track", query: "", headers: &[], body: EVENT.as_bytes() };
    let route = route::find("/v1/track").expect("route");
    criterion.bench_function("parse a Segment event of 500 bytes", |bench| {
        bench.iter(|| collect::parse(black_box(&request), &route, setting).expect("parsed"));
    });
}

/// The policy of the load bench.
fn policy() -> Policy {
    fn read(folder: &std::path::Path, prefix: &str, files: &mut Files) {
        for entry in std::fs::read_dir(folder).expect("policy") {
            let entry = entry.expect("entry");
            let path = format!("{prefix}{}", entry.file_name().into_string().expect("UTF-8"));
            if entry.file_type().expect("type").is_dir() {
                read(&entry.path(), &format!("{path}/"), files);
            } else {
                files.insert(path, std::fs::read(entry.path()).expect("file"));
            }
        }
    }
    let mut files = Files::new();
    read(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/policy")), "", &mut files);
    amanat::policy::load(&files, &KnownNotices::new()).expect("the policy of the bench is right")
}

criterion_group! {
    name = micro;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(30);
    targets = sealing, keys, deciding, leaf, reading
}
criterion_main!(micro);

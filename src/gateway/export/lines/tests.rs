//! The exact lines, of an ordinary leaf and of a log whose name is an attack.

use serde_json::{Value, json};

use super::{Line, LineFormat, LineOrder};
use crate::audit::leaf::{Draft, Facts, Leaf, NO_PREVIOUS, Part, leaf_hash};
use crate::domain::event::{Event, Outcome, Role};
use crate::domain::id::EntryId;
use crate::gateway::rendering::{LeafBytes, Rendered};
use crate::storage::Micros;
use crate::storage::audit_log::StoredLeaf;

const HASH: &str = "5b8d0c3c3f1e7c2a";
const HOSTILE: &str = "a\"b\\c]d|e=f\ng{}<x>\u{202e}/log";

fn leaf(event: Event, outcome: Outcome) -> Rendered {
    leaf_of(event, outcome, 7, vec![Role::Subject])
}

fn leaf_of(event: Event, outcome: Outcome, seq: u64, roles: Vec<Role>) -> Rendered {
    let entry = EntryId::from_bytes([0xa2; 16]);
    let part = |role| Part { role, tag: [1; 16], commitment: [2; 32], sealed_hash: Some([3; 32]) };
    let draft = Draft::new(entry, event, outcome, roles.iter().copied().map(part).collect(), Facts::none()).unwrap();
    let mut bytes = Vec::new();
    draft.encode(seq, &NO_PREVIOUS, 1_767_225_600_123_456, &mut bytes);
    Rendered {
        hash: leaf_hash(&bytes),
        leaf: Some(Leaf::decode(&bytes).unwrap()),
        parts: roles.into_iter().map(|role| (role, "erased")).collect(),
        stored: StoredLeaf {
            seq,
            entry,
            time: Micros(1_767_225_600_123_456),
            event: event.number(),
            hash: leaf_hash(&bytes).to_vec(),
            leaf: bytes,
        },
    }
}

fn line(leaf: &Rendered, origin: &str, format: LineFormat) -> String {
    let order = LineOrder { format, after: None, bytes: LeafBytes::Left, enterprise: None };
    // The hash is long and the same everywhere.
    Line { leaf, origin }.format(&order).replace(&leaf.hash(), HASH).replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

fn object(leaf: &Rendered, origin: &str, format: LineFormat) -> Value {
    let text = line(leaf, origin, format);
    assert!(!text.contains('\n'), "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn ndjson() {
    let expected = |origin: &str| {
        json!({
            "origin": origin, "seq": 7, "entry": "a2".repeat(16), "time": "2026-01-01T00:00:00.123456Z",
            "event": "delivery.refused", "code": 502, "outcome": "refused", "class": "evidence",
            "parts": [{"role": "subject", "state": "erased"}], "facts": {}, "leaf_hash": HASH,
        })
    };
    let refused = leaf(Event::DeliveryRefused, Outcome::Refused);
    for origin in ["gw.example/log", HOSTILE] {
        assert_eq!(object(&refused, origin, LineFormat::Ndjson), expected(origin));
    }
    let order = LineOrder { format: LineFormat::Ndjson, after: None, bytes: LeafBytes::Included, enterprise: None };
    let with_leaf: Value = serde_json::from_str(&Line { leaf: &refused, origin: "o" }.format(&order)).unwrap();
    let bytes = data_encoding::BASE64.decode(with_leaf["leaf"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(bytes, refused.stored.leaf);
}

#[test]
fn ocsf() {
    let refused = leaf(Event::DeliveryRefused, Outcome::Refused);
    let expected = |origin: &str, host: &str| {
        json!({
            "class_uid": 6003, "category_uid": 6, "activity_id": 1, "activity_name": "Create", "type_uid": 600_301,
            "time": 1_767_225_600_123_i64, "severity_id": 2, "status_id": 2,
            "metadata": {
                "version": "1.3.0", "uid": "a2".repeat(16), "event_code": "502", "sequence": 7, "log_name": origin,
                "product": {"name": "Amanat", "vendor_name": "Amanat", "version": "VERSION"},
            },
            "api": {"operation": "delivery.refused"}, "actor": {"app_name": "amanat"}, "src_endpoint": {"name": host},
            "unmapped": {
                "event": "delivery.refused", "outcome": "refused", "class": "evidence", "leaf_hash": HASH, "facts": {},
                "parts": [{"role": "subject", "state": "erased"}],
            },
        })
    };
    assert_eq!(object(&refused, "gw.example/log", LineFormat::Ocsf), expected("gw.example/log", "gw.example"));
    assert_eq!(object(&refused, HOSTILE, LineFormat::Ocsf), expected(HOSTILE, HOSTILE.strip_suffix("/log").unwrap()));
    let given = object(&leaf(Event::ConsentGiven, Outcome::Done), "gw.example/log", LineFormat::Ocsf);
    assert_eq!(
        (&given["class_uid"], &given["category_uid"], &given["type_uid"]),
        (&json!(3004), &json!(3), &json!(300_401))
    );
    let beat = object(&leaf_of(Event::LogHeartbeat, Outcome::Done, 7, Vec::new()), "gw.example/log", LineFormat::Ocsf);
    assert_eq!((&beat["activity_id"], &beat["activity_name"]), (&json!(99), &json!("log.heartbeat")));
    assert_eq!(given["entity"], json!({"type": "consent", "uid": "a2".repeat(16)}));
    assert_eq!((&given["severity_id"], &given["status_id"]), (&json!(1), &json!(1)));
    let failed = object(&leaf(Event::DeliverySettled, Outcome::Failed), "gw.example/log", LineFormat::Ocsf);
    assert_eq!((&failed["severity_id"], &failed["status_id"]), (&json!(3), &json!(2)));
}

#[test]
fn cloudevents() {
    let given = leaf(Event::ConsentGiven, Outcome::Done);
    let event = object(&given, HOSTILE, LineFormat::CloudEvents);
    assert_eq!(event["data"], object(&given, HOSTILE, LineFormat::Ndjson));
    let envelope = json!({
        "specversion": "1.0", "id": "a2".repeat(16), "source": format!("https://{HOSTILE}"), "type": "amanat.audit.consent.given",
        "time": "2026-01-01T00:00:00.123456Z", "subject": "7", "datacontenttype": "application/json", "amanatleaf": HASH,
        "data": event["data"],
    });
    assert_eq!(event, envelope);
}

#[test]
fn syslog() {
    let entry = "a2".repeat(16);
    let refused = leaf(Event::DeliveryRefused, Outcome::Refused);
    assert_eq!(
        line(&refused, "gw.example/log", LineFormat::Syslog),
        format!(
            "<108>1 2026-01-01T00:00:00.123456Z gw.example amanat - delivery.refused [amanat@32473 \
             origin=\"gw.example/log\" seq=\"7\" entry=\"{entry}\" leaf=\"{HASH}\" outcome=\"refused\" \
             class=\"evidence\"] delivery.refused"
        )
    );
    let hostile = line(&refused, HOSTILE, LineFormat::Syslog);
    assert!(
        hostile.contains(
            " - amanat - delivery.refused [amanat@32473 origin=\"a\\\"b\\\\c\\]d|e=f g{}<x>\u{202e}/log\" seq="
        ),
        "{hostile}"
    );
    assert!(!hostile.contains('\n'));
    assert!(line(&leaf(Event::ConsentGiven, Outcome::Done), "o/log", LineFormat::Syslog).starts_with("<110>1 "));
    assert!(line(&leaf(Event::DeliverySettled, Outcome::Failed), "o/log", LineFormat::Syslog).starts_with("<107>1 "));
    // Too long: the origin is cut, the line stays whole.
    for long in ["]".repeat(5_000), "\u{1f600}".repeat(2_000)] {
        let order = LineOrder { format: LineFormat::Syslog, after: None, bytes: LeafBytes::Left, enterprise: Some(1) };
        let line = Line { leaf: &refused, origin: &long }.format(&order);
        assert!((1_900..=2_048).contains(&line.len()), "{}", line.len());
        assert!(
            line.contains("[amanat@1 origin=\"")
                && line.contains("\" seq=\"7\" ")
                && line.ends_with("] delivery.refused")
        );
    }
}

#[test]
fn cef() {
    let entry = "a2".repeat(16);
    let refused = leaf(Event::DeliveryRefused, Outcome::Refused);
    let expected = |origin: &str| {
        format!(
            "CEF:0|Amanat|amanat|VERSION|502|delivery.refused|5|rt=1767225600123 externalId=7 outcome=refused \
             cs1Label=leaf cs1={HASH} cs2Label=origin cs2={origin} cs3Label=entry cs3={entry}"
        )
    };
    assert_eq!(line(&refused, "gw.example/log", LineFormat::Cef), expected("gw.example/log"));
    assert_eq!(line(&refused, HOSTILE, LineFormat::Cef), expected("a\"b\\\\c]d|e\\=f\\ng{}<x>\u{202e}/log"));
}

#[test]
fn ecs() {
    let refused = leaf(Event::DeliveryRefused, Outcome::Refused);
    for origin in ["gw.example/log", HOSTILE] {
        let expected = json!({
            "@timestamp": "2026-01-01T00:00:00.123456Z", "ecs": {"version": "8.11.0"}, "labels": {"origin": origin},
            "event": {
                "kind": "event", "category": ["api"], "type": ["creation"], "action": "delivery.refused", "code": "502",
                "outcome": "failure", "id": "a2".repeat(16), "sequence": 7, "hash": HASH,
            },
        });
        assert_eq!(object(&refused, origin, LineFormat::Ecs), expected);
    }
}

#[test]
fn a_leaf_of_another_version_keeps_its_place_and_hash() {
    let mut unknown = leaf(Event::ConsentGiven, Outcome::Done);
    (unknown.leaf, unknown.parts) = (None, Vec::new());
    let bare = json!({"origin": "gw.example/log", "seq": 7, "entry": "a2".repeat(16), "leaf_hash": HASH});
    assert_eq!(object(&unknown, "gw.example/log", LineFormat::Ndjson), bare);
    let ocsf = object(&unknown, "gw.example/log", LineFormat::Ocsf);
    assert_eq!((&ocsf["type_uid"], &ocsf["status_id"]), (&json!(600_399), &json!(0)));
    assert!(
        line(&unknown, "gw.example/log", LineFormat::Syslog).contains("outcome=\"unknown\" class=\"unknown\"] unknown")
    );
    assert!(
        line(&unknown, "gw.example/log", LineFormat::Cef).starts_with("CEF:0|Amanat|amanat|VERSION|300|unknown|3|")
    );
    assert_eq!(object(&unknown, "gw.example/log", LineFormat::Ecs)["event"]["outcome"], "unknown");
}

/// Every event, ended in every way it may, as one line in each form, read by other people's programs.
#[test]
#[ignore = "needs the readers that tests/run installs"]
#[expect(clippy::disallowed_methods, reason = "the environment says where they are")]
fn real_clients_read_every_line() {
    let folder = tempfile::tempdir().unwrap();
    let endings = Event::ALL.iter().flat_map(|event| Outcome::ALL.iter().map(move |outcome| (*event, *outcome)));
    let leaves: Vec<Rendered> = (0..)
        .zip(endings.filter(|(event, outcome)| event.rule().admits_outcome(*outcome)))
        .map(|(seq, (event, outcome))| {
            // A leaf of each event, whether or not it has the parts and facts that the event wants.
            let mut rendered = leaf_of(Event::LogHeartbeat, Outcome::Done, seq, Vec::new());
            rendered.leaf.iter_mut().for_each(|leaf| (leaf.event, leaf.outcome) = (event, outcome));
            rendered.stored.event = event.number();
            rendered
        })
        .collect();
    assert!(leaves.len() > Event::ALL.len());
    for (name, format) in [
        ("ndjson", LineFormat::Ndjson),
        ("ocsf", LineFormat::Ocsf),
        ("cloudevents", LineFormat::CloudEvents),
        ("syslog", LineFormat::Syslog),
        ("cef", LineFormat::Cef),
        ("ecs", LineFormat::Ecs),
    ] {
        let order = LineOrder { format, after: None, bytes: LeafBytes::Left, enterprise: None };
        let lines: Vec<String> =
            leaves.iter().map(|leaf| Line { leaf, origin: "gw.example/log" }.format(&order)).collect();
        std::fs::write(folder.path().join(name), lines.join("\n")).unwrap();
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (variable, usual, driver) in [
        ("AMANAT_TEST_PYTHON", "target/clients/python/bin/python", "lines_python.py"),
        ("AMANAT_TEST_NODE", "tests/clients/node_modules/.bin/node", "lines_node.mjs"),
    ] {
        let program = std::env::var_os(variable).map_or_else(|| root.join(usual), Into::into);
        let driver = root.join("tests/clients").join(driver);
        let output = std::process::Command::new(program).arg(driver).arg(folder.path()).output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success(), "{said}");
    }
}

//! The recorded requests of real clients, replayed through the real door as their README says.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::both;
use crate::harness::store::Store;
use crate::harness::wire::{Answer, Sent};
use crate::harness::{TestGateway, Wish};

both! {
    async fn segments_server_clients_are_served(gateway: TestGateway = clients_policy()) {
        gateway.leaves_open(&[("analytics-eu", 3), ("helpdesk-us", 2), ("letterbox", 2)]);
        let files = ["segment.analytics-node-3.1.0", "segment.analytics-node-legacy-6.2.0", "segment.analytics-python-2.4.0", "segment.analytics-next-batch-1.84.3"];
        replay(&gateway, "shop-server", &files).await;
    }

    async fn segments_clients_are_served_with_a_public_key(gateway: TestGateway = clients_policy()) {
        gateway.leaves_open(&[("analytics-eu", 8), ("helpdesk-us", 2), ("letterbox", 2)]);
        replay(&gateway, "shop-web", &["segment.analytics-next-1.84.3", "segment.analytics-next-batch-1.84.3", "segment.analytics-node-3.1.0"]).await;
    }

    async fn rudderstacks_server_clients_are_served(gateway: TestGateway = clients_policy()) {
        gateway.leaves_open(&[("analytics-eu", 1)]);
        replay(&gateway, "shop-rudder", &["rudderstack.rudder-sdk-node-3.0.13", "rudderstack.rudder-sdk-python-2.1.9"]).await;
    }

    async fn rudderstacks_browser_client_is_served(gateway: TestGateway = clients_policy()) {
        gateway.leaves_open(&[("helpdesk-us", 3), ("letterbox", 3)]);
        replay(&gateway, "shop-rudder-web", &["rudderstack.analytics-js-3.34.1"]).await;
    }

    async fn cloudevents_are_taken_in_every_mode(gateway: TestGateway = clients_policy()) {
        replay(&gateway, "shop-events", &["cloudevents.cloudevents-js-10.0.0", "cloudevents.cloudevents-python-2.2.0", "cloudevents.composed"]).await;
    }
}

/// The shipped policy, and the few fields and event types that the captures use besides.
pub fn clients_policy() -> Wish {
    let mut wish = Wish::default();
    for path in ["properties.x", "data.a"] {
        let mut field = format!(
            "\n[[field]]\npath = \"{path}\"\ncategory = \"Purchase\"\npurposes = [\"order_handling\"]\nretention = \"customer_data\"\n"
        );
        for language in ["de", "en", "fr", "ar", "fa"] {
            field.push_str(&format!("description.{language} = \"x\"\n"));
        }
        wish.files.get_mut("fields.toml").expect("fields").extend_from_slice(field.as_bytes());
    }
    let collectors = wish.files.get_mut("collectors.toml").expect("collectors");
    let text = String::from_utf8(collectors.clone()).expect("UTF-8");
    let rule = "[[collector.event]]\ntype = \"shop.order.*\"\n";
    let more = "[[collector.event]]\ntype = \"t\"\nas = \"track\"\nsubject = \"user_id\"\n";
    assert!(text.contains(rule), "the policy has a rule to stand before");
    *collectors = text.replace(rule, &format!("{more}{rule}")).into_bytes();
    wish
}

/// Sends every line of the files twice. The second time nothing more may be stored.
async fn replay(gateway: &TestGateway, collector: &str, files: &[&str]) {
    let key = gateway.key(collector).await;
    let public = collector.ends_with("web");
    let mut store = Store::open(gateway.house.database.location());
    for file in files {
        let mut marked = Marked { gateway, made: BTreeMap::new() };
        for line in lines(file) {
            let name = format!("{file} step {}", line["step"]);
            let request = marked.request(&line, &key);
            let answer = request.to(&gateway.url).await;
            let first = check(&line, &answer, &name);
            let stored = stored(&mut store);

            let again = request.to(&gateway.url).await;
            let second = check_status(&line, &again, &name);
            for (first, second) in first.iter().zip(&second) {
                let expected = match (first.as_str(), public) {
                    ("rejected", _) => "rejected",
                    (_, true) => "accepted",
                    (_, false) => "duplicate",
                };
                assert_eq!(second, expected, "{name}, sent again: {}", again.text());
            }
            assert_eq!(self::stored(&mut store), stored, "{name}, sent again, stored something");
            if let Some(subject) = line["expect"]["subject"].as_str() {
                decodes_to(gateway, &key, &mut store, &marked.mark(subject), &name).await;
            }
        }
    }
}

/// Every recorded POST, with the key of a collector that speaks its protocol.
pub async fn corpus(gateway: &TestGateway) -> Vec<Sent> {
    let mut requests = Vec::new();
    for (collector, files) in [
        (
            "shop-server",
            &["segment.analytics-node-3.1.0", "segment.analytics-python-2.4.0", "segment.analytics-next-batch-1.84.3"]
                [..],
        ),
        ("shop-web", &["segment.analytics-next-1.84.3"]),
        ("shop-rudder", &["rudderstack.rudder-sdk-node-3.0.13", "rudderstack.rudder-sdk-python-2.1.9"]),
        ("shop-rudder-web", &["rudderstack.analytics-js-3.34.1"]),
        (
            "shop-events",
            &["cloudevents.cloudevents-js-10.0.0", "cloudevents.cloudevents-python-2.2.0", "cloudevents.composed"],
        ),
    ] {
        let key = gateway.key(collector).await;
        let mut marked = Marked { gateway, made: BTreeMap::new() };
        for line in files.iter().flat_map(|file| lines(file)).filter(|line| line["method"] == "POST") {
            requests.push(marked.request(&line, &key));
        }
    }
    requests
}

fn lines(file: &str) -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/wire/{file}.ndjson"));
    let text = std::fs::read_to_string(path).expect("fixture");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// What a second arrival must not add to. Checkpoints and tiles follow the log in their own time.
fn stored(store: &mut Store) -> BTreeMap<String, i64> {
    let mut counts = store.counts();
    counts.retain(|table, _| !["audit_tile", "audit_checkpoint", "lease"].contains(&table.as_str()));
    counts
}

/// An event with the subject written plainly is about the same person: the header said just that.
async fn decodes_to(gateway: &TestGateway, key: &str, store: &mut Store, subject: &str, name: &str) {
    let people = store.count("subject");
    let event = json!({
        "specversion": "1.0", "type": "shop.order.placed", "source": "/shop/orders",
        "id": format!("decoded-{name}"), "subject": subject, "data": {"a": 1},
    });
    let answer = Sent::post("/v1/events", event.to_string())
        .header("content-type", "application/cloudevents+json")
        .header("authorization", format!("Bearer {key}"))
        .to(&gateway.url)
        .await;
    assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    assert_eq!(store.count("subject"), people, "{name}: the subject was decoded to somebody else");
}

/// Checks an answer against its line and gives the verdicts.
fn check(line: &Value, answer: &Answer, name: &str) -> Vec<String> {
    let verdicts = check_status(line, answer, name);
    match line["expect"]["verdicts"].as_array() {
        Some(expected) => {
            let expected: Vec<&str> = expected.iter().filter_map(Value::as_str).collect();
            assert_eq!(verdicts, expected, "{name}: {}", answer.text());
        }
        // Whatever the policy says of it: what a real client sends is never malformed. The CloudEvents
        // clients were recorded saying one thing in two modes, so a duplicate is among them.
        None => assert!(verdicts.iter().all(|verdict| verdict != "rejected"), "{name}: {}", answer.text()),
    }
    for (header, value) in line["expect"]["headers"].as_object().into_iter().flatten() {
        assert_eq!(answer.header(header), value.as_str(), "{name}");
    }
    for header in line["expect"]["absent"].as_array().into_iter().flatten() {
        assert_eq!(answer.header(header.as_str().expect("name")), None, "{name}");
    }
    verdicts
}

fn check_status(line: &Value, answer: &Answer, name: &str) -> Vec<String> {
    let preflight = line["method"] == "OPTIONS" && line["headers"]["access-control-request-method"].is_string();
    let usual = if preflight { 204 } else { 200 };
    let expected = line["expect"]["status"].as_u64().unwrap_or(usual);
    assert_eq!(u64::from(answer.status), expected, "{name}: {}", answer.text());
    if line["headers"]["origin"].is_string() {
        assert_eq!(answer.header("access-control-allow-origin"), line["headers"]["origin"].as_str(), "{name}");
        assert_eq!(answer.header("vary"), Some("Origin"), "{name}");
    }
    if line["method"] == "POST" {
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{name}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{name}");
    }
    assert_eq!(answer.header("set-cookie"), None, "{name}");
    answer.verdicts()
}

/// The personal values of a file, each replaced by a canary of its own.
struct Marked<'a> {
    gateway: &'a TestGateway,
    made: BTreeMap<String, String>,
}

impl Marked<'_> {
    fn canary(&mut self, of: &str) -> String {
        let gateway = self.gateway;
        self.made.entry(of.to_owned()).or_insert_with(|| gateway.canary("wire")).clone()
    }

    /// Puts canaries where text names a person, in every spelling that the captures hold.
    fn mark(&mut self, text: &str) -> String {
        let mut text = text.replace("a@b.c", &format!("{}@example.org", self.canary("a@b.c")));
        for id in ["u1", "u2", "an1"] {
            text = text.replace(&format!("\"{id}\""), &format!("\"{}\"", self.canary(id)));
            if text == id {
                text = self.canary(id);
            }
        }
        for spelling in ["größe", "gr\\u00f6\\u00dfe", "gr%C3%B6%C3%9Fe"] {
            text = text.replace(spelling, &format!("{}{spelling}", self.canary("größe")));
        }
        text
    }

    /// The request of a line, with the test's key and canaries.
    fn request(&mut self, line: &Value, key: &str) -> Sent {
        let old = line["write_key"].as_str();
        let mut body = self.mark(line["body"].as_str().unwrap_or_default());
        let mut anonymous = Vec::new();
        find(&serde_json::from_str(&body).unwrap_or_default(), "anonymousId", &mut anonymous);
        for id in anonymous.into_iter().filter(|id| uuid::Uuid::parse_str(id).is_ok()) {
            body = body.replace(&id, &self.canary(&id));
        }
        let mut target = line["path"].as_str().expect("path").to_owned();
        if let Some(old) = old {
            for space in ["", " "] {
                body =
                    body.replace(&format!("\"writeKey\":{space}\"{old}\""), &format!("\"writeKey\":{space}\"{key}\""));
            }
            target = target.replace(&format!("/projects/{old}/"), &format!("/projects/{key}/"));
            target = target.replace(&format!("writeKey={old}"), &format!("writeKey={key}"));
        }
        let mut sent = Sent { method: line["method"].as_str().expect("method").to_owned(), target, ..Sent::default() };
        for (name, value) in line["headers"].as_object().expect("headers") {
            let value = value.as_str().expect("text");
            match name.as_str() {
                "transfer-encoding" => sent.chunked = true,
                "authorization" => sent = sent.key(key),
                "anonymousid" => {
                    let id = String::from_utf8(BASE64.decode(value.as_bytes()).expect("base64")).expect("UTF-8");
                    let canary = self.canary(&id);
                    sent = sent.header(name, BASE64.encode(canary.as_bytes()));
                }
                _ => {
                    // Characters up to U+00FF, one byte each on the wire.
                    let bytes: Vec<u8> =
                        self.mark(value).chars().map(|c| u8::try_from(u32::from(c)).expect("latin-1")).collect();
                    sent = sent.header(name, bytes);
                }
            }
        }
        if old.is_none() && sent.method == "POST" {
            sent = sent.header("authorization", format!("Bearer {key}"));
        }
        sent.body = match line["body_base64"].as_str() {
            Some(_) if line["headers"]["content-encoding"] == "gzip" => gzip(body.as_bytes()),
            Some(bytes) => BASE64.decode(bytes.as_bytes()).expect("base64"),
            None => body.into_bytes(),
        };
        sent
    }
}

/// Every text under a key, at any depth.
fn find(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| find(item, key, found)),
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == key => found.push(text.clone()),
                    member => find(member, key, found),
                }
            }
        }
        _ => {}
    }
}

pub fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).expect("gzip");
    encoder.finish().expect("gzip")
}

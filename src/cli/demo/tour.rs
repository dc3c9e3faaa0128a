//! The tour, step by step. Each step says what it did and fails if the gateway did otherwise.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::Failure;
use crate::gateway::verify::Verification;
use crate::gateway::{self, Settings};

use super::client::{Client, Credential};
use super::recipient::Received;
use super::traffic::{self, CUSTOMERS};

/// What the tour works with.
pub(super) struct Guide {
    pub(super) url: String,
    pub(super) web_key: String,
    pub(super) server_key: String,
    pub(super) token: String,
    pub(super) received: Received,
    pub(super) folder: PathBuf,
    pub(super) settings: Settings,
}

/// Walks through everything.
pub(super) async fn walk(guide: &Guide) -> Result<(), Failure> {
    let client = Client::new(&guide.url)?;
    collect(guide, &client).await?;
    consent(guide, &client).await?;
    deliver(guide).await?;
    decide(guide, &client).await?;
    withdraw(guide, &client).await?;
    access(guide, &client).await?;
    erase(guide, &client).await?;
    verify(guide).await
}

/// Step 1: events come in through the real doors.
async fn collect(guide: &Guide, client: &Client) -> Result<(), Failure> {
    heading("1", "Events are collected, from pages with a public key and from the shop's server");
    let mut accepted = 0;
    for (number, customer) in CUSTOMERS.iter().enumerate() {
        let page = traffic::browsing(customer, &guide.web_key);
        let (status, _) = client.post(Credential::None, "/v1/b", &page).await?;
        expect(status == 200, "a page's batch is answered 200")?;
        let order = traffic::buying(customer, number + 1);
        let (status, answer) = client.post(Credential::WriteKey(&guide.server_key), "/v1/batch", &order).await?;
        expect(status == 200, "a server's batch is answered 200")?;
        let verdicts = verdicts(&answer);
        expect(verdicts.iter().all(|verdict| verdict == "accepted"), "every event of an order is accepted")?;
        accepted += verdicts.len();
        let (_, again) = client.post(Credential::WriteKey(&guide.server_key), "/v1/batch", &order).await?;
        expect(self::verdicts(&again).iter().all(|verdict| verdict == "duplicate"), "a repeated batch is a duplicate")?;
    }
    done(&format!("{accepted} events of {} customers accepted, each repetition recognised", CUSTOMERS.len()));
    note("`traits.favouriteColour` and `context.ip` are not declared in the policy: dropped, reported by name only");
    Ok(())
}

/// Step 2: two customers sign up for the newsletter, with the text they were shown.
async fn consent(guide: &Guide, client: &Client) -> Result<(), Failure> {
    heading("2", "Consent is given, with proof of the text that was shown");
    for customer in CUSTOMERS.iter().take(2) {
        let (status, notice) =
            client.get(Credential::Token(&guide.token), "/v1/policy/notices/shop?language=en").await?;
        expect(status == 200, "the notice is served")?;
        let shown = json!({ "snapshot": notice.get("snapshot") });
        let body = traffic::newsletter(customer, "give", Some(&shown), &now());
        let (status, answer) = client.post(Credential::Token(&guide.token), "/v1/consents", &body).await?;
        expect(status == 201, &format!("a consent is answered 201, not {status}: {answer}"))?;
        let state = answer.pointer("/consents/0/state").and_then(Value::as_str).unwrap_or("?").to_owned();
        expect(state == "active", &format!("the consent is active, not {state}"))?;
    }
    done("2 customers said yes to the newsletter; text, version, language and hash are on record");
    Ok(())
}

/// Step 3: promises are kept, with nothing that a recipient may not have.
async fn deliver(guide: &Guide) -> Result<(), Failure> {
    heading("3", "Recipients receive what they may have, signed, decided again at the moment of sending");
    let folder = guide.folder.join("deliveries");
    eventually("deliveries to letterbox, analytics-eu and warehouse", || {
        let parcels = guide.received.all();
        let count = |name: &str| parcels.iter().filter(|parcel| parcel.recipient == name).count();
        count("letterbox") >= 4 && count("analytics-eu") >= 3 && lines_below(&folder) >= 4
    })
    .await?;
    for recipient in ["letterbox", "analytics-eu", "helpdesk-us"] {
        let mut fields = BTreeSet::new();
        let mut messages = 0;
        for parcel in guide.received.all().iter().filter(|parcel| parcel.recipient == recipient) {
            messages += 1;
            if let Some(Value::Object(members)) = parcel.message.pointer("/data/fields") {
                fields.extend(members.keys().cloned());
            }
        }
        if messages > 0 {
            done(&format!(
                "{recipient}: {messages} messages; fields: {}",
                fields.into_iter().collect::<Vec<_>>().join(", ")
            ));
        }
    }
    done(&format!("warehouse: {} lines in its folder", lines_below(&folder)));
    let parcels = guide.received.all();
    let leaked = parcels
        .iter()
        .any(|parcel| parcel.recipient == "analytics-eu" && parcel.message.to_string().contains("@example.org"));
    expect(!leaked, "analytics never sees an address")?;
    let objected = CUSTOMERS.iter().filter(|customer| !customer.agrees.0).count();
    note(&format!(
        "{objected} customer said no to analytics: nothing about them went there; retarget-sg has no safeguard, so it gets nothing at all"
    ));
    Ok(())
}

/// Step 4: a service asks before it acts.
async fn decide(guide: &Guide, client: &Client) -> Result<(), Failure> {
    heading("4", "A service asks what it may do, and is told why not");
    let [anna, _, _, jean] = &CUSTOMERS;
    for (customer, wanted) in [(anna, "allow"), (jean, "deny")] {
        let body = json!({ "questions": [{
            "identifiers": [{ "kind": "email", "value": customer.email }],
            "purpose": "newsletter", "recipient": "letterbox", "fields": ["traits.email", "traits.firstName"],
        }] });
        let (status, answer) = client.post(Credential::Token(&guide.token), "/v1/decisions", &body).await?;
        expect(status == 200, &format!("a decision is answered 200, not {status}: {answer}"))?;
        let decision = answer.pointer("/decisions/0/decision").and_then(Value::as_str).unwrap_or("?");
        expect(decision == wanted, &format!("the decision is {wanted}, not {answer}"))?;
        // What may be used, or why nothing may.
        let because = if decision == "allow" { "/decisions/0/allowed" } else { "/decisions/0/reasons" };
        let because = answer.pointer(because).map(ToString::to_string).unwrap_or_default();
        done(&format!("newsletter to {}: {decision} {because}", customer.name.0));
    }
    Ok(())
}

/// Step 5: a withdrawal bites before its answer.
async fn withdraw(guide: &Guide, client: &Client) -> Result<(), Failure> {
    heading("5", "A consent is withdrawn; nothing leaves after the answer");
    let [anna, ..] = &CUSTOMERS;
    let body = traffic::newsletter(anna, "withdraw", None, &now());
    let (status, answer) = client.post(Credential::Token(&guide.token), "/v1/consents", &body).await?;
    expect(matches!(status, 200..=202), &format!("a withdrawal is answered, not {status}: {answer}"))?;
    let before = guide.received.all().len();
    let event = json!({ "type": "identify", "userId": anna.user, "messageId": "after-withdrawal",
                        "traits": { "email": anna.email, "firstName": anna.name.0 } });
    client.post(Credential::WriteKey(&guide.server_key), "/v1/identify", &event).await?;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let sent = guide
        .received
        .all()
        .into_iter()
        .skip(before)
        .any(|parcel| parcel.message.pointer("/data/purpose").and_then(Value::as_str) == Some("newsletter"));
    expect(!sent, "no newsletter leaves after a withdrawal")?;
    done("withdrawn; a later event of the same person is still used for the order, and no longer for the newsletter");
    Ok(())
}

/// Step 6: a person asks what is held about them (Art. 15).
async fn access(guide: &Guide, client: &Client) -> Result<(), Failure> {
    heading("6", "A person asks what is held about them (Art. 15)");
    let [_, ali, ..] = &CUSTOMERS;
    let id = request(guide, client, "access", ali.email).await?;
    let package = package(guide, client, &id).await?;
    let keys = package.as_object().map(|members| members.len()).unwrap_or_default();
    let copies = package.pointer("/copy/records").and_then(Value::as_array).map_or(0, Vec::len);
    let recipients = package.pointer("/recipients").and_then(Value::as_array).map_or(0, Vec::len);
    expect(copies > 0 && recipients > 0, "the package holds the records and names the recipients")?;
    let file = guide.folder.join("package.json");
    write(&file, &package)?;
    done(&format!(
        "package.json: {keys} parts, {copies} records, {recipients} recipients by name ({})",
        file.display()
    ));
    Ok(())
}

/// Step 7: a person is erased (Art. 17), and stays erased.
async fn erase(guide: &Guide, client: &Client) -> Result<(), Failure> {
    heading("7", "A person is erased (Art. 17), and stays erased");
    let [.., jean] = &CUSTOMERS;
    let id = request(guide, client, "erasure", jean.email).await?;
    let deadline = Instant::now() + Duration::from_secs(30);
    let receipt = loop {
        let (status, receipt) =
            client.get(Credential::Token(&guide.token), &format!("/v1/subject-requests/{id}/receipt")).await?;
        if status == 200 {
            break receipt;
        }
        expect(Instant::now() < deadline, &format!("the receipt comes within 30 s, not {status}: {receipt}"))?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let file = guide.folder.join("erasure.amanat-receipt.json");
    write(&file, &receipt)?;
    done(&format!("erased; the receipt verifies offline: amanat receipt verify {}", file.display()));
    let told = || {
        let is_erasure = |kind: &Value| kind.as_str() == Some("amanat.subject.erased");
        guide.received.all().iter().filter(|parcel| parcel.message.get("type").is_some_and(is_erasure)).count()
    };
    eventually("the message of the erasure to a recipient", || told() > 0).await?;
    note("recipients who had received their data are told, each by its own pseudonym of the person");

    let before = guide.received.all().len();
    let replay = traffic::buying(jean, 4);
    let old = old(&replay);
    let (_, answer) = client.post(Credential::WriteKey(&guide.server_key), "/v1/batch", &old).await?;
    expect(verdicts(&answer).iter().all(|verdict| verdict == "refused"), &format!("old events are refused: {answer}"))?;
    let arrived =
        guide.received.all().into_iter().skip(before).any(|parcel| parcel.message.to_string().contains(jean.email));
    expect(!arrived, "nothing about an erased person is sent")?;
    done("the same person's old events, sent again, do not bring them back");
    Ok(())
}

/// Step 8: the log is verified from its bytes.
async fn verify(guide: &Guide) -> Result<(), Failure> {
    heading("8", "The audit log is verified: every entry re-hashed, every checkpoint held against it");
    tokio::time::sleep(Duration::from_millis(600)).await;
    let verification = Verification {
        database: guide.settings.database.clone(),
        keys: Some(guide.settings.keys.clone()),
        memory: Some(guide.settings.memory.clone()),
        checkpoints: Vec::new(),
        trust: None,
        anchor_roots: Default::default(),
        maximum_age: None,
        now: instant(),
        business: true,
        destroyed_keys: false,
        opener: None,
    };
    let report = tokio::task::spawn_blocking(move || gateway::verify::verify(&verification, |_, _| {}))
        .await
        .map_err(|_| Failure::new("the verifier ended with a panic"))??;
    expect(matches!(report.exit, 0 | 10), &format!("the log is intact, not {}", report.exit))?;
    done(&format!("{} entries intact (exit {}: intact, not yet attested by witnesses)", report.checked, report.exit));
    Ok(())
}

impl Guide {
    /// Where to go on.
    pub(super) fn print_what_to_try(&self) {
        let Self { url, server_key, token, folder, .. } = self;
        println!("\nThe gateway goes on serving at {url}. Ctrl-C ends it and removes everything.");
        println!("\n  API page          {url}/docs/index.html   (document: {url}/openapi.json)");
        println!("  verify yourself   {url}/verify   (drop the receipt of the erasure on it)");
        println!("  checkpoint        {url}/log/checkpoint");
        println!("  server write key  {server_key}");
        println!("  API token         {token}");
        println!("\nTry:");
        println!(
            "  curl -u {server_key}: -H 'content-type: application/json' \\\n    -d '{{\"type\":\"identify\",\"userId\":\"u-7\",\"traits\":{{\"email\":\"you@example.org\"}}}}' {url}/v1/identify"
        );
        println!(
            "  curl -H 'authorization: Bearer {token}' -H 'content-type: application/json' \\\n    -d '{{\"kinds\":[\"access\"],\"identifiers\":[{{\"kind\":\"email\",\"value\":\"you@example.org\"}}]}}' {url}/v1/subject-requests"
        );
        println!("  amanat --set storage.database=sqlite:{}/amanat.db audit verify", folder.display());
    }
}

async fn request(guide: &Guide, client: &Client, kind: &str, email: &str) -> Result<String, Failure> {
    let body = json!({ "kinds": [kind], "identifiers": [{ "kind": "email", "value": email }], "language": "en" });
    let (status, answer) = client.post(Credential::Token(&guide.token), "/v1/subject-requests", &body).await?;
    expect(status == 202, &format!("a request is answered 202, not {status}: {answer}"))?;
    let reference = answer.get("reference").and_then(Value::as_str).unwrap_or("?");
    let due = answer.get("due_on").and_then(Value::as_str).unwrap_or("?");
    done(&format!("{kind} request {reference}, due {due}"));
    answer
        .pointer("/requests/0/id")
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| Failure::new("the request has no id"))
}

async fn package(guide: &Guide, client: &Client, id: &str) -> Result<Value, Failure> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (status, package) =
            client.get(Credential::Token(&guide.token), &format!("/v1/subject-requests/{id}/package")).await?;
        if status == 200 {
            return Ok(package);
        }
        expect(Instant::now() < deadline, &format!("the package comes within 20 s, not {status}: {package}"))?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The same events, as if they had happened a day before and were sent only now.
fn old(batch: &Value) -> Value {
    let mut batch = batch.clone();
    if let Some(events) = batch.get_mut("batch").and_then(Value::as_array_mut) {
        for event in events.iter_mut().filter_map(Value::as_object_mut) {
            event.insert("timestamp".to_owned(), Value::from("2026-01-01T00:00:00Z"));
            event.insert(
                "messageId".to_owned(),
                Value::from(format!("{}-late", event.get("messageId").and_then(Value::as_str).unwrap_or("m"))),
            );
            event.remove("anonymousId");
        }
    }
    batch
}

fn verdicts(answer: &Value) -> Vec<String> {
    answer
        .get("results")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|result| result.get("verdict").and_then(Value::as_str).map(str::to_owned))
        .collect()
}

fn lines_below(folder: &std::path::Path) -> usize {
    let mut lines = 0;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if let Ok(text) = std::fs::read_to_string(entry.path()) {
                lines += text.lines().count();
            }
        }
    }
    lines
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        if Instant::now() > deadline {
            return Err(Failure::new(format!("{what} did not come within 20 s")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn write(path: &std::path::Path, value: &Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(error.to_string()))?;
    std::fs::write(path, text).map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))
}

fn now() -> String {
    instant().to_string()
}

#[expect(clippy::disallowed_methods, reason = "the tour is a client with a clock of its own")]
fn instant() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

fn expect(holds: bool, what: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::new(what)) }
}

fn heading(number: &str, text: &str) {
    println!("\n{number}. {text}");
}

fn done(text: &str) {
    println!("   ✓ {text}");
}

fn note(text: &str) {
    println!("   · {text}");
}

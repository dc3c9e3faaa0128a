//! The checks of the log that need keys: what somebody does to rows, keys and parts, and where it is
//! found.

use amanat::audit::finding::{Code, Position, Report};
use amanat::audit::leaf::Draft;
use amanat::audit::payload::Payload;
use amanat::domain::event::{Event, Outcome, Role};
use amanat::domain::id::SubjectId;
use amanat::gateway::scrub::{Pace, Scrub};
use amanat::gateway::tokens::Scope;
use amanat::storage::{Location, Step, Unit};
use reqwest::Method;
use serde_json::{Value, json};

use crate::both;
use crate::harness::process::Installed;
use crate::harness::store::Store;
use crate::harness::{Backend, TestGateway, Wish, run};

impl TestGateway {
    /// What the verifier and the scrub call a fault; they agree.
    async fn faults(&self) -> Vec<(Code, Position)> {
        let verified = faults(&self.verified());
        let scrubbed = match self.house.scrub(Pace::Full, |_| true).await.expect("scrub") {
            Scrub::Finished(report) => faults(&report),
            other => panic!("not finished: {other:?}"),
        };
        assert_eq!(verified, scrubbed);
        verified
    }

    fn store(&self) -> Store {
        Store::open(&self.house.settings.database)
    }

    /// The position of the newest leaf of an event.
    fn newest(&self, event: Event) -> u64 {
        let query = format!("SELECT max(seq) FROM audit_leaf WHERE event = {}", event.number());
        u64::try_from(self.store().number(&query)).expect("a leaf of it")
    }

    /// Does something to the data, looks for it, and undoes it.
    async fn finds(&self, deed: &str, undo: &str, code: Code, seq: u64) {
        let mut store = self.store();
        store.execute(deed).expect(deed);
        assert_eq!(self.faults().await, [(code, Position::Leaf { seq })], "{deed}");
        store.execute(undo).expect(undo);
        assert_eq!(self.faults().await, [], "{undo}");
    }

    async fn service(&self, scopes: &[Scope]) -> String {
        self.house.add_token("test", scopes, None, None).await.expect("token").1.to_string()
    }

    /// Asks whether the newsletter may be sent.
    async fn asks_for_newsletter(&self, token: &str, who: &Value) -> String {
        let (_, access) = self.call(token, Method::POST, "/v1/token", None).await;
        let access = access["access_token"].as_str().expect("token");
        let body = json!({"questions": [{"identifiers": who, "purpose": "newsletter", "fields": ["traits.email"]}]});
        let (status, answer) = self.call(access, Method::POST, "/v1/decisions", Some(&body)).await;
        assert_eq!(status, 200, "{answer}");
        answer["decisions"][0]["decision"].as_str().expect("decision").to_owned()
    }

    async fn says_yes(&self, key: &str, who: &Value) {
        let address = format!("{}/v1/policy/notices/shop?language=en", self.url);
        let answer = self.client.get(address).basic_auth(key, Some("")).send().await.expect("answer");
        let notice: Value = serde_json::from_str(&answer.text().await.expect("text")).expect("JSON");
        let body = json!({
            "identifiers": who,
            "choices": [{"purpose": "newsletter", "action": "give"}],
            "act": {"method": "click", "control_before": "unset", "bundled": false, "refusal_offered": true, "interface": "form"},
            "notice": {"snapshot": notice["snapshot"]},
        });
        let (status, answer) = self.post(key, "/v1/consents", &body).await;
        assert_eq!((status, answer["consents"][0]["state"].as_str()), (201, Some("active")), "{answer}");
    }

    async fn says_no(&self, key: &str, who: &Value, purpose: &str, action: &str) {
        let body = json!({"identifiers": who, "choices": [{"purpose": purpose, "action": action}]});
        assert_eq!(self.post(key, "/v1/consents", &body).await.0, 201);
    }

    /// Somebody buys something, so that there is a record.
    async fn buys(&self, key: &str, email: &str, user: &str, message: &str) {
        let event = json!({"type": "identify", "userId": user, "anonymousId": format!("device-of-{user}"),
            "messageId": message, "traits": {"email": email, "firstName": "Anna"}});
        let (status, answer) = self.post(key, "/v1/identify", &event).await;
        assert_eq!((status, answer["results"][0]["verdict"].as_str()), (200, Some("accepted")), "{answer}");
    }

    /// Erases somebody, to the end.
    async fn erases(&self, email: &str) {
        let token = self.service(&[Scope::Requests]).await;
        let body = json!({"kinds": ["erasure"], "identifiers": [{"kind": "email", "value": email}], "language": "en"});
        let (status, opened) = self.call(&token, Method::POST, "/v1/subject-requests", Some(&body)).await;
        assert_eq!(status, 202, "{opened}");
        self.house.run_due_requests().await.expect("due requests");
        let path = format!("/v1/subject-requests/{}", opened["requests"][0]["id"].as_str().expect("id"));
        for _ in 0..500 {
            let (_, view) = self.call(&token, Method::GET, &path, None).await;
            if view["state"] == "closed" || view["state"] == "answered" {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("the erasure does not end");
    }

    /// Appends a leaf that no use-case of the product would append.
    async fn forges(&self, event: Event, subject: SubjectId, payload: &Payload, change: impl Fn(&Draft) -> Draft) {
        let keys = self.house.keyholder.people(vec![(subject, 1)]).await.expect("keys").pop().expect("keys");
        let mut row = self
            .house
            .leaf(event, Outcome::Done)
            .and_then(|leaf| leaf.part(&self.source, Role::Subject, keys.audit(event.class()), payload))
            .and_then(|leaf| leaf.finish())
            .expect("leaf");
        row.draft = change(&row.draft);
        let unit = Unit::change(Vec::new(), vec![row], |_, _| Ok(Step::Commit));
        self.house.database.write(unit).await.expect("appended");
    }

    fn subject_of_newest(&self, table: &str) -> SubjectId {
        let hex = if self.store().is_sqlite() { "hex(subject)" } else { "replace(subject::text, '-', '')" };
        let found = self.store().column(&format!("SELECT {hex} AS value FROM {table} ORDER BY id DESC LIMIT 1"));
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(found[0].as_bytes()).expect("hexadecimal");
        SubjectId::from_bytes(bytes.try_into().expect("16 bytes"))
    }
}

fn faults(report: &Report) -> Vec<(Code, Position)> {
    let is_fault = |code: Code| code.severity() >= amanat::audit::finding::Severity::Incomplete;
    report.findings.iter().filter(|one| is_fault(one.code)).map(|one| (one.code, one.position)).collect()
}

fn by_email(address: &str) -> Value {
    json!([{"kind": "email", "value": address}])
}

both! {
    async fn a_row_that_was_edited_is_found_at_its_leaf(gateway: TestGateway) {
        gateway.leaves_any_open();
        let key = gateway.key("shop-server").await;
        let (email, user) = (format!("{}@example.org", gateway.canary("anna")), gateway.canary("user"));
        gateway.buys(&key, &email, &user, "m-1").await;
        let record = gateway.newest(Event::RecordCollected);
        gateway.says_no(&key, &by_email(&email), "product_analytics", "object").await;
        let objection = gateway.newest(Event::ObjectionRaised);
        let recipient = amanat::domain::id::RecipientId::new("letterbox");
        let (_, pull) = gateway.house.add_token("pull", &[Scope::Disclosures], Some(&recipient), None).await.expect("token");
        let body = json!({"identifiers": by_email(&email), "purpose": "order_handling"});
        let (status, answer) = gateway.call(&pull, Method::POST, "/v1/disclosures", Some(&body)).await;
        assert_eq!((status, answer["decision"].as_str()), (200, Some("allow")), "{answer}");
        let disclosure = gateway.newest(Event::DisclosureReleased);
        assert_eq!(gateway.faults().await, []);
        assert!(gateway.verified().opened > 5);

        let of_records = [
            ("plain = plain || ' '", "plain = substr(plain, 1, length(plain) - 1)"),
            ("sealed = substr(sealed, 1, length(sealed) - 1)", "sealed = (SELECT sealed FROM kept)"),
            ("collector = collector || 'x'", "collector = substr(collector, 1, length(collector) - 1)"),
            ("device = subject", "device = (SELECT device FROM kept)"),
            ("device = NULL", "device = (SELECT device FROM kept)"),
        ];
        let mut store = gateway.store();
        store.execute("CREATE TABLE kept AS SELECT * FROM record").expect("kept");
        for (deed, undo) in of_records {
            let [deed, undo] = [deed, undo].map(|set| format!("UPDATE record SET {set}"));
            gateway.finds(&deed, &undo, Code::RowAltered, record).await;
        }
        store.execute("DROP TABLE kept").expect("dropped");
        let others = [
            ("consent_line", "purpose = 'newsletter'", "purpose = 'product_analytics'", "true", objection),
            ("identifier", "proof = 2", "proof = 1", "kind = 'email'", record),
        ];
        for (table, deed, undo, which, seq) in others {
            let [deed, undo] = [deed, undo].map(|set| format!("UPDATE {table} SET {set} WHERE {which}"));
            gateway.finds(&deed, &undo, Code::RowAltered, seq).await;
        }
        // These rows are never updated; another one in the place of one is found all the same.
        let replace = |table: &str, set: &str| {
            format!(
                "CREATE TABLE kept AS SELECT * FROM {table}; DELETE FROM {table}; UPDATE kept SET {set}; \
                 INSERT INTO {table} SELECT * FROM kept; DROP TABLE kept"
            )
        };
        for (table, deed, undo, seq) in [
            ("consent_event", "method = 'click'", "method = ''", objection),
            ("disclosure", "recipient = 'warehouse'", "recipient = 'letterbox'", disclosure),
        ] {
            gateway.finds(&replace(table, deed), &replace(table, undo), Code::RowAltered, seq).await;
        }
    }

    async fn a_row_that_is_gone_is_found_at_its_leaf(gateway: TestGateway) {
        gateway.leaves_any_open();
        let key = gateway.key("shop-server").await;
        let (email, user) = (format!("{}@example.org", gateway.canary("anna")), gateway.canary("user"));
        gateway.buys(&key, &email, &user, "m-1").await;
        let first = gateway.newest(Event::RecordCollected);
        gateway.buys(&key, &email, &user, "m-2").await;
        let of_first = format!("entry = (SELECT entry FROM audit_leaf WHERE seq = {first})");
        let keep = format!("CREATE TABLE kept AS SELECT * FROM record WHERE {of_first}; DELETE FROM record WHERE {of_first}");
        let back = "INSERT INTO record SELECT * FROM kept; DROP TABLE kept";
        gateway.finds(&keep, back, Code::LeafWithoutBusinessRow, first).await;
        // A settled promise may be forgotten.
        let mut store = gateway.store();
        store.execute("DELETE FROM delivery").expect("forgotten");
        assert_eq!(gateway.faults().await, []);
    }

    async fn an_erased_key_that_is_back_is_found(gateway: TestGateway) {
        gateway.leaves_any_open();
        let key = gateway.key("shop-server").await;
        let email = format!("{}@example.org", gateway.canary("anna"));
        gateway.buys(&key, &email, &gateway.canary("user"), "m-1").await;
        gateway.says_no(&key, &by_email(&email), "product_analytics", "object").await;
        let mut keys = Store::open(&gateway.house.settings.keys);
        for table in ["subject_key", "audit_key"] {
            keys.execute(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).expect("an older copy");
        }
        gateway.erases(&email).await;
        let erased = gateway.newest(Event::ErasureCompleted);
        assert_eq!(gateway.faults().await, []);
        for (table, column) in [("subject_key", "subject"), ("audit_key", "id")] {
            keys.execute(&format!("INSERT INTO {table} SELECT * FROM kept_{table} WHERE {column} NOT IN (SELECT {column} FROM {table})")).expect("back");
            let found = gateway.faults().await;
            assert!(!found.is_empty() && found.iter().all(|one| *one == (Code::KeyResurrected, Position::Leaf { seq: erased })), "{table}: {found:?}");
            keys.execute(&format!("DELETE FROM {table} WHERE {column} NOT IN (SELECT {column} FROM kept_{table})")).expect("nothing else is new");
            keys.execute(&format!("DELETE FROM {table} WHERE substr(wrapped, 67, 32) IN (SELECT commitment FROM key_tombstone)")).expect("gone");
            assert_eq!(gateway.faults().await, []);
        }
        keys.execute("DROP TABLE kept_subject_key; DROP TABLE kept_audit_key").expect("dropped");
    }

    async fn what_is_lawful_is_no_fault(gateway: TestGateway) {
        gateway.leaves_any_open();
        let key = gateway.key("shop-server").await;
        let token = gateway.service(&[Scope::Decisions]).await;
        for person in 0..3 {
            let (email, user) = (format!("{}@example.org", gateway.canary("anna")), gateway.canary("user"));
            let who = by_email(&email);
            gateway.buys(&key, &email, &user, &format!("m-{person}")).await;
            gateway.says_yes(&key, &who).await;
            assert_eq!(gateway.asks_for_newsletter(&token, &who).await, "allow");
            gateway.says_no(&key, &who, "newsletter", "withdraw").await;
            assert_eq!(gateway.asks_for_newsletter(&token, &who).await, "deny");
            gateway.says_no(&key, &who, "*", "object").await;
            gateway.buys(&key, &email, &user, &format!("n-{person}")).await;
            if person == 0 {
                gateway.erases(&email).await;
            } else {
                gateway.says_yes(&key, &who).await;
                assert_eq!(gateway.asks_for_newsletter(&token, &who).await, "allow");
            }
            assert_eq!(gateway.faults().await, [], "person {person}");
        }
        // The parts go by their age, and the rows stay.
        gateway.source.shift(2 * 366 * 86_400);
        gateway.house.expire_log_parts().await.expect("expired");
        let report = gateway.verified();
        assert!(report.erased > 0 && report.opened > 0, "{report:?}");
        let found: Vec<_> = faults(&report).into_iter().filter(|(code, _)| *code != Code::Silence).collect();
        assert_eq!(found, []);
    }
}

/// Of a log that holds a forgery nothing good can be said, so these tests do not end as others do.
fn on_both<F: Future<Output = ()>>(test: impl Fn(TestGateway) -> F) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        if backend == Backend::Postgres && std::env::var_os("AMANAT_TEST_POSTGRES_BIN").is_none() {
            continue;
        }
        run(backend, Wish::default(), &test);
    }
}

#[test]
fn a_release_after_a_withdrawal_is_found() {
    on_both(|gateway| async move {
        let key = gateway.key("shop-server").await;
        let who = by_email("anna@example.org");
        gateway.says_yes(&key, &who).await;
        let subject = gateway.subject_of_newest("consent_event");
        let release = Payload {
            subject: Some(*subject.as_bytes()),
            purposes: vec!["newsletter".to_owned()],
            policy: Some(gateway.house.policy().policy.hash.0),
            ..Payload::default()
        };
        let of = |purpose: &str| Payload { purposes: vec![purpose.to_owned()], ..release.clone() };
        let as_it_is = |draft: &Draft| draft.clone();
        gateway.forges(Event::DecisionGranted, subject, &release, as_it_is).await;
        assert_eq!(gateway.faults().await, [], "a yes stands");
        gateway.says_no(&key, &who, "newsletter", "withdraw").await;
        gateway.forges(Event::DecisionGranted, subject, &of("order_handling"), as_it_is).await;
        gateway.forges(Event::DecisionGranted, subject, &of("product_analytics"), as_it_is).await;
        assert_eq!(gateway.faults().await, [], "another purpose");
        let mut expected = Vec::new();
        for event in [Event::DecisionGranted, Event::DeliveryReleased] {
            gateway.forges(event, subject, &release, as_it_is).await;
            expected.push((Code::ReleasedAfterWithdrawal, Position::Leaf { seq: gateway.newest(event) }));
            assert_eq!(gateway.faults().await, expected);
        }
        gateway.says_yes(&key, &who).await;
        gateway.forges(Event::DecisionGranted, subject, &release, as_it_is).await;
        assert_eq!(gateway.faults().await, expected, "a new yes");
        gateway.says_no(&key, &who, "product_analytics", "object").await;
        gateway.forges(Event::DeliveryReleased, subject, &of("product_analytics"), as_it_is).await;
        expected.push((Code::ReleasedAfterWithdrawal, Position::Leaf { seq: gateway.newest(Event::DeliveryReleased) }));
        assert_eq!(gateway.faults().await, expected);

        // A scrub that goes on where it stood knows what was said before.
        gateway.says_no(&key, &who, "newsletter", "withdraw").await;
        assert!(matches!(gateway.house.scrub(Pace::Full, |_| false).await, Ok(Scrub::Interrupted { .. })));
        let mut pages = 0;
        let once = move |_| {
            pages += 1;
            pages < 2
        };
        assert!(
            matches!(gateway.house.scrub(Pace::Full, once).await, Ok(Scrub::Interrupted { position }) if position > 0)
        );
        gateway.forges(Event::DecisionGranted, subject, &release, as_it_is).await;
        let last = (Code::ReleasedAfterWithdrawal, Position::Leaf { seq: gateway.newest(Event::DecisionGranted) });
        let Ok(Scrub::Finished(report)) = gateway.house.scrub(Pace::Full, |_| true).await else {
            panic!("not finished")
        };
        assert_eq!(faults(&report), [last], "the part that was left");
        gateway.leave_forged().await;
    });
}

#[test]
fn a_part_that_is_not_what_its_leaf_says_is_found() {
    on_both(|gateway| async move {
        let key = gateway.key("shop-server").await;
        gateway.says_yes(&key, &by_email("anna@example.org")).await;
        let subject = gateway.subject_of_newest("consent_event");
        let payload = Payload { subject: Some(*subject.as_bytes()), ..Payload::default() };
        let with = |change: fn(&mut amanat::audit::leaf::Part)| {
            move |draft: &Draft| {
                let mut parts = draft.parts().to_vec();
                parts.iter_mut().for_each(change);
                Draft::new(draft.entry(), draft.event(), draft.outcome(), parts, draft.facts().clone()).expect("draft")
            }
        };
        gateway.forges(Event::DecisionGranted, subject, &payload, with(|part| part.commitment[0] ^= 1)).await;
        let mut expected = vec![(Code::PartUnbound, Position::Leaf { seq: gateway.newest(Event::DecisionGranted) })];
        assert_eq!(gateway.faults().await, expected);
        gateway.forges(Event::DecisionGranted, subject, &payload, with(|part| part.tag[0] ^= 1)).await;
        expected.push((Code::TagMismatch, Position::Leaf { seq: gateway.newest(Event::DecisionGranted) }));
        assert_eq!(gateway.faults().await, expected);
        // A part that names the key of somebody else does not open.
        gateway.says_no(&key, &by_email("ben@example.org"), "newsletter", "refuse").await;
        let seq = gateway.newest(Event::ConsentRefused);
        let other = "(SELECT holder FROM audit_sealed WHERE class = 2 AND entry = (SELECT entry FROM audit_leaf WHERE event = 300))";
        gateway.store().execute(&format!("UPDATE audit_sealed SET holder = {other} WHERE entry = (SELECT entry FROM audit_leaf WHERE seq = {seq})")).expect("other key");
        expected.push((Code::PartUnbound, Position::Leaf { seq }));
        assert_eq!(gateway.faults().await, expected);
        gateway.leave_forged().await;
    });
}

/// From the command line, as an auditor in the house does it.
#[test]
fn the_command_says_what_is_missing_and_what_it_found() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    let url = |name: &str| format!("sqlite:{}", at(name).display());
    let mut house = Installed::new(folder.path(), &url("amanat.db"), &url("keys.db"));
    let key = house.key("shop-server");
    house.start();
    let body = json!({"batch": [{"type": "identify", "messageId": "m-1", "userId": "u-1",
        "traits": {"email": "anna@example.org", "name": "Anna"}}]});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let sent = crate::harness::wire::Sent::post("/v1/batch", body.to_string())
        .key(&key)
        .header("content-type", "application/json");
    assert_eq!(runtime.block_on(sent.to(&house.url)).status, 200);
    assert_eq!(house.stop(), Some(0), "{}", house.said());

    let all = ["audit", "verify", "--business", "--keys", "--payloads", "--json"];
    let (code, said) = house.run(&all);
    let report: Value = serde_json::from_str(&said).expect("JSON");
    assert!(code == 10 && report["opened"].as_u64().expect("opened") > 3, "{said}");

    for end in ["", "-wal"].into_iter().filter(|end| at(&format!("keys.db{end}")).exists()) {
        std::fs::copy(at(&format!("keys.db{end}")), at(&format!("older.db{end}"))).expect("an older copy");
    }
    Store::open(&Location::Sqlite(at("older.db"))).execute("SELECT 1").expect("one file");
    let (code, said) = house.run(&["request", "open", "--kind", "erasure", "--identifier", "email=anna@example.org"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = house.run(&["audit", "verify", "--keys"]);
    assert_eq!(code, 10, "{said}");
    let (code, said) =
        house.run(&["audit", "verify", &url("amanat.db"), &format!("--keys={}", url("older.db")), "--json"]);
    assert!(code == 40 && said.contains("key_resurrected"), "{said}");

    let (code, said) = house.run(&["audit", "verify", &url("amanat.db"), "--payloads"]);
    assert!(code == 2 && said.contains("--keys="), "{said}");
    std::fs::rename(at("root.key"), at("root.away")).expect("away");
    let (code, said) = house.run(&all);
    assert!(code == 1 && said.contains("--payloads") && said.contains("root.key does not exist"), "{said}");
    let (code, said) = house.run(&["audit", "verify", "--keys"]);
    assert_eq!(code, 10, "destroyed keys are known without the root key: {said}");
}

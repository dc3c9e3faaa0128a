//! Consent through the public doors: what makes a yes valid, what a no needs, who may say it, and
//! that both are in force when they are answered.

use amanat::audit::receipt::{Receipt, TrustSource};
use amanat::domain::id::RecipientId;
use amanat::gateway::tokens::Scope;
use reqwest::Method;
use serde_json::{Value, json};

use crate::both;
use crate::harness::store::Store;
use crate::harness::{TestGateway, Wish, shipped_policy};

const DAY: i64 = 86_400;

/// A yes that lacks nothing but the notice.
fn yes(identifiers: Value, purpose: &str) -> Value {
    json!({
        "identifiers": identifiers,
        "choices": [{"purpose": purpose, "action": "give"}],
        "act": {"method": "click", "control_before": "unset", "bundled": false, "refusal_offered": true, "interface": "signup-form 12"},
    })
}

fn no(identifiers: Value, purpose: &str, action: &str) -> Value {
    json!({"identifiers": identifiers, "choices": [{"purpose": purpose, "action": action}]})
}

fn by_email(address: &str) -> Value {
    json!([{"kind": "email", "value": address}])
}

impl TestGateway {
    /// The shop's notice with its token for this key.
    async fn notice(&self, key: &str) -> Value {
        let address = format!("{}/v1/policy/notices/shop?language=en", self.url);
        let answer = self.client.get(address).basic_auth(key, Some("")).send().await.expect("answer");
        assert_eq!(answer.status(), 200);
        serde_json::from_str(&answer.text().await.expect("text")).expect("JSON")
    }

    async fn yes_with_token(&self, key: &str, identifiers: Value, purpose: &str) -> Value {
        let mut body = yes(identifiers, purpose);
        body["notice"] = json!({"snapshot": self.notice(key).await["snapshot"]});
        body
    }

    async fn token(&self, scopes: &[Scope], recipient: Option<&str>) -> String {
        let recipient = recipient.map(RecipientId::new);
        let (_, text) = self.house.add_token("test", scopes, recipient.as_ref(), None).await.expect("token");
        text.to_string()
    }

    /// The answer to one question, asked with an access token.
    async fn decision(&self, token: &str, question: Value) -> Value {
        let (status, access) = self.call(token, Method::POST, "/v1/token", None).await;
        assert_eq!(status, 200, "{access}");
        let access = access["access_token"].as_str().expect("token");
        let (status, answer) =
            self.call(access, Method::POST, "/v1/decisions", Some(&json!({"questions": [question]}))).await;
        assert_eq!(status, 200, "{answer}");
        answer["decisions"][0].clone()
    }

    async fn post_with(&self, key: &str, idempotency: &str, body: &Value) -> (u16, Value) {
        let answer = self
            .client
            .post(format!("{}/v1/consents", self.url))
            .basic_auth(key, Some(""))
            .header("content-type", "application/json")
            .header("idempotency-key", idempotency)
            .body(body.to_string())
            .send()
            .await
            .expect("answer");
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.expect("text")).expect("JSON"))
    }
}

/// The shipped policy with a purpose that needs an explicit act, and marketing on legitimate interests.
fn sharper() -> Wish {
    let mut files = shipped_policy();
    let purposes = files.get_mut("purposes.toml").expect("purposes");
    let text = String::from_utf8(purposes.clone()).expect("UTF-8");
    let text = text
        .replacen(
            "validity = \"P6M\"",
            "validity = \"P6M\"\nexplicit = true\nminimum_proof = \"act\"\ndpia = \"D-1\"",
            1,
        )
        .replacen("lia = \"LIA-3\"", "lia = \"LIA-3\"\ndirect_marketing = true", 1);
    *purposes = text.into_bytes();
    Wish { files, ..Wish::default() }
}

both! {
    async fn a_yes_holds_until_it_is_withdrawn(gateway: TestGateway) {
        let key = gateway.key("shop-server").await;
        let token = gateway.token(&[Scope::Decisions], None).await;
        let who = by_email(&format!("{}@example.org", gateway.canary("anna")));
        let question = json!({"identifiers": who, "purpose": "newsletter", "fields": ["traits.email"]});
        assert_eq!(gateway.decision(&token, question.clone()).await["reasons"], json!(["no_consent"]));

        let body = gateway.yes_with_token(&key, who.clone(), "newsletter").await;
        let (status, given) = gateway.post(&key, "/v1/consents", &body).await;
        assert_eq!((status, given["consents"][0]["state"].as_str()), (201, Some("active")), "{given}");
        assert_eq!(given["consents"][0]["channel"], "email");
        let decision = gateway.decision(&token, question.clone()).await;
        assert_eq!((decision["decision"].as_str(), &decision["allowed"]), (Some("allow"), &json!(["traits.email"])), "{decision}");

        let line = given["consents"][0]["id"].as_str().expect("id");
        let (status, shown) = gateway.call(&key, Method::GET, &format!("/v1/consents/{line}"), None).await;
        assert_eq!((status, shown["state"].as_str()), (200, Some("active")), "{shown}");
        assert_eq!((shown["events"][0]["proof"].as_str(), shown["events"][0]["verified"].as_bool()), (Some("act"), Some(true)));

        // By the id alone, without a body; twice is the same.
        for _ in 0..2 {
            let (status, ended) = gateway.call(&key, Method::POST, &format!("/v1/consents/{line}/withdraw"), None).await;
            assert_eq!((status, ended["state"].as_str()), (200, Some("withdrawn")), "{ended}");
            assert_eq!(ended["events"].as_array().map(Vec::len), Some(2), "{ended}");
        }
        let decision = gateway.decision(&token, question).await;
        assert_eq!((decision["decision"].as_str(), &decision["reasons"]), (Some("deny"), &json!(["withdrawn"])), "{decision}");
    }

    async fn a_choice_is_proven_by_a_receipt_that_needs_nobody(gateway: TestGateway) {
        let key = gateway.key("shop-server").await;
        let body = gateway.yes_with_token(&key, by_email("anna@example.org"), "newsletter").await;
        let (_, given) = gateway.post(&key, "/v1/consents", &body).await;
        let line = given["consents"][0]["id"].as_str().expect("id");
        let path = format!("/v1/consents/{line}/receipt?of=proof");
        gateway.house.publish_once().await.expect("published");
        let (status, yes) = gateway.call(&key, Method::GET, &path, None).await;
        assert_eq!((status, yes["statement"]["consent"].is_string()), (200, true), "{yes}");
        let of = |receipt: &Value| Receipt::parse(receipt.to_string().as_bytes()).expect("receipt").verify(TrustSource::Receipt);
        assert_eq!(of(&yes).exit, 10, "{yes}");
        let mut edited = yes.clone();
        edited["statement"]["purposes"] = json!(["profiling"]);
        assert_eq!(of(&edited).exit, 40);

        // The newest choice is the withdrawal; the yes can still be proven by its id.
        let (_, ended) = gateway.call(&key, Method::POST, &format!("/v1/consents/{line}/withdraw"), None).await;
        assert_eq!(gateway.call(&key, Method::GET, &path, None).await.0, 409, "no checkpoint covers it yet");
        gateway.house.publish_once().await.expect("published");
        let (_, no) = gateway.call(&key, Method::GET, &path, None).await;
        assert_eq!(of(&no).exit, 10, "{no}");
        let first = ended["events"][0]["id"].as_str().expect("event");
        let (_, again) = gateway.call(&key, Method::GET, &format!("{path}&event={first}"), None).await;
        assert_eq!(again["statement"], yes["statement"]);
        assert_ne!(no["statement"], yes["statement"]);
        let mut store = Store::open(gateway.house.database.location());
        assert_eq!(store.number("SELECT count(*) FROM audit_leaf WHERE event = 331"), 3, "each is an event of its own");

        // Nobody learns from it what they could not know.
        let page = gateway.key("shop-web").await;
        assert_eq!(gateway.call(&page, Method::GET, &path, None).await.0, 404);
        let absent = uuid::Uuid::new_v4();
        for (path, expected) in [
            (format!("/v1/consents/{absent}/receipt?of=proof"), 404),
            (format!("{path}&event={absent}"), 404),
            (format!("{path}&event=x"), 404),
            (format!("/v1/consents/{line}/receipt"), 400),
            (format!("/v1/consents/{line}/receipt?of=jws"), 400),
        ] {
            assert_eq!(gateway.call(&key, Method::GET, &path, None).await.0, expected, "{path}");
        }
    }

    async fn a_state_is_folded_when_it_is_read(gateway: TestGateway) {
        let key = gateway.key("shop-server").await;
        let body = gateway.yes_with_token(&key, by_email("anna@example.org"), "newsletter").await;
        let (_, given) = gateway.post(&key, "/v1/consents", &body).await;
        let line = given["consents"][0]["id"].as_str().expect("id").to_owned();
        gateway.source.shift(25 * 31 * DAY);
        // Nothing was written in between: the stream and the clock are all there is.
        let (_, shown) = gateway.call(&key, Method::GET, &format!("/v1/consents/{line}"), None).await;
        assert_eq!((shown["state"].as_str(), shown["events"].as_array().map(Vec::len)), (Some("expired"), Some(1)), "{shown}");
    }

    async fn a_pull_is_decided_accounted_for_and_ends_with_the_consent(gateway: TestGateway) {
        gateway.leaves_open(&[("helpdesk-us", 2), ("letterbox", 2), ("warehouse", 2)]);
        let key = gateway.key("shop-server").await;
        let address = format!("{}@example.org", gateway.canary("anna"));
        let who = by_email(&address);
        let body = gateway.yes_with_token(&key, who.clone(), "newsletter").await;
        assert_eq!(gateway.post(&key, "/v1/consents", &body).await.0, 201);
        for (name, id) in [("Anna", "m-1"), ("Anne", "m-2")] {
            let body = json!({"type": "identify", "userId": "u-7", "messageId": id, "traits": {"email": address, "firstName": name}});
            let (status, answer) = gateway.post(&key, "/v1/identify", &body).await;
            assert_eq!((status, answer["results"][0]["verdict"].as_str()), (200, Some("accepted")), "{answer}");
        }
        let token = gateway.token(&[Scope::Disclosures], Some("letterbox")).await;
        // By user id first: this person has no consent, and the address is somebody else's so far.
        let pull = json!({"identifiers": [{"kind": "user_id", "value": "u-7"}], "purpose": "order_handling"});
        let (status, got) = gateway.call(&token, Method::POST, "/v1/disclosures", Some(&pull)).await;
        assert_eq!((status, got["decision"].as_str()), (200, Some("allow")), "{got}");
        assert_eq!((&got["fields"]["traits.firstName"], &got["fields"]["traits.email"]), (&json!("Anne"), &json!(address)), "{got}");
        let named = got["pseudonym"].as_str().expect("pseudonym").to_owned();
        let pull = json!({"pseudonym": named, "purpose": "order_handling", "fields": ["traits.firstName"]});
        let (_, again) = gateway.call(&token, Method::POST, "/v1/disclosures", Some(&pull)).await;
        assert_eq!((&again["fields"], &again["pseudonym"]), (&json!({"traits.firstName": "Anne"}), &json!(named)), "{again}");

        let newsletter = json!({"identifiers": who, "purpose": "newsletter"});
        let (_, got) = gateway.call(&token, Method::POST, "/v1/disclosures", Some(&newsletter)).await;
        assert_eq!(got["decision"], "allow", "{got}");
        assert_eq!(gateway.post(&key, "/v1/consents", &no(who, "newsletter", "withdraw")).await.0, 201);
        let (status, got) = gateway.call(&token, Method::POST, "/v1/disclosures", Some(&newsletter)).await;
        assert_eq!((status, got["decision"].as_str(), &got["reasons"]), (200, Some("deny"), &json!(["withdrawn"])), "{got}");
        assert_eq!(got["fields"], json!({}));
    }

    async fn every_code_of_the_table_is_answered(gateway: TestGateway = sharper()) {
        let key = gateway.key("shop-server").await;
        let notice = gateway.notice(&key).await;
        let whole = |change: &dyn Fn(&mut Value)| {
            let mut body = yes(by_email("anna@example.org"), "newsletter");
            body["notice"] = json!({"snapshot": notice["snapshot"]});
            change(&mut body);
            body
        };
        let named = |change: &dyn Fn(&mut Value)| {
            let mut shown = json!({"id": "shop", "version": 1, "language": "en", "sha256": notice["sha256"]});
            change(&mut shown);
            whole(&|body| body["notice"] = shown.clone())
        };
        let other = gateway.key("shop-rudder").await;
        let foreign = gateway.notice(&other).await["snapshot"].clone();
        let cases = [
            ("not_unambiguous", "/act/method", whole(&|body| body["act"]["method"] = json!("scrolling"))),
            ("not_unambiguous", "/act/method", whole(&|body| { body["act"].as_object_mut().expect("act").remove("method"); })),
            ("preselected", "/act/control_before", whole(&|body| body["act"]["control_before"] = json!("set"))),
            ("not_distinguishable", "/act/bundled", whole(&|body| body["act"]["bundled"] = json!(true))),
            ("not_distinguishable", "/act/bundled", whole(&|body| { body["act"].as_object_mut().expect("act").remove("bundled"); })),
            ("not_granular", "/choices/0/purpose", whole(&|body| body["choices"][0]["purpose"] = json!("*"))),
            ("refusal_not_offered", "/act/refusal_offered", whole(&|body| body["act"]["refusal_offered"] = json!(false))),
            ("art9_not_explicit", "/choices/0/purpose", whole(&|body| body["choices"][0]["purpose"] = json!("ad_audiences"))),
            ("wrong_basis", "/choices/0/purpose", whole(&|body| body["choices"][0]["purpose"] = json!("product_analytics"))),
            ("channel_unknown", "/choices/0/channel", whole(&|body| body["choices"][0]["channel"] = json!("sms"))),
            ("purpose_unknown", "/choices/0/purpose", whole(&|body| body["choices"][0]["purpose"] = json!("mind_reading"))),
            ("notice_unknown", "/notice", named(&|shown| shown["version"] = json!(9))),
            ("notice_unknown", "/notice", named(&|shown| shown["language"] = json!("xx"))),
            ("notice_mismatch", "/notice", named(&|shown| shown["sha256"] = json!("00"))),
            ("notice_mismatch", "/notice", whole(&|body| body["notice"]["snapshot"] = foreign.clone())),
            ("notice_mismatch", "/notice", whole(&|body| body["notice"]["snapshot"] = json!("a.b.c"))),
            ("parental_consent_required", "/act/age_statement", whole(&|body| body["act"]["age_statement"] = json!(12))),
            ("actor_not_proven", "/actor", whole(&|body| body["actor"] = json!({"relation": "guardian"}))),
            ("actor_not_proven", "/actor", whole(&|body| body["actor"] = json!({"relation": "officer"}))),
        ];
        for (code, pointer, body) in cases {
            let (status, answer) = gateway.post(&key, "/v1/consents", &body).await;
            assert_eq!((status, answer["code"].as_str()), (422, Some(code)), "{answer}");
            let listed = answer["violations"].as_array().expect("violations");
            assert!(listed.iter().any(|violation| violation["code"] == code && violation["pointer"] == pointer), "{answer}");
        }
        gateway.source.shift(DAY + 1);
        let (status, answer) = gateway.post(&key, "/v1/consents", &whole(&|_| {})).await;
        assert_eq!((status, answer["code"].as_str()), (422, Some("notice_stale")), "{answer}");
        // All that is wrong is listed, and the first row of the table names the problem.
        let bare = json!({"identifiers": by_email("a@example.org"), "choices": [{"purpose": "newsletter", "action": "give"}]});
        let (_, answer) = gateway.post(&key, "/v1/consents", &bare).await;
        let codes: Vec<&str> = answer["violations"].as_array().expect("list").iter().filter_map(|one| one["code"].as_str()).collect();
        assert_eq!(codes, ["not_unambiguous", "preselected", "not_distinguishable", "refusal_not_offered"], "{answer}");
        // A refused yes changed nothing.
        let token = gateway.token(&[Scope::Decisions], None).await;
        let decision = gateway.decision(&token, json!({"identifiers": by_email("anna@example.org"), "purpose": "newsletter"})).await;
        assert_eq!(decision["reasons"], json!(["no_consent"]));
    }

    async fn a_yes_counts_as_much_as_can_be_proven(gateway: TestGateway) {
        let key = gateway.key("shop-server").await;
        let state = async |body: &Value| {
            let (status, answer) = gateway.post(&key, "/v1/consents", body).await;
            assert_eq!(status, 201, "{answer}");
            answer["consents"][0]["state"].as_str().expect("state").to_owned()
        };
        assert_eq!(state(&yes(by_email("a@example.org"), "newsletter")).await, "unproven");
        let notice = gateway.notice(&key).await;
        let mut body = yes(by_email("b@example.org"), "newsletter");
        body["notice"] = json!({"id": "shop", "version": 1, "language": "en", "sha256": notice["sha256"]});
        assert_eq!(state(&body).await, "active");
        // One token proves what one person was shown.
        let mut body = yes(by_email("c@example.org"), "newsletter");
        body["notice"] = json!({"snapshot": notice["snapshot"]});
        assert_eq!(state(&body).await, "active");
        assert_eq!(state(&body).await, "active");
        body["identifiers"] = by_email("d@example.org");
        assert_eq!(state(&body).await, "unproven");
        // Before the text was handed out, and long ago without saying that it was kept offline.
        for (given_at, fresh) in [("2025-06-01T10:00:00Z", false), ("2099-01-01T00:00:00Z", true)] {
            let mut body = gateway.yes_with_token(&key, by_email("e@example.org"), "newsletter").await;
            body["act"]["given_at"] = json!(given_at);
            assert_eq!(state(&body).await, "unproven", "{given_at} {fresh}");
        }
    }

    async fn a_repeated_call_gets_the_same_answer_for_a_day(gateway: TestGateway) {
        let key = gateway.key("shop-server").await;
        let body = gateway.yes_with_token(&key, by_email(&format!("{}@example.org", gateway.canary("anna"))), "newsletter").await;
        let first = gateway.post_with(&key, "k-1", &body).await;
        assert_eq!(first.0, 201, "{}", first.1);
        assert_eq!(gateway.post_with(&key, "k-1", &body).await, first);
        let (status, answer) = gateway.post_with(&key, "k-1", &no(by_email("b@example.org"), "newsletter", "refuse")).await;
        assert_eq!((status, answer["code"].as_str()), (422, Some("idempotency_mismatch")), "{answer}");
        // A refusal is kept as well; another caller's key is another key.
        let refused = gateway.post_with(&key, "k-2", &yes(by_email("b@example.org"), "bookkeeping")).await;
        assert_eq!(refused.1["code"], "wrong_basis");
        assert_eq!(gateway.post_with(&key, "k-2", &yes(by_email("b@example.org"), "bookkeeping")).await, refused);
        let other = gateway.key("shop-rudder").await;
        assert_eq!(gateway.post_with(&other, "k-1", &no(by_email("b@example.org"), "newsletter", "refuse")).await.0, 201);
        gateway.source.shift(DAY + 1);
        let (status, answer) = gateway.post_with(&key, "k-1", &no(by_email("c@example.org"), "newsletter", "refuse")).await;
        assert_eq!(status, 201, "{answer}");
    }

    async fn a_public_key_binds_its_browser_alone(gateway: TestGateway) {
        let (public, server) = (gateway.key("shop-web").await, gateway.key("shop-server").await);
        let token = gateway.token(&[Scope::Decisions], None).await;
        let anna = by_email("anna@example.org");
        let (status, answer) = gateway.post(&public, "/v1/consents", &gateway.yes_with_token(&public, anna.clone(), "newsletter").await).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some("needs_server_key")), "{answer}");

        let both = json!([{"kind": "email", "value": "anna@example.org"}, {"kind": "anonymous_id", "value": "8f1c2f4e-browser"}]);
        let (status, answer) = gateway.post(&public, "/v1/consents", &gateway.yes_with_token(&public, both, "newsletter").await).await;
        assert_eq!((status, answer["consents"][0]["state"].as_str()), (201, Some("active")), "{answer}");
        let ask = async |who: &Value| gateway.decision(&token, json!({"identifiers": who, "purpose": "newsletter"})).await["decision"].clone();
        assert_eq!(ask(&anna).await, "deny");
        assert_eq!(ask(&json!([{"kind": "anonymous_id", "value": "8f1c2f4e-browser"}])).await, "allow");

        // A no counts for anybody at once, and the page learns nothing about them.
        assert_eq!(gateway.post(&server, "/v1/consents", &gateway.yes_with_token(&server, anna.clone(), "newsletter").await).await.0, 201);
        assert_eq!(ask(&anna).await, "allow");
        let (_, known) = gateway.post(&public, "/v1/consents", &no(anna.clone(), "newsletter", "withdraw")).await;
        let (_, unknown) = gateway.post(&public, "/v1/consents", &no(by_email("stranger@example.org"), "newsletter", "withdraw")).await;
        assert_eq!(known["consents"], unknown["consents"]);
        assert_eq!(known["consents"][0]["state"], "accepted");
        assert_eq!(ask(&anna).await, "deny");
        let line = answer["consents"][0]["id"].as_str().expect("id");
        assert_eq!(gateway.call(&public, Method::GET, &format!("/v1/consents/{line}"), None).await.0, 404);
    }

    async fn an_objection_to_marketing_stands_until_the_person_says_yes(gateway: TestGateway = sharper()) {
        let key = gateway.key("shop-server").await;
        let token = gateway.token(&[Scope::Decisions], None).await;
        let who = by_email("anna@example.org");
        let ask = async |purpose: &str| gateway.decision(&token, json!({"identifiers": who, "purpose": purpose})).await;
        let give = async || gateway.yes_with_token(&key, who.clone(), "newsletter").await;
        assert_eq!(gateway.post(&key, "/v1/consents", &give().await).await.0, 201);
        // The word is `object`, the purpose rests on consent: a withdrawal, and the list besides.
        let (status, answer) = gateway.post(&key, "/v1/consents", &no(who.clone(), "newsletter", "object")).await;
        assert_eq!((status, answer["consents"][0]["state"].as_str()), (201, Some("withdrawn")), "{answer}");
        assert_eq!(ask("newsletter").await["reasons"], json!(["withdrawn", "suppressed"]));
        assert_eq!(ask("product_analytics").await["reasons"], json!(["suppressed"]));
        // An older yes that was kept on a device does not end it, a new one does.
        let mut late = yes(who.clone(), "newsletter");
        late["notice"] = json!({"id": "shop", "version": 1, "language": "en", "sha256": gateway.notice(&key).await["sha256"]});
        late["act"]["given_at"] = json!(gateway.source.now().saturating_add(jiff::SignedDuration::from_hours(-2)).expect("time").to_string());
        late["act"]["offline"] = json!(true);
        assert_eq!(gateway.post(&key, "/v1/consents", &late).await.0, 201);
        assert_eq!(ask("newsletter").await["reasons"], json!(["withdrawn", "suppressed"]));
        assert_eq!(gateway.post(&key, "/v1/consents", &give().await).await.0, 201);
        assert_eq!(ask("newsletter").await["decision"], "allow");
        // Words do not matter: a withdrawal of what rests on legitimate interests is an objection.
        let (_, answer) = gateway.post(&key, "/v1/consents", &no(who.clone(), "product_analytics", "withdraw")).await;
        assert_eq!(answer["consents"][0]["state"], "objected", "{answer}");
        assert_eq!(ask("newsletter").await["decision"], "deny");
    }

    async fn hostile_input_gets_a_clear_error(gateway: TestGateway) {
        let key = gateway.key("shop-server").await;
        let long = format!("{}@example.org", "a".repeat(10_000));
        for value in [long.as_str(), "an\u{0}na@example.org", "anna@@example.org", "", "\u{202e}\u{202d}", "null"] {
            let (status, answer) = gateway.post(&key, "/v1/consents", &no(by_email(value), "newsletter", "refuse")).await;
            let code = answer["code"].as_str().unwrap_or_default();
            assert!(status == 400 && ["identifier_invalid", "identifier_blocked"].contains(&code), "{status} {answer}");
            assert!(value.is_empty() || !answer.to_string().contains(value) || value == "null", "{answer}");
        }
        // Marks of writing direction are no part of an address.
        let marked = no(by_email("\u{200f}anna\u{200e}@example.org"), "newsletter", "refuse");
        assert_eq!(gateway.post(&key, "/v1/consents", &marked).await.0, 201);
        let token = gateway.token(&[Scope::Decisions], None).await;
        let decision = gateway.decision(&token, json!({"identifiers": by_email("anna@example.org"), "purpose": "newsletter"})).await;
        assert_eq!(decision["reasons"], json!(["refused"]));
        for body in [json!({}), json!([]), json!("text"), json!({"identifiers": by_email("a@b.org"), "choices": []})] {
            let (status, answer) = gateway.post(&key, "/v1/consents", &body).await;
            assert!(status == 400 || status == 422 || (status == 200 && body == json!([])), "{status} {answer}");
        }
        let unknown = json!({"identifiers": by_email("a@example.org"), "choices": [{"purpose": "newsletter", "action": "maybe"}]});
        assert_eq!(gateway.post(&key, "/v1/consents", &unknown).await.1["code"], "invalid_content");
    }

    async fn an_array_gets_a_verdict_for_each_act(gateway: TestGateway) {
        let key = gateway.key("shop-server").await;
        let acts = json!([
            no(by_email("a@example.org"), "*", "refuse"),
            {"what": 1},
            yes(by_email("b@example.org"), "bookkeeping"),
        ]);
        let (status, answer) = gateway.post(&key, "/v1/consents", &acts).await;
        let verdicts: Vec<&str> = answer["results"].as_array().expect("results").iter().filter_map(|one| one["verdict"].as_str()).collect();
        assert_eq!((status, verdicts.as_slice()), (200, &["recorded", "rejected", "refused"][..]), "{answer}");
        assert_eq!(answer["results"][0]["consents"].as_array().map(Vec::len), Some(3), "{answer}");
        assert_eq!(answer["results"][2]["code"], "wrong_basis");
    }

    async fn only_the_right_token_asks(gateway: TestGateway) {
        let body = json!({"questions": [{"identifiers": by_email("a@example.org"), "purpose": "newsletter"}]});
        let post = async |token: &str, path: &str| gateway.call(token, Method::POST, path, Some(&body)).await.0;
        let key = gateway.key("shop-server").await;
        assert_eq!(post("nonsense", "/v1/decisions").await, 401);
        assert_eq!(post(&key, "/v1/decisions").await, 401);
        let narrow = gateway.token(&[Scope::AuditRead], None).await;
        assert_eq!(post(&narrow, "/v1/decisions").await, 403);
        let letterbox = gateway.token(&[Scope::Decisions], Some("letterbox")).await;
        let foreign = json!({"questions": [{"identifiers": by_email("a@example.org"), "purpose": "newsletter", "recipient": "retarget-sg"}]});
        assert_eq!(gateway.call(&letterbox, Method::POST, "/v1/decisions", Some(&foreign)).await.0, 403);
        let (status, _) = gateway.call(&letterbox, Method::POST, "/v1/token", Some(&json!({"scope": "disclosures"}))).await;
        assert_eq!(status, 401);
    }

    async fn pages_of_a_collector_may_ask_and_others_may_not(gateway: TestGateway) {
        let key = gateway.key("shop-web").await;
        let address = format!("{}/v1/consents", gateway.url);
        let allowed = |answer: &reqwest::Response| {
            answer.headers().get("access-control-allow-origin").and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        for (origin, status) in [("https://shop.example", 201), ("https://evil.example", 403)] {
            let preflight = gateway
                .client
                .request(Method::OPTIONS, &address)
                .header("origin", origin)
                .header("access-control-request-method", "POST")
                .send()
                .await
                .expect("answer");
            let expected = (status == 201).then(|| origin.to_owned());
            assert_eq!((preflight.status().as_u16(), allowed(&preflight)), (204, expected.clone()));
            let answer = gateway
                .client
                .post(&address)
                .basic_auth(&key, Some(""))
                .header("origin", origin)
                .body(no(by_email("a@example.org"), "newsletter", "refuse").to_string())
                .send()
                .await
                .expect("answer");
            assert_eq!((answer.status().as_u16(), allowed(&answer)), (status, expected));
        }
    }

    async fn anyone_may_read_what_is_in_force(gateway: TestGateway) {
        let read = async |path: &str| {
            let answer = gateway.client.get(format!("{}{path}", gateway.url)).send().await.expect("answer");
            (answer.status().as_u16(), serde_json::from_str::<Value>(&answer.text().await.expect("text")).expect("JSON"))
        };
        let (status, policy) = read("/v1/policy").await;
        assert_eq!((status, policy["hash"].as_str().map(str::len)), (200, Some(64)));
        let (status, notice) = read("/v1/policy/notices/shop?language=fa").await;
        assert_eq!((status, notice["language"].as_str(), notice.get("snapshot")), (200, Some("fa"), None));
        assert_eq!(read("/v1/policy/notices/nothing").await.0, 404);
        let (_, keys) = read("/.well-known/jwks.json").await;
        assert_eq!(keys["keys"][0]["crv"], "Ed25519");
        let (_, signal) = read("/.well-known/gpc.json").await;
        assert_eq!(signal["gpc"], true);
    }
}

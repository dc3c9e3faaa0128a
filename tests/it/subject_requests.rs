//! Requests of people through the API: access, erasure, receipt, recipients told. (Law: Art. 12, 15,
//! 17, 19.)

use amanat::audit::receipt::{Receipt, TrustSource};
use amanat::delivery::budget::Budget;
use amanat::delivery::file::Rotation;
use amanat::domain::id::RecipientId;
use amanat::gateway::dispatch::{Carriers, RecipientAddress, Way};
use amanat::gateway::tokens::Scope;
use reqwest::Method;
use serde_json::{Value, json};

use crate::both;
use crate::harness::TestGateway;

async fn service(gateway: &TestGateway) -> String {
    let (_, text) = gateway.house.add_token("crm", &[Scope::Requests], None, None).await.expect("token");
    text.to_string()
}

/// A person met by an event that also holds an order.
async fn meet(gateway: &TestGateway) -> String {
    let key = gateway.key("shop-server").await;
    let email = format!("{}@example.org", gateway.canary("anna"));
    let identify = json!({"type":"identify","userId":gateway.canary("user"),"messageId":"m-1","traits":{"email":email,"name":gateway.canary("Anna")}});
    let (status, answer) = gateway.post(&key, "/v1/identify", &identify).await;
    assert_eq!((status, answer["results"][0]["verdict"].as_str()), (200, Some("accepted")), "{answer}");
    email
}

async fn ask(gateway: &TestGateway, token: &str, kinds: Value, email: &str) -> Value {
    let body = json!({"kinds":kinds,"identifiers":[{"kind":"email","value":email}],"language":"en"});
    let (status, answer) = gateway.call(token, Method::POST, "/v1/subject-requests", Some(&body)).await;
    assert_eq!(status, 202, "{answer}");
    answer
}

both! {
    async fn access_and_erasure_through_the_api(gateway: TestGateway) {
        let email = meet(&gateway).await;
        let token = service(&gateway).await;
        let opened = ask(&gateway, &token, json!(["access", "erasure"]), &email).await;
        assert!(opened["reference"].as_str().expect("reference").starts_with("AM-"), "{opened}");
        let (access, erasure) = (&opened["requests"][0], &opened["requests"][1]);
        assert_eq!((access["state"].as_str(), erasure["state"].as_str()), (Some("closed"), Some("scheduled")), "{opened}");

        let package = format!("/v1/subject-requests/{}/package", access["id"].as_str().expect("id"));
        let (status, package) = gateway.call(&token, Method::GET, &package, None).await;
        assert_eq!(status, 200, "{package}");
        assert!(package["copy"]["records"].to_string().contains(&email));

        gateway.house.run_due_requests().await.expect("due requests");
        let erasure = format!("/v1/subject-requests/{}", erasure["id"].as_str().expect("id"));
        let mut view = Value::Null;
        for _ in 0..200 {
            view = gateway.call(&token, Method::GET, &erasure, None).await.1;
            if view["state"] == "closed" {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!((view["state"].as_str(), view["outcome"].as_str()), (Some("closed"), Some("fulfilled")), "{view}");

        gateway.house.publish_once().await.expect("published");
        let (status, receipt) = gateway.call(&token, Method::GET, &format!("{erasure}/receipt"), None).await;
        assert_eq!(status, 200, "{receipt}");
        let parsed = Receipt::parse(receipt.to_string().as_bytes()).expect("receipt");
        assert_eq!(parsed.verify(TrustSource::Receipt).exit, 10);
        assert_eq!(receipt["statement"]["person"], email.as_str());

        // That somebody asked, and when, is proved for good and for every right.
        for request in [&access["id"], &opened["requests"][1]["id"]] {
            let path = format!("/v1/subject-requests/{}/receipt?of=arrival", request.as_str().expect("id"));
            let (status, receipt) = gateway.call(&token, Method::GET, &path, None).await;
            assert_eq!((status, &receipt["statement"]["request"]), (200, &opened["reference"]), "{receipt}");
            let parsed = Receipt::parse(receipt.to_string().as_bytes()).expect("receipt");
            assert_eq!(parsed.verify(TrustSource::Receipt).exit, 10);
            assert!(!receipt.to_string().contains(&email));
        }
        let (status, _) = gateway.call(&token, Method::GET, &format!("{erasure}/receipt?of=something"), None).await;
        assert_eq!(status, 400);

        // Nothing is found any more, and another service learns nothing of the case.
        let again = ask(&gateway, &token, json!(["access"]), &email).await;
        assert_eq!(again["requests"][0]["outcome"], "no_data", "{again}");
        let stranger = service(&gateway).await;
        assert_eq!(gateway.call(&stranger, Method::GET, &erasure, None).await.0, 404);
    }

    async fn a_repeated_call_opens_one_case(gateway: TestGateway) {
        gateway.leaves_open(&[("helpdesk-us", 1), ("letterbox", 1), ("warehouse", 1)]);
        let email = meet(&gateway).await;
        let token = service(&gateway).await;
        let body = json!({"kinds":["access"],"identifiers":[{"kind":"email","value":email}]});
        let call = |body: Value| {
            let request = gateway.client.post(format!("{}/v1/subject-requests", gateway.url));
            request.bearer_auth(&token).header("idempotency-key", "k-1").header("content-type", "application/json").body(body.to_string()).send()
        };
        let one: Value = serde_json::from_str(&call(body.clone()).await.expect("answer").text().await.expect("text")).expect("JSON");
        let two: Value = serde_json::from_str(&call(body).await.expect("answer").text().await.expect("text")).expect("JSON");
        assert_eq!(one["reference"], two["reference"], "{one} {two}");
        let other = call(json!({"kinds":["erasure"],"identifiers":[{"kind":"email","value":email}]})).await.expect("answer");
        assert_eq!(other.status().as_u16(), 422);
    }

    async fn recipients_are_told_and_their_acknowledgement_counts(gateway: TestGateway) {
        let email = meet(&gateway).await;
        let recipient = RecipientId::new("letterbox");
        let (_, pull) = gateway.house.add_token("letterbox", &[Scope::Disclosures, Scope::Tasks], Some(&recipient), None).await.expect("token");
        let body = json!({"identifiers":[{"kind":"email","value":email}],"purpose":"order_handling"});
        let (status, answer) = gateway.call(&pull, Method::POST, "/v1/disclosures", Some(&body)).await;
        assert_eq!((status, answer["decision"].as_str()), (200, Some("allow")), "{answer}");
        let pseudonym = answer["pseudonym"].as_str().expect("pseudonym").to_owned();

        let token = service(&gateway).await;
        let opened = ask(&gateway, &token, json!(["erasure"]), &email).await;
        assert_eq!(opened["requests"][0]["state"], "answered", "a recipient is still to be told: {opened}");

        let folder = gateway.folder().join("told");
        let way = Way::File { directory: folder.clone(), rotation: Rotation::default() };
        let carriers = Carriers::new(vec![RecipientAddress { recipient: recipient.clone(), way, budget: Budget::default() }]).expect("carriers");
        assert_eq!(gateway.house.tell_recipients(&carriers).await.expect("told"), 2);
        let mut lines = Vec::new();
        for file in crate::harness::files_below(&folder) {
            let text = std::fs::read_to_string(file).expect("file");
            lines.extend(text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()));
        }
        let erase = lines.iter().find(|line| line["type"] == "amanat.subject.erased").expect("told to erase");
        assert_eq!(erase["data"]["identifiers"], json!([{"kind":"pairwise","value":pseudonym}]));
        let suppress = lines.iter().find(|line| line["data"]["verb"] == "suppress").expect("told to stop");

        let path = format!("/v1/tasks/{}/acknowledgements", suppress["data"]["task"].as_str().expect("task"));
        let forged = json!({"task":suppress["data"]["task"],"nonce":"A".repeat(43),"result":"done","done":true});
        assert_eq!(gateway.call(&pull, Method::POST, &path, Some(&forged)).await.0, 403);
        let done = json!({"task":suppress["data"]["task"],"nonce":suppress["data"]["nonce"],"result":"done","done":true});
        let (status, answer) = gateway.call(&pull, Method::POST, &path, Some(&done)).await;
        assert_eq!((status, answer["outcome"].as_str()), (200, Some("acknowledged")), "{answer}");
        assert_eq!(gateway.call(&pull, Method::POST, &path, Some(&done)).await.0, 409, "a task ends once");
        let view = gateway.call(&token, Method::GET, &format!("/v1/subject-requests/{}", opened["requests"][0]["id"].as_str().expect("id")), None).await.1;
        assert_eq!(view["state"], "answered", "the erasure at the recipient is not verified, so the request stays open");
    }
}

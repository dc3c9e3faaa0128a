//! Every row of the table of outcomes, against a real server.

use std::time::Duration;

use jiff::Timestamp;
use wiremock::matchers::{body_bytes, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};
use zeroize::Zeroizing;

use crate::delivery::boot_clock::BootInstant;
use crate::delivery::boot_clock::Deadline;
use crate::delivery::guard::GuardRules;
use crate::delivery::message::MessageFormat;
use crate::delivery::reply::RIGHTS_BODY;
use crate::delivery::rights::RightsCall;
use crate::delivery::rights::{Nonce, Verb};
use crate::delivery::signing::SigningSecret;
use crate::delivery::webhook::{TIME_LIMIT, Webhook, WebhookSettings};
use crate::delivery::{Error, Outcome, Parcel, ParcelKind};
use crate::domain::id::{RecipientId, TaskId};

const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const BODY: &[u8] = br#"{"type":"amanat.test","timestamp":"2026-11-22T10:34:01Z","data":{}}"#;

pub(super) fn settings(url: String, port: u16) -> WebhookSettings {
    WebhookSettings {
        url,
        format: MessageFormat::Standard,
        secrets: vec![SigningSecret::parse(SECRET).unwrap()],
        guard: GuardRules { allow_loopback: true, ports: vec![port], ..GuardRules::default() },
    }
}

pub(super) fn parcel(kind: ParcelKind) -> Parcel {
    Parcel {
        message_id: "msg_amanat0001".to_owned(),
        recipient: RecipientId::new("crm"),
        body: Zeroizing::new(BODY.to_vec()),
        kind,
    }
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_second(1_795_343_641).unwrap()
}

pub(super) fn within(limit: Duration) -> Deadline {
    Deadline::of_claim(BootInstant::now(), limit)
}

fn webhook(server: &MockServer) -> Webhook {
    Webhook::new(settings(format!("{}/hook", server.uri()), server.address().port())).unwrap()
}

fn rights() -> RightsCall {
    RightsCall {
        task: TaskId::from_bytes([2; 16]),
        verb: Verb::Erase,
        nonce: Nonce::from_random([9; 32]),
        can_verify: true,
        address_missing: 0,
    }
}

async fn answered(response: ResponseTemplate, kind: ParcelKind) -> String {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(response).expect(1).mount(&server).await;
    let outcome = webhook(&server).hand_over(&parcel(kind), now(), within(TIME_LIMIT)).await;
    format!("{outcome:?}")
}

#[tokio::test]
async fn a_parcel_arrives_whole_and_signed() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/hook"))
        .and(header("content-type", "application/json"))
        .and(header("webhook-id", "msg_amanat0001"))
        .and(header("webhook-timestamp", "1795343641"))
        // The library's own header matcher splits at commas.
        .and(|request: &wiremock::Request| {
            request
                .headers
                .get("webhook-signature")
                .is_some_and(|value| value == "v1,XGoEMZFMhWnlydrTlH7VY66mhTOEAcn3+Akl6jHqwfk=")
        })
        .and(body_bytes(BODY))
        .respond_with(ResponseTemplate::new(204))
        .expect(1)
        .mount(&server)
        .await;
    let outcome = webhook(&server).hand_over(&parcel(ParcelKind::Record), now(), within(TIME_LIMIT)).await;
    assert!(matches!(outcome, Outcome::Delivered), "{outcome:?}");
}

#[tokio::test]
async fn every_status_of_a_delivery_has_its_row() {
    let server = MockServer::start().await;
    let webhook = webhook(&server);
    for status in [
        200, 201, 202, 204, 299, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 407, 408, 409, 410,
        413, 422, 425, 429, 451, 499, 500, 501, 502, 503, 504, 505, 507, 511, 599,
    ] {
        server.reset().await;
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(status).insert_header("location", "http://10.0.0.1/"))
            .expect(1)
            .mount(&server)
            .await;
        let outcome = webhook.hand_over(&parcel(ParcelKind::Record), now(), within(TIME_LIMIT)).await;
        let expected = match status {
            200..=299 => "Delivered".to_owned(),
            300..=399 => "Dead { cause: Redirected }".to_owned(),
            401 | 403 | 407 => format!("Paused {{ cause: Status({status}) }}"),
            410 => "RecipientGone".to_owned(),
            408 | 425 | 429 | 500 | 502..=504 | 506..=599 => {
                format!("Retry {{ after: None, cause: Status({status}) }}")
            }
            _ => format!("Dead {{ cause: Status({status}) }}"),
        };
        assert_eq!(format!("{outcome:?}"), expected);
    }
}

#[tokio::test]
async fn retry_after_is_obeyed_up_to_a_day_and_nonsense_is_ignored() {
    for (text, after) in [
        ("17", "Some(17s)"),
        ("0", "Some(0ns)"),
        ("99999999", "Some(86400s)"),
        ("99999999999999999999999999", "Some(86400s)"),
        ("Sun, 22 Nov 2026 10:35:01 GMT", "Some(60s)"),
        ("Sun, 22 Nov 2026 10:00:00 GMT", "Some(0ns)"),
        ("Sun, 22 Nov 2099 10:35:01 GMT", "Some(86400s)"),
        ("-5", "None"),
        ("soon", "None"),
        ("1.5", "None"),
    ] {
        let response = ResponseTemplate::new(429).insert_header("retry-after", text);
        let expected = format!("Retry {{ after: {after}, cause: Status(429) }}");
        assert_eq!(answered(response, ParcelKind::Record).await, expected, "{text}");
    }
}

#[tokio::test]
async fn a_rights_message_needs_a_result_with_our_nonce() {
    let call = rights();
    let result = format!(
        r#"{{"task":"{}","nonce":"{}","result":"done","removed":3,"done":true}}"#,
        call.task,
        call.nonce.text()
    );
    for (body, expected) in [
        (result.as_str(), "Rights(Erased)"),
        ("", "Rights(Pending(NoResult))"),
        ("{\"result\":\"done\"}", "Rights(Pending(NoResult))"),
    ] {
        let response = ResponseTemplate::new(200).set_body_string(body);
        assert_eq!(answered(response, ParcelKind::Rights(rights())).await, expected);
    }
    let long = ResponseTemplate::new(200).set_body_string(" ".repeat(RIGHTS_BODY) + &result);
    assert_eq!(answered(long, ParcelKind::Rights(rights())).await, "Rights(Pending(NoResult))");
    let asked = ResponseTemplate::new(503).insert_header("retry-after", "9");
    assert_eq!(answered(asked, ParcelKind::Rights(rights())).await, "Retry { after: Some(9s), cause: Status(503) }");
}

#[tokio::test]
async fn a_closed_port_is_a_matter_for_later() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let webhook = Webhook::new(settings(format!("http://127.0.0.1:{port}/"), port)).unwrap();
    let outcome = webhook.hand_over(&parcel(ParcelKind::Record), now(), within(TIME_LIMIT)).await;
    assert_eq!(format!("{outcome:?}"), "Retry { after: None, cause: Connect }");
}

#[tokio::test]
async fn a_frozen_instance_that_wakes_past_its_limit_sends_nothing() {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).expect(0).mount(&server).await;
    let claimed_long_ago = BootInstant::from_start(Duration::ZERO);
    let outcome = webhook(&server)
        .hand_over(
            &parcel(ParcelKind::Record),
            now(),
            Deadline::of_claim(claimed_long_ago, TIME_LIMIT.min(Duration::from_millis(1))),
        )
        .await;
    assert_eq!(format!("{outcome:?}"), "Retry { after: None, cause: TimeLimit }");
}

#[test]
fn a_webhook_without_secret_or_with_a_refused_address_is_not_set_up() {
    let mut bare = settings("https://example.com/".to_owned(), 443);
    bare.secrets.clear();
    assert!(matches!(Webhook::new(bare), Err(Error::SecretMissing)));
    for url in ["http://example.com/", "https://10.0.0.1/", "https://[::ffff:10.0.0.1]/", "https://example.com:25/"] {
        assert!(matches!(Webhook::new(settings(url.to_owned(), 443)), Err(Error::AddressRefused(_))), "{url}");
    }
    assert!(matches!(Webhook::new(settings("not a url".to_owned(), 443)), Err(Error::AddressUnreadable(_))));
}

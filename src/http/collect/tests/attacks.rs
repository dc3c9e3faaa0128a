//! The list of `ecosystem.md` 1.14: what hostile or broken clients send costs nobody else anything.

use super::*;

fn server() -> Collector {
    Collector::new(Protocol::Segment, Trust::Server)
}

fn flaw(body: &str) -> Option<Refusal> {
    server().post("/v1/track", body).err()
}

fn track(member: &str) -> String {
    format!(r#"{{"userId":"u","event":"E",{member}}}"#)
}

#[test]
fn a_key_that_stands_twice_rejects_the_event_wherever_it_is() {
    for member in [
        r#""userId":"v""#,
        r#""context":{"consent":{"categoryPreferences":{"Advertising":false,"Advertising":true}}}"#,
        r#""context":{"consent":{"categoryPreferences":{"Advertising":false,"\u0041dvertising":true}}}"#,
        r#""properties":{"deep":[[{"a":1,"b":2,"a":3}]]}"#,
        r#""properties":{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"j":1}"#,
    ] {
        assert_eq!(flaw(&track(member)), Some(Refusal::Event(Flaw::DuplicateJsonKey)), "{member}");
    }
    assert_eq!(flaw(&track(r#""properties":{"a":{"a":{"a":1}},"A":2}"#)), None);
}

#[test]
fn consent_of_a_wrong_type_denies_what_it_is_mapped_to() {
    for consent in [
        r#""yes""#,
        "7",
        "[]",
        "true",
        r#"{"categoryPreferences":"all"}"#,
        r#"{"categoryPreferences":null}"#,
        r#"{"categoryPreferences":{"Advertising":"true"}}"#,
    ] {
        let event = server().event("/v1/track", &track(&format!(r#""context":{{"consent":{consent}}}"#)));
        assert_eq!(says(&event, "ads"), [Says::Undecodable], "{consent}");
    }
    for lists in [
        r#""allowedConsentIds":"ads""#,
        r#""allowedConsentIds":["ads","a"],"deniedConsentIds":null"#,
        r#""allowedConsentIds":["ads",1]"#,
    ] {
        let context = format!(r#""context":{{"consentManagement":{{"provider":"custom",{lists}}}}}"#);
        let event = server().event("/v1/track", &track(&context));
        assert_eq!(says(&event, "r_ads"), [Says::Undecodable], "{lists}");
    }
    for silent in [r#"{"consent":{}}"#, r#"{"consent":{"categoryPreference":{"Advertising":true}}}"#, "{}"] {
        let event = server().event("/v1/track", &track(&format!(r#""context":{silent}"#)));
        assert!(event.signals.is_empty(), "{silent}");
    }
}

#[test]
fn the_browsers_control_denies_every_event_of_the_request() {
    let body = br#"{"batch":[{"type":"track","userId":"u","event":"E"},{"type":"page","userId":"u"}]}"#;
    let parsed = server().post_with("/v1/b", body, &[("sec-gpc", b"0"), ("Sec-GPC", b"1")]);
    for item in &parsed.map_err(Refusal::code).unwrap().items {
        assert_eq!(says(item.as_ref().map_err(|rejected| rejected.flaw).unwrap(), "ads"), [Says::Denies]);
    }
    let parsed = server().post_with("/v1/b", body, &[("sec-gpc", b"1, 1")]);
    assert!(parsed.map_err(Refusal::code).unwrap().items.iter().flatten().all(|event| event.signals.is_empty()));
}

#[test]
fn a_broken_item_costs_only_itself() {
    let good = r#"{"type":"track","userId":"u","event":"E","messageId":"m"}"#;
    for (broken, code) in [
        (r#"{"type":"track","userId":tru,"event":"E"}"#, "event_malformed"),
        (r#"{"type":"track","userId":"u","event":"E",}"#, "event_malformed"),
        (r#"{"type":"track","userId":"\ud800","event":"E"}"#, "event_malformed"),
        (r#"{"type":"track","userId":"\ud800\u0041","event":"E"}"#, "event_malformed"),
        (r#"{"type":"track","userId":"u\u0000","event":"E"}"#, "event_malformed"),
        ("{\"type\":\"track\",\"userId\":\"u\u{1}\",\"event\":\"E\"}", "event_malformed"),
        (r#"{"type":"track","userId":"u","event":""}"#, "event_malformed"),
        (r#"{"type":"audiencelist","userId":"u"}"#, "event_malformed"),
        (r#"{"type":"track","event":"E"}"#, "event_malformed"),
        (r#"{"userId":"u","event":"E"}"#, "event_malformed"),
        ("7", "event_malformed"),
        (r#""text""#, "event_malformed"),
        ("[]", "event_malformed"),
        (r#"{"type":"track","userId":false,"event":"E"}"#, "identifier_invalid"),
        (r#"{"type":"track","type":"track"}"#, "duplicate_json_key"),
    ] {
        let mut items = vec![good; 20];
        items[7] = broken;
        let body = format!(r#"{{"batch":[{}]}}"#, items.join(","));
        let codes = codes(&server().post("/v1/batch", &body).map_err(Refusal::code).unwrap());
        assert_eq!((codes.len(), codes[7]), (20, code), "{broken}");
        assert_eq!(codes.iter().filter(|code| **code == "accepted").count(), 19, "{broken}");
    }
    let bytes =
        [br#"{"batch":["#, good.as_bytes(), br#",{"type":"track","userId":""#, &[0xff, 0xc0], br#""}]}"#].concat();
    let parsed = server().post_with("/v1/batch", &bytes, &[]).map_err(Refusal::code).unwrap();
    assert_eq!(codes(&parsed), ["accepted", "event_malformed"]);
}

#[test]
fn what_is_broken_outside_the_items_refuses_the_whole() {
    for body in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"batch":{}}"#,
        r#"{"batch":[1,]}"#,
        r#"{"batch":[]"#,
        r#"{"batch":[]}x"#,
        r#"{"batch":[{"a":[}]}"#,
        r#"{"batch":[],"batch":[]}"#,
        r#"{"batch":[],"b\u0061tch":[]}"#,
        r#"{"batch":[],"context":{"a":1,"a":2}}"#,
        r#"{"batch":[],"context":{"consent"}}"#,
    ] {
        let refusal = server().post("/v1/batch", body).err();
        assert_eq!(refusal.map(Refusal::status), Some(400), "{body}");
    }
    let most = |count: usize| format!(r#"{{"batch":[{}]}}"#, vec!["1"; count].join(","));
    assert_eq!(server().post("/v1/batch", &most(2_501)).err(), Some(Refusal::BatchTooLong));
    assert_eq!(server().post("/v1/batch", &most(2_500)).map(|parsed| parsed.items.len()).ok(), Some(2_500));
}

#[test]
fn size_depth_and_number_of_keys_are_bounded() {
    let large = Some(Refusal::Event(Flaw::EventTooLarge));
    let nested = |depth: usize| track(&format!(r#""properties":{}{}"#, "[".repeat(depth), "]".repeat(depth)));
    assert_eq!(flaw(&nested(63)), None);
    assert_eq!(flaw(&nested(64)), large);
    let keys = |count: usize| {
        let keys: Vec<String> = (0..count).map(|key| format!(r#""k{key}":1"#)).collect();
        track(&format!(r#""properties":{{{}}}"#, keys.join(",")))
    };
    assert_eq!(flaw(&keys(1_997)), None);
    assert_eq!(flaw(&keys(1_998)), large);
    let id = |length: usize| track(&format!(r#""messageId":"{}""#, "m".repeat(length)));
    assert_eq!((flaw(&id(256)), flaw(&id(257))), (None, large));
    let text = |length: usize| track(&format!(r#""properties":{{"x":"{}"}}"#, "x".repeat(length)));
    assert_eq!((flaw(&text(32 << 10)), flaw(&text(31 << 10))), (large, None));
    let wide = Collector::new(Protocol::Rudderstack, Trust::Server);
    assert_eq!(wide.post("/v1/track", &text(200 << 10)).err(), None);
    assert_eq!(flaw(&"[".repeat(4 << 20)).map(Refusal::status), Some(400));
    assert_eq!(server().post("/v1/batch", &"[".repeat(4 << 20)).err().map(Refusal::status), Some(400));
    assert_eq!(flaw(&" ".repeat((4 << 20) + 1)), Some(Refusal::BodyTooLarge));
}

#[test]
fn a_reused_message_id_never_hides_a_withdrawal() {
    let with = |extra: &str| {
        let body = format!(r#"{{"userId":"u","event":"E","messageId":"m","properties":{{}}{extra}}}"#);
        server().event("/v1/t", &body).content_hash
    };
    let again = r#","sentAt":"2026-11-22T10:00:00Z","_metadata":{"try":2},"writeKey":"WK""#;
    assert_eq!(with(""), with(again));
    let withdrawal = r#","context":{"consent":{"categoryPreferences":{"Advertising":false}}}"#;
    assert_ne!(with(""), with(withdrawal));
    let in_batch = |context: &str| {
        let body = format!(r#"{{"context":{context},"batch":[{{"type":"page","userId":"u","messageId":"m"}}]}}"#);
        let mut items = server().post("/v1/b", &body).map_err(Refusal::code).unwrap().items;
        items.remove(0).map_err(|rejected| rejected.flaw).unwrap().content_hash
    };
    assert_ne!(in_batch("{}"), in_batch(r#"{"consent":{"categoryPreferences":{"Advertising":false}}}"#));
}

#[test]
fn keys_origins_and_paths_are_held_apart() {
    let event = br#"{"userId":"u","event":"E"}"#;
    let status = |collector: &Collector, path: &str, headers: &[(&str, &[u8])]| {
        collector.post_with(path, event, headers).err().map(Refusal::status)
    };
    assert_eq!(status(&server(), "/v1/t", &[]), None);
    assert_eq!(status(&server(), "//v1//t/", &[]), None);
    assert_eq!(status(&server(), "/v1/t", &[("x-write-key", b"other")]), Some(401));
    assert_eq!(status(&server(), "/v1/t", &[("origin", b"null")]), Some(403));
    assert_eq!(status(&server(), "/v1/t", &[("origin", b"https://shop.example")]), None);
    assert_eq!(status(&server(), "/v1/t", &[("content-encoding", b"gzip, gzip")]), Some(415));
    for path in ["/v1/webhook", "/v1/audiencelist", "/v1/t/x", "/v2/track", "/", "/v1/events/x/settings"] {
        assert_eq!(status(&server(), path, &[]), Some(404), "{path}");
    }
    assert_eq!(status(&server(), "/v1/events", &[("content-type", b"application/cloudevents+json")]), Some(401));
    assert_eq!(status(&Collector::new(Protocol::CloudEvents, Trust::Server), "/v1/t", &[]), Some(401));
    assert_eq!(status(&server(), "/sourceConfig", &[]), Some(405));
}

#[test]
fn a_preflight_is_no_handshake_and_the_reverse() {
    let request = |headers| Request { method: "OPTIONS", path: "/v1/events", query: "", headers, body: b"" };
    let both: &[(&str, &[u8])] = &[
        ("webhook-request-origin", b"eventemitter.example"),
        ("access-control-request-method", b"POST"),
        ("origin", b"https://shop.example"),
    ];
    assert!(cors::is_preflight(&request(both)) && !handshake::is_asked(&request(both)));
    assert!(!cors::is_preflight(&request(&both[..1])) && handshake::is_asked(&request(&both[..1])));
    let answer = |headers| handshake::answer(&request(headers), ["eventemitter.example"], 600);
    assert_eq!(answer(&both[..1]).header("webhook-allowed-rate"), Some("600"));
    let twice = [both[0], ("webhook-request-origin", b"stranger.example")];
    assert_eq!(answer(&twice).status, 405);
}

#[test]
fn a_batch_cannot_multiply_itself_through_what_it_says_for_all() {
    let body = |context: &str| {
        let items = vec![r#"{"type":"page","userId":"u"}"#; 2_500].join(",");
        format!(r#"{{"context":{context},"batch":[{items}]}}"#)
    };
    let large = Some(Refusal::Event(Flaw::EventTooLarge));
    let long = format!(r#"{{"locale":"{}"}}"#, "x".repeat(9 << 10));
    assert_eq!(server().post("/v1/b", &body(&long)).err(), large);
    let keys: Vec<String> = (0..129).map(|key| format!(r#""k{key}":1"#)).collect();
    assert_eq!(server().post("/v1/b", &body(&format!("{{{}}}", keys.join(",")))).err(), large);
    let parsed = server().post("/v1/b", &body(r#"{"colour":1,"consent":{"categoryPreferences":{"X":true}}}"#));
    let facts = parsed.map_err(Refusal::code).unwrap().facts();
    assert_eq!(facts.unmapped_consent_ids, 2_500);
    assert_eq!(facts.undeclared, BTreeMap::from([(FieldPath::new("context.colour"), 2_500)]));
}

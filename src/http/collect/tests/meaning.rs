//! What events mean once they are read: whom they name, which values stay, what they say of consent.

use super::*;
use crate::domain::collected::CollectedKind;

fn server() -> Collector {
    Collector::new(Protocol::Segment, Trust::Server)
}

#[test]
fn declared_values_keep_their_text_and_of_the_rest_only_names_remain() {
    let event = server().event(
        "/v1/t",
        r#"{"userId":"u","event":"Bought","properties":{"x":1.10,"total":[1, {"a":2}],"other":"secret",
            "who":{"a@b.c":1,"4915112345678":2}},"context":{"traits":{"email":"\u0061@b.c"},"page":{"url":"/"}}}"#,
    );
    let expected = [
        ("context.page.url", "\"/\""),
        ("event", "\"Bought\""),
        ("properties.total", "[1, {\"a\":2}]"),
        ("properties.x", "1.10"),
        ("traits.email", r#""\u0061@b.c""#),
    ];
    assert_eq!(values(&event), expected);
    let names: Vec<&str> = event.undeclared.iter().map(FieldPath::as_str).collect();
    assert_eq!(names, ["properties.other", "properties.who.*"]);
}

#[test]
fn an_objects_undeclared_members_do_not_hide_in_a_declared_path() {
    let event = server().event("/v1/t", r#"{"userId":"u","event":"E","properties":{"x":{"y":1}}}"#);
    assert_eq!(values(&event), [("event", "\"E\"")]);
}

#[test]
fn a_group_has_traits_of_its_own() {
    let event = server().event(
        "/v1/group",
        r#"{"userId":"u","groupId":7,"traits":{"plan":"pro","email":"no"},"context":{"traits":{"email":"p@b.c"}}}"#,
    );
    let expected = [("group.traits.plan", "\"pro\""), ("groupId", "7"), ("traits.email", "\"p@b.c\"")];
    assert_eq!(values(&event), expected);
    assert_eq!(server().post("/v1/group", r#"{"userId":"u"}"#).err(), Some(malformed()));
}

#[test]
fn numbers_name_people_digit_by_digit_and_other_types_nobody() {
    let big = server().event("/v1/i", r#"{"userId":9007199254740993,"anonymousId":null}"#);
    assert_eq!(identifiers(&big), [("/userId", "9007199254740993")]);
    let left = server().event("/v1/i", r#"{"userId":{"a":1},"anonymousId":"an"}"#);
    assert_eq!(identifiers(&left), [("/anonymousId", "an")]);
    for body in [r#"{"userId":true}"#, r#"{"userId":1.5}"#, r#"{"userId":[],"anonymousId":""}"#] {
        let refusal = server().post("/v1/i", body).err();
        assert_eq!(refusal, Some(Refusal::Event(Flaw::IdentifierInvalid)), "{body}");
    }
    assert_eq!(server().post("/v1/i", r#"{"userId":"","anonymousId":null}"#).err(), Some(malformed()));
}

#[test]
fn an_alias_joins_only_what_differs_and_two_users_only_for_a_server() {
    let same = server().event("/v1/a", r#"{"userId":"u1","previousId":"u1","anonymousId":"an"}"#);
    assert!(same.previous.is_none() && same.kind == CollectedKind::Alias);
    let device = r#"{"userId":"u1","previousId":"an","anonymousId":"an"}"#;
    let public = Collector::new(Protocol::Segment, Trust::Public);
    let kind = public.event("/v1/a", device).previous.map(|previous| previous.kind);
    assert_eq!(kind, Some(IdentifierKind::AnonymousId));
    let users = r#"{"userId":"u2","previousId":"u1"}"#;
    assert_eq!(public.post("/v1/a", users).err(), Some(Refusal::Event(Flaw::NeedsServerKey)));
    let kind = server().event("/v1/a", users).previous.map(|previous| previous.kind);
    assert_eq!(kind, Some(IdentifierKind::UserId));
}

#[test]
fn a_merge_needs_rudderstack_and_a_server_key() {
    let body = r#"{"mergeProperties":[{"type":"email","value":"a@b.c"},{"type":"mobile","value":"+49301"}]}"#;
    let merged = Collector::new(Protocol::Rudderstack, Trust::Server).event("/v1/merge", body);
    assert_eq!(identifiers(&merged), [("/mergeProperties/0/value", "a@b.c")]);
    assert_eq!(merged.previous.map(|previous| previous.kind), Some(IdentifierKind::Phone));
    let public = Collector::new(Protocol::Rudderstack, Trust::Public);
    assert_eq!(public.post("/v1/merge", body).err(), Some(Refusal::Event(Flaw::NeedsServerKey)));
    assert_eq!(server().post("/v1/merge", body).err(), Some(Refusal::Key));
}

#[test]
fn what_a_batch_says_for_all_yields_to_the_item_but_never_for_consent() {
    let parsed = server().post(
        "/v1/b",
        r#"{"context":{"locale":"de","ip":"10.0.0.1","page":{"url":"/all"},"consent":{"categoryPreferences":
              {"Advertising":false,"Analytics":true,"ads":true,"a":true}}},
            "integrations":{"All":false,"Mail":true,"Segment.io":true},"sentAt":"2026-11-22T10:00:10Z",
            "batch":[{"type":"page","userId":"u","timestamp":"2026-11-22T10:00:00Z","context":{"locale":"en","page":null,
              "consent":{"categoryPreferences":{"Advertising":true,"Analytics":true,"ads":true,"a":true}}},
              "integrations":{"Mixpanel":true,"Mail":false}}]}"#,
    );
    let event = parsed.map_err(Refusal::code).unwrap().items.remove(0).map_err(|rejected| rejected.flaw).unwrap();
    assert_eq!(values(&event), [("context.ip", "\"10.0.0.1\""), ("context.locale", "\"en\"")]);
    assert_eq!(says(&event, "ads"), [Says::Allows, Says::Denies]);
    assert_eq!(says(&event, "analytics"), [Says::Allows, Says::Allows]);
    let admits = |name| event.narrowing.admits(&RecipientId::new(name));
    assert!(admits("mixpanel") && !admits("mail") && !admits("other"));
    assert_eq!(event.occurred_at, time::read("2026-11-22T11:59:50Z").unwrap());
}

#[test]
fn what_cannot_be_read_about_recipients_leaves_nobody_in() {
    let of = |integrations: &str| {
        let body = format!(r#"{{"userId":"u","integrations":{integrations}}}"#);
        server().event("/v1/i", &body).narrowing
    };
    let mail = RecipientId::new("mail");
    assert!(of("{}").admits(&mail) && of("[]").admits(&mail) && of("null").admits(&mail));
    assert!(of(r#"{"Mail":{"a":1}}"#).admits(&mail) && of(r#"{"mail":false}"#).admits(&mail));
    for closed in [r#"{"All":false}"#, r#"{"Mail":"no"}"#, r#"{"All":0}"#, "\"none\"", "[1]", "false"] {
        assert!(!of(closed).admits(&mail), "{closed}");
    }
}

#[test]
fn the_preference_event_is_a_choice_and_nothing_without_one() {
    let named = r#""userId":"u","event":"Segment Consent Preference Updated","timestamp":"2026-11-22T12:04:00Z""#;
    let body = format!(r#"{{{named},"context":{{"consent":{{"categoryPreferences":{{"Advertising":false}}}}}}}}"#);
    let event = server().event("/v1/t", &body);
    assert_eq!((event.kind, event.occurred_at), (CollectedKind::ConsentPreference, received()));
    assert_eq!(says(&event, "ads"), [Says::Denies]);
    assert_eq!(says(&event, "analytics"), [Says::Omits]);
    for context in ["{}", r#"{"consent":{}}"#, r#"{"consent":"yes"}"#, r#"{"consent":{"categoryPreferences":[]}}"#] {
        let body = format!(r#"{{{named},"context":{context}}}"#);
        assert_eq!(server().post("/v1/t", &body).err(), Some(malformed()), "{context}");
    }
}

#[test]
fn a_pixel_stands_in_its_query_and_needs_permission() {
    let mut collector = Collector::new(Protocol::Rudderstack, Trust::Public);
    let pixel = |collector: &Collector, query: &str| {
        let request = Request { method: "GET", path: "/pixel/v1/track", query, headers: &[], body: b"" };
        collector.take(&request).map(|mut parsed| parsed.items.remove(0).map_err(|rejected| rejected.flaw).unwrap())
    };
    let query = "writeKey=WK&anonymousId=an%201&event=Mail+opened&x=%22";
    let event = pixel(&collector, query).map_err(Refusal::code).unwrap();
    assert_eq!(identifiers(&event), [("/anonymousId", "an 1")]);
    assert_eq!(values(&event), [("event", "\"Mail opened\""), ("properties.x", r#""\"""#)]);
    let twice = pixel(&collector, "writeKey=WK&event=E&anonymousId=a&anonymousId=b").err();
    assert_eq!(twice, Some(Refusal::Event(Flaw::DuplicateJsonKey)));
    collector.rules.get = false;
    assert_eq!(pixel(&collector, query).err(), Some(Refusal::NotFound));
}

#[test]
fn a_cloud_event_narrows_and_names_whom_its_rule_says() {
    let collector = Collector::new(Protocol::CloudEvents, Trust::Server);
    let post = |event: &str| {
        collector.post_with("/v1/events", event.as_bytes(), &[("content-type", b"application/cloudevents+json")])
    };
    let record = "6f0e2a5c-3c8b-4a5e-9d4f-000000000001";
    let parsed = post(&format!(
        r#"{{"specversion":"1.0","id":"1","source":"/s","type":"shop.customer.new","subject":"order/1","dsubject":"u1",
            "consentpurposes":"ads, analytics","consentrecord":"{record}","region":"EU","weather":7,"data":{{"a":1,"b":2}}}}"#
    ));
    let event = parsed.map_err(Refusal::code).unwrap().items.remove(0).map_err(|rejected| rejected.flaw).unwrap();
    assert_eq!(event.kind, CollectedKind::Identify);
    assert_eq!(identifiers(&event), [("/dsubject", "u1")]);
    assert_eq!(event.identifiers[0].namespace, "shop");
    assert_eq!(values(&event), [("ce.region", "\"EU\""), ("ce.subject", "\"order/1\""), ("data.a", "1")]);
    let names: Vec<&str> = event.undeclared.iter().map(FieldPath::as_str).collect();
    assert_eq!(names, ["data.b", "ce.weather"]);
    assert_eq!(event.purposes.map(|purposes| purposes.len()), Some(2));
    assert_eq!(event.consent_record.map(|record| record.to_string()).as_deref(), Some(record));
    let broken = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","consentrecord":"mine"}"#;
    assert_eq!(post(broken).err(), Some(malformed()));
}

#[test]
fn data_that_is_not_json_is_dropped_and_named() {
    let collector = Collector::new(Protocol::CloudEvents, Trust::Server);
    let post = |event: &str| {
        let parsed = collector.post_with(
            "/v1/events",
            event.as_bytes(),
            &[("content-type", b"application/cloudevents+json")],
        )?;
        Ok::<_, Refusal>(parsed.facts().undeclared.into_keys().map(|name| name.to_string()).collect::<Vec<_>>())
    };
    let event = |data: &str| format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t",{data}}}"#);
    for dropped in [
        r#""data_base64":"AAEC""#,
        r#""data_base64":"eyJhIjoxfQ==","datacontenttype":"text/plain""#,
        r#""data":"<a/>","datacontenttype":"application/xml""#,
    ] {
        assert_eq!(post(&event(dropped)), Ok(vec!["data".to_owned()]), "{dropped}");
    }
    assert_eq!(post(&event(r#""data_base64":"eyJhIjoxfQ==""#)), Ok(Vec::new()));
    assert_eq!(post(&event(r#""data":{"a":{"b":1,"b":2}}"#)), Err(Refusal::Event(Flaw::DuplicateJsonKey)));
    // {"a":1,"a":2}
    let hidden = r#""data_base64":"eyJhIjoxLCJhIjoyfQ==""#;
    assert_eq!(post(&event(hidden)), Err(Refusal::Event(Flaw::DuplicateJsonKey)));
}

fn malformed() -> Refusal {
    Refusal::Event(Flaw::Malformed)
}

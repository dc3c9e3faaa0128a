//! Whatever arrives, one bad thing costs only itself, and nobody learns what is none of their
//! business.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::both;
use crate::harness::Wish;
use crate::harness::store::Store;
use crate::harness::wire::{Answer, Sent, connect, exchange};
use crate::wire::{clients_policy, corpus, gzip};

both! {
    async fn what_is_no_event_is_refused_whole_and_nothing_is_stored(gateway: TestGateway) {
        let key = gateway.key("shop-server").await;
        let mut store = Store::open(gateway.house.database.location());
        let before = store.counts();
        for (path, body, status, code) in [
            ("/v1/track", &b""[..], 400, "event_malformed"),
            ("/v1/track", b"null", 400, "event_malformed"),
            ("/v1/track", b"{", 400, "event_malformed"),
            ("/v1/track", b"{}", 400, "event_malformed"),
            ("/v1/track", br#"{"userId":"u","event":"E"#, 400, "event_malformed"),
            ("/v1/track", br#"{"userId":"u","event":7}"#, 400, "event_malformed"),
            ("/v1/track", br#"{"event":"E"}"#, 400, "event_malformed"),
            ("/v1/track", br#"{"userId":"u","userId":"v","event":"E"}"#, 400, "duplicate_json_key"),
            ("/v1/track", b"{\"userId\":\"\xff\xfe\",\"event\":\"E\"}", 400, "event_malformed"),
            ("/v1/track", b"\xff\xfe{\0}\0", 400, "event_malformed"),
            ("/v1/identify", br#"{"userId":"a\u0000b"}"#, 400, "event_malformed"),
            ("/v1/identify", br#"{"userId":"\ud800"}"#, 400, "event_malformed"),
            ("/v1/batch", b"[]", 400, "malformed_body"),
            ("/v1/batch", br#"{"batch":{}}"#, 400, "malformed_body"),
            ("/v1/batch", br#"{"batch":[{"type":"track"}"#, 400, "malformed_body"),
            ("/v1/batch", br#"{"other":[]}"#, 400, "malformed_body"),
            ("/v1/batch", b"\x1f\x8b\x08\0\0\0\0\0\0\0garbage", 400, "malformed_body"),
        ] {
            let answer = Sent::post(path, body).key(&key).to(&gateway.url).await;
            let shown = String::from_utf8_lossy(body).into_owned();
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path} {shown}: {}", answer.text());
            is_a_problem(&answer);
        }
        for (coding, status) in [("gzip, gzip", 415), ("br, gzip", 415), ("compress", 415), ("aws-chunked", 415)] {
            let answer = Sent::post("/v1/batch", br#"{"batch":[]}"#.to_vec()).key(&key).header("content-encoding", coding).to(&gateway.url).await;
            assert_eq!(answer.status, status, "{coding}");
        }
        let half = gzip(br#"{"batch":[{"type":"track","userId":"u","event":"E"}]}"#);
        let answer = Sent::post("/v1/batch", &half[..half.len() / 2]).key(&key).to(&gateway.url).await;
        assert_eq!(answer.status, 400);
        assert_eq!(store.counts(), before, "something was stored");
    }

    async fn size_is_bounded_as_received_and_as_decoded(gateway: TestGateway) {
        let key = gateway.key("shop-server").await;
        let mut store = Store::open(gateway.house.database.location());
        let before = store.counts();
        let too_large = vec![b' '; (4 << 20) + 1];
        for chunked in [false, true] {
            let mut sent = Sent::post("/v1/batch", too_large.clone()).key(&key);
            sent.chunked = chunked;
            let answer = sent.to(&gateway.url).await;
            assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"), "{}", answer.text());
            is_a_problem(&answer);
        }
        let bomb = gzip(&vec![b'['; 64 << 20]);
        assert!(bomb.len() < 1 << 20, "the bomb is small on the wire");
        let began = Instant::now();
        let answer = Sent::post("/v1/batch", bomb).key(&key).header("content-encoding", "gzip").to(&gateway.url).await;
        assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
        assert!(began.elapsed() < Duration::from_secs(10), "the bomb was defused late");
        let many: Vec<Value> = (0..2_501).map(|n| json!({"type":"track","event":"E","userId":"u","messageId":n.to_string()})).collect();
        let answer = Sent::post("/v1/batch", json!({"batch": many}).to_string()).key(&key).to(&gateway.url).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "batch_too_long"));
        let deep = format!(r#"{{"userId":"u","event":"E","properties":{}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
        let answer = Sent::post("/v1/track", deep).key(&key).to(&gateway.url).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "event_too_large"));
        let wide: BTreeMap<String, u32> = (0..2_001).map(|n| (n.to_string(), n)).collect();
        let answer = Sent::post("/v1/track", json!({"userId":"u","event":"E","properties":wide}).to_string()).key(&key).to(&gateway.url).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "event_too_large"));
        let answer = Sent::post("/v1/track", "{}").key(&key).header("x-filling", "x".repeat(200 << 10)).to(&gateway.url).await;
        assert!(matches!(answer.status, 400 | 431), "a header block of 200 KiB was answered {}", answer.status);
        assert_eq!(store.counts(), before, "something was stored");
    }

    async fn one_broken_event_costs_only_itself(gateway: TestGateway) {
        gateway.leaves_open(&[("analytics-eu", 190), ("helpdesk-us", 190), ("letterbox", 190), ("warehouse", 190)]);
        let key = gateway.key("shop-server").await;
        let nested = format!("{}1{}", "[".repeat(65), "]".repeat(65));
        let broken = [
            (r#"{"type":"track","userId":"u"}"#.to_owned(), "event_malformed"),
            (r#"{"type":"unheard","userId":"u"}"#.to_owned(), "event_malformed"),
            (r#"7"#.to_owned(), "event_malformed"),
            (r#"{"type":"track","event":"E"}"#.to_owned(), "event_malformed"),
            (r#"{"type":"track","event":"E","userId":{"a":1}}"#.to_owned(), "identifier_invalid"),
            (r#"{"type":"track","event":"E","userId":"u","userId":"u"}"#.to_owned(), "duplicate_json_key"),
            (r#"{"type":"track","event":"E","userId":"u","context":{"consent":{"a":1,"a":2}}}"#.to_owned(), "duplicate_json_key"),
            (format!(r#"{{"type":"track","event":"E","userId":"u","properties":{nested}}}"#), "event_too_large"),
            (format!(r#"{{"type":"track","event":"{}","userId":"u"}}"#, "x".repeat(33 << 10)), "event_too_large"),
            (format!(r#"{{"type":"track","event":"E","userId":"u","messageId":"{}"}}"#, "m".repeat(257)), "event_malformed"),
        ];
        for (turn, (item, code)) in broken.iter().enumerate() {
            let user = gateway.canary("user");
            let mut items: Vec<String> = (0..20)
                .map(|n| json!({"type":"track","event":"E","userId":user,"messageId":format!("{turn}-{n}"),"properties":{"order_id":n.to_string()}}).to_string())
                .collect();
            items[7].clone_from(item);
            let answer = Sent::post("/v1/batch", format!(r#"{{"batch":[{}]}}"#, items.join(","))).key(&key).to(&gateway.url).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let verdicts = answer.verdicts();
            assert_eq!(verdicts.len(), 20);
            for (place, verdict) in verdicts.iter().enumerate() {
                assert_eq!(verdict, if place == 7 { "rejected" } else { "accepted" }, "{place} of {}", answer.text());
            }
            let json = answer.json();
            assert_eq!(json["results"][7]["index"], 7);
            let said = json["results"][7]["code"].as_str().unwrap_or_default();
            assert!(said == *code || item.len() > 256 && said == "event_too_large", "{item:.80}: {said}, not {code}");
        }
    }

    async fn hostile_identifiers_harm_nobody(gateway: TestGateway) {
        gateway.leaves_open(&[("analytics-eu", 1), ("helpdesk-us", 40), ("letterbox", 40), ("warehouse", 41)]);
        let key = gateway.key("shop-server").await;
        let mut store = Store::open(gateway.house.database.location());
        for (turn, user) in [
            "\u{202e}gro.elpmaxe@anna".to_owned(),
            "a\u{200d}b\u{feff}".to_owned(),
            "'; DROP TABLE subject; --".to_owned(),
            "%00%s%n{}\\\"".to_owned(),
            "../../../../etc/passwd".to_owned(),
            "\u{1f469}\u{200d}\u{1f4bb}".to_owned(),
            "e\u{0301}\u{0301}\u{0301}".repeat(60),
            "\u{1}\u{7f}\u{85}".to_owned(),
            "x".repeat(10 << 10),
            "null".to_owned(),
            "0".to_owned(),
            " ".to_owned(),
        ].into_iter().enumerate() {
            for email in ["x@example.org".to_owned(), format!("{}@example.org", "e".repeat(10 << 10)), format!("a@{}", "b.".repeat(200)), "a@b@c".to_owned(), "\u{202e}@\u{202e}".to_owned()] {
                let body = json!({"userId": user, "traits": {"email": email, "name": "N\u{202e}"}, "messageId": format!("h-{turn}-{}", email.len())});
                let answer = Sent::post("/v1/identify", body.to_string()).key(&key).to(&gateway.url).await;
                assert!(matches!(answer.status, 200 | 400), "{user:?} {email:.20}: {}", answer.text());
                if answer.status == 400 {
                    is_a_problem(&answer);
                }
            }
        }
        assert!(store.count("subject") > 0, "the tables are still there");
        // A value for a column in the clear: no back end may stumble over what JSON can hold.
        let body = json!({"userId": gateway.canary("user"), "event": "\u{7f}\u{202e}\u{10ffff}", "properties": {"currency": "\u{1}\u{fffe}", "quantity": 1e308}});
        let answer = Sent::post("/v1/track", body.to_string()).key(&key).to(&gateway.url).await;
        assert_eq!(answer.verdicts(), ["accepted"], "{}", answer.text());
    }

    async fn clocks_far_off_are_believed_as_far_as_they_can_be(gateway: TestGateway) {
        gateway.leaves_open(&[("analytics-eu", 9), ("helpdesk-us", 9), ("letterbox", 9), ("warehouse", 9)]);
        let key = gateway.key("shop-server").await;
        let user = gateway.canary("user");
        for (turn, (timestamp, sent_at)) in [
            (json!("9999-12-31T23:59:59Z"), json!("9999-12-31T23:59:59Z")),
            (json!("0001-01-01T00:00:00Z"), json!(null)),
            (json!("1969-12-31T23:59:59-14:00"), json!("2026-01-01T00:00:00Z")),
            (json!(-1), json!(1)),
            (json!(99_999_999_999_999_999_u64), json!(0)),
            (json!(1e300), json!("never")),
            (json!(""), json!("")),
            (json!({"a": 1}), json!([])),
            (json!("2026-02-30T25:61:61Z"), json!("x".repeat(5_000))),
        ].into_iter().enumerate() {
            let body = json!({"type":"track","event":"E","userId":user,"messageId":format!("c-{turn}"),"timestamp":timestamp,"sentAt":sent_at,"properties":{"order_id":"1"}});
            let answer = Sent::post("/v1/track", body.to_string()).key(&key).to(&gateway.url).await;
            assert!(matches!(answer.status, 200 | 400), "{body}: {}", answer.text());
        }
        let mut store = Store::open(gateway.house.database.location());
        let late = store.number("SELECT count(*) FROM record WHERE occurred_at > collected_at");
        assert_eq!(late, 0, "something happened after it was received");
    }

    async fn wrong_credentials_are_all_alike(gateway: TestGateway) {
        gateway.leaves_open(&[("analytics-eu", 1)]);
        let key = gateway.key("shop-server").await;
        let rudder = gateway.key("shop-rudder").await;
        let gone = gateway.key("shop-server").await;
        let disabled = gateway.house.collector_of(&gone).expect("live").token;
        assert!(gateway.house.disable_token(disabled).await.expect("disabled"));
        let body = format!(r#"{{"userId":"{}","event":"E"}}"#, gateway.canary("user"));
        let with = |body: &str| Sent::post("/v1/track", body);
        let mut altered = key.clone();
        let last = altered.pop().expect("text");
        altered.push(if last == 'A' { 'B' } else { 'A' });
        let requests = [
            ("none", with(&body)),
            ("empty", with(&body).key("")),
            ("unknown", with(&body).key("nobody")),
            ("altered", with(&body).key(&altered)),
            ("disabled", with(&body).key(&gone)),
            ("not base64", with(&body).header("authorization", "Basic !!!")),
            ("another scheme", with(&body).header("authorization", format!("Digest {key}"))),
            ("not UTF-8", with(&body).header("x-write-key", b"\xff\xfe")),
            ("two that differ", with(&body).key(&key).header("x-write-key", "other")),
            ("two in one header", with(&body).key(&key).key(&rudder)),
            ("another in the body", with(&body.replacen('{', r#"{"writeKey":"other","#, 1)).key(&key)),
            ("a number in the body", with(&body.replacen('{', r#"{"writeKey":7,"#, 1)).key(&key)),
            ("another in the query", Sent { target: "/v1/track?writeKey=other".to_owned(), ..with(&body).key(&key) }),
            ("another protocol's", Sent { target: "/v1/merge".to_owned(), ..with(&body).key(&key) }),
            ("for CloudEvents", Sent { target: "/v1/events".to_owned(), ..with(&body).key(&key) }),
        ];
        let mut store = Store::open(gateway.house.database.location());
        let before = store.count("record");
        let mut said = None;
        for (name, request) in requests {
            let answer = request.to(&gateway.url).await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "unauthenticated"), "{name}: {}", answer.text());
            let told = (comparable(&answer), answer.body);
            assert_eq!(&told, said.get_or_insert_with(|| told.clone()), "{name} is told more than others");
        }
        assert_eq!(store.count("record"), before);
        let twice = with(&body.replacen('{', &format!(r#"{{"writeKey":"{key}","#), 1)).key(&key).header("authorization", format!("Bearer {key}"));
        assert_eq!(twice.to(&gateway.url).await.status, 200, "the same key twice is one key");
        let origin = with(&body).key(&key).header("origin", "https://evil.example").to(&gateway.url).await;
        assert_eq!((origin.status, origin.code().as_str()), (403, "origin_not_allowed"));
        assert_eq!(origin.header("access-control-allow-origin"), None);
    }

    async fn a_body_that_does_not_come_is_not_waited_for(gateway: TestGateway = Wish { body_time: Duration::from_millis(300), ..Wish::default() }) {
        gateway.leaves_open(&[("analytics-eu", 1), ("helpdesk-us", 1), ("letterbox", 1), ("warehouse", 1)]);
        let key = gateway.key("shop-server").await;
        let mut sent = Sent::post("/v1/track", "x".repeat(1_000)).key(&key);
        let mut stream = connect(&gateway.url).await;
        stream.write_all(&sent.head()).await.expect("head");
        stream.write_all(b"{\"user").await.expect("a part");
        let mut answered = Vec::new();
        let began = Instant::now();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answered).await.ok();
        assert!(began.elapsed() < Duration::from_secs(10), "the connection was held");
        // Nothing, or an answer that every client takes as: send it again.
        assert!(Answer::parse(&answered).is_none_or(|answer| answer.status == 429), "{}", String::from_utf8_lossy(&answered));
        // One that hangs up in the middle harms nobody else.
        let mut stream = connect(&gateway.url).await;
        stream.write_all(&sent.head()).await.expect("head");
        drop(stream);
        sent.body = format!(r#"{{"userId":"{}","event":"E","properties":{{"order_id":"1"}}}}"#, gateway.canary("user")).into_bytes();
        assert_eq!(sent.to(&gateway.url).await.verdicts(), ["accepted"]);
    }

    async fn a_body_in_broken_chunks_is_not_waited_for(gateway: TestGateway = Wish { body_time: Duration::from_millis(300), ..Wish::default() }) {
        let key = gateway.key("shop-server").await;
        for rest in [&b"{\"a\":1}"[..], b"zz\r\n", b"5\r\nab", b"ffffffffffffffffff\r\n", b"-1\r\n\r\n"] {
            let mut sent = Sent::post("/v1/track", "").key(&key);
            sent.chunked = true;
            let bytes = [sent.head().as_slice(), rest].concat();
            let began = Instant::now();
            let answer = exchange(&gateway.url, &bytes).await;
            let shown = String::from_utf8_lossy(rest).into_owned();
            assert!(began.elapsed() < Duration::from_secs(15), "{shown:?}: the connection was held");
            assert!(answer.is_none_or(|answer| matches!(answer.status, 400 | 429)), "{shown:?}");
        }
        // Whoever has no key is not read to the end either.
        let mut sent = Sent::post("/v1/track", "").key("nobody");
        sent.chunked = true;
        let began = Instant::now();
        let answer = exchange(&gateway.url, &[sent.head().as_slice(), b"5\r\nab"].concat()).await;
        assert!(answer.is_none_or(|answer| answer.status == 401));
        assert!(began.elapsed() < Duration::from_secs(15), "the connection was held");
    }

    async fn a_public_key_learns_nothing_about_a_person(gateway: TestGateway) {
        gateway.leaves_open(&[("analytics-eu", 5)]);
        let server = gateway.key("shop-server").await;
        let public = gateway.key("shop-web").await;
        let event = |user: &str, anonymous: &str, more: Value| {
            let mut event = json!({"type":"track","event":"E","userId":user,"anonymousId":anonymous,"messageId":"m","properties":{"url":"https://shop.example/"}});
            for (name, value) in more.as_object().expect("object") {
                event[name] = value.clone();
            }
            event
        };
        let [unknown, known, objecting] = ["unknown", "known", "objecting"].map(|stem| gateway.canary(stem));
        assert_eq!(gateway.post(&server, "/v1/track", &event(&known, "a-known", json!({}))).await.0, 200);
        let objects = json!({"context":{"consent":{"categoryPreferences":{"Advertising":false,"Analytics":false}}}});
        assert_eq!(gateway.post(&server, "/v1/track", &event(&objecting, "a-objecting", objects)).await.0, 200);

        let mut said: BTreeMap<String, (Vec<(String, String)>, Vec<u8>)> = BTreeMap::new();
        for (user, anonymous) in [(&unknown, "a-unknown"), (&known, "a-known"), (&objecting, "a-objecting")] {
            for (name, more) in [
                ("an event", json!({})),
                ("the same again", json!({})),
                ("with consent", json!({"context":{"consent":{"categoryPreferences":{"Advertising":true,"Analytics":true}}}})),
                ("with a refusal", json!({"context":{"consent":{"categoryPreferences":{"Advertising":false,"Analytics":false}}}})),
                ("with a broken signal", json!({"context":{"consent":{"categoryPreferences":7}}})),
                ("an undeclared field alone", json!({"properties":{"secret_of_ours":1}})),
            ] {
                for path in ["/v1/t", "/v1/batch"] {
                    let body = event(user, anonymous, more.clone());
                    let body = if path == "/v1/batch" { json!({"batch":[body]}) } else { body };
                    let answer = Sent::post(path, body.to_string()).key(&public).header("origin", "https://shop.example").to(&gateway.url).await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    let told = (comparable(&answer), answer.body);
                    let first = said.entry(format!("{name} {path}")).or_insert_with(|| told.clone());
                    assert_eq!(&told, first, "{name} at {path}: the answer tells who it is about");
                }
            }
        }
    }

    async fn mutated_requests_of_real_clients_never_break_the_door(gateway: TestGateway = clients_policy()) {
        gateway.leaves_any_open();
        let requests = corpus(&gateway).await;
        let long = std::env::var_os("AMANAT_TEST_LONG").is_some();
        let seed = std::env::var("AMANAT_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(fresh_seed);
        let mut dice = Dice(seed);
        let began = Instant::now();
        let mut turns = 0_u32;
        while if long { began.elapsed() < Duration::from_secs(3_600) } else { turns < 300 } {
            turns += 1;
            let mut request = requests[dice.below(requests.len())].clone();
            let at_first = dice.0;
            request.chunked = false;
            mutate(&mut request, &mut dice);
            let shown = format!("AMANAT_TEST_SEED={seed}, turn {turns}, dice {at_first}");
            let mut bytes = request.head();
            bytes.extend_from_slice(&request.body);
            // A head that is no HTTP any more may be hung up on.
            let Some(answer) = exchange(&gateway.url, &bytes).await else { continue };
            assert!(answer.status < 500, "{shown}: {}", answer.text());
            match answer.status {
                200 if answer.text() == "ok" => {}
                200 => {
                    for verdict in answer.verdicts() {
                        assert!(["accepted", "duplicate", "refused", "rejected"].contains(&verdict.as_str()), "{shown}: {verdict}");
                    }
                }
                // What the server itself answers to a head that is no HTTP has no body.
                400 | 401 | 403 | 404 | 405 | 413 | 415 | 417 | 431 => {
                    assert!(answer.body.is_empty() || !answer.code().is_empty(), "{shown}: {}", answer.text());
                }
                other => panic!("{shown}: status {other}: {}", answer.text()),
            }
        }
        let key = gateway.key("shop-server").await;
        let body = json!({"userId": gateway.canary("user"), "event": "E", "properties": {"order_id": "1"}});
        let (status, answer) = gateway.post(&key, "/v1/track", &body).await;
        assert_eq!((status, answer["results"][0]["verdict"].as_str()), (200, Some("accepted")), "the door still works");
    }
}

/// What SDKs need to tell a final refusal from a fault of the network.
fn is_a_problem(answer: &Answer) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let json = answer.json();
    assert_eq!(json["status"], answer.status);
    assert_eq!(json["message"], json["title"]);
    assert_eq!(json["type"], format!("urn:amanat:problem:{}", answer.code()));
}

/// The headers without what changes with the clock.
fn comparable(answer: &Answer) -> Vec<(String, String)> {
    let mut headers = answer.headers.clone();
    headers.retain(|(name, _)| name != "date");
    headers.sort();
    headers
}

/// xorshift64*: a test repeats from its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(end.max(1)).expect("size")).expect("size")
    }
}

fn fresh_seed() -> u64 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    u64::from_le_bytes(bytes[..8].try_into().expect("eight")) | 1
}

fn mutate(request: &mut Sent, dice: &mut Dice) {
    const HOSTILE: &[&[u8]] = &[
        b"\0",
        b"\xff",
        b"\"",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\\u0000",
        b"\\ud800",
        b"null",
        b"-0",
        b"1e999",
        b"\xe2\x80\xae",
        b"\xef\xbb\xbf",
        b"\x1f\x8b",
        b"%",
        b"99999999999999999999",
        b"true",
        b"\"a\":1,\"a\":2",
    ];
    for _ in 0..=dice.below(4) {
        let body = &mut request.body;
        let at = dice.below(body.len() + 1);
        match dice.below(9) {
            0 if at < body.len() => body[at] ^= 1 << dice.below(8),
            1 if at < body.len() => body[at] = u8::try_from(dice.below(256)).expect("byte"),
            2 => body.truncate(at),
            3 => {
                let hostile = HOSTILE[dice.below(HOSTILE.len())];
                body.splice(at..at, hostile.iter().copied());
            }
            4 => {
                let end = (at + dice.below(64)).min(body.len());
                body.drain(at..end);
            }
            5 => {
                let end = (at + dice.below(256)).min(body.len());
                let copy = body[at..end].to_vec();
                let to = dice.below(body.len() + 1);
                body.splice(to..to, copy);
            }
            6 if !request.headers.is_empty() => {
                let place = dice.below(request.headers.len());
                let value = &mut request.headers[place].1;
                let at = dice.below(value.len() + 1);
                let byte = u8::try_from(dice.below(256)).expect("byte");
                if byte != b'\r' && byte != b'\n' {
                    value.insert(at, byte);
                }
            }
            7 if !request.headers.is_empty() => {
                let place = dice.below(request.headers.len());
                let copy = request.headers[place].clone();
                request.headers.push(copy);
            }
            _ => {
                let codings = ["gzip", "br", "deflate", "zstd", "identity"];
                request.headers.push(("content-encoding".to_owned(), codings[dice.below(codings.len())].into()));
            }
        }
    }
}

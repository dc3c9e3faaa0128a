//! The unmodified SDKs against a gateway on loopback. They need what `tests/run --set-up` installs.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::both;
use crate::harness::store::Store;
use crate::harness::{TestGateway, client_tool};

/// A driver and the collector whose key it is given.
const DRIVERS: &[(&str, &str)] = &[
    ("segment_node.mjs", "shop-server"),
    ("segment_python.py", "shop-server"),
    ("segment_browser.mjs", "shop-web"),
    ("rudder_node.mjs", "shop-rudder"),
    ("rudder_python.py", "shop-rudder"),
    ("cloudevents_node.mjs", "shop-events"),
    ("cloudevents_python.py", "shop-events"),
];

both! {
    #[ignore = "needs the SDKs"]
    async fn real_clients_work_unmodified(gateway: TestGateway) {
        gateway.leaves_any_open();
        for (driver, collector) in DRIVERS {
            let before = taken(&gateway);
            let report = drive(&gateway, driver, collector, &gateway.url).await;
            let all_at_once = (&report["sent"], &Value::Array(Vec::new()));
            assert_eq!((&report["succeeded"], &report["errors"]), all_at_once, "{driver}: {report}");
            assert_eq!(taken(&gateway) - before, report["sent"].as_i64().expect("number"), "{driver}: {report}");
        }
    }

    #[ignore = "needs the SDKs"]
    async fn real_clients_lose_and_double_nothing_when_they_must_come_again(gateway: TestGateway) {
        gateway.leaves_any_open();
        for (driver, collector) in DRIVERS.iter().filter(|(driver, _)| !driver.starts_with("cloudevents")) {
            let before = taken(&gateway);
            let url = bad_road(&gateway.url).await;
            let report = drive(&gateway, driver, collector, &url).await;
            assert_eq!(taken(&gateway) - before, report["sent"].as_i64().expect("number"), "{driver}: {report}");
        }
    }
}

/// Events taken in, each once.
fn taken(gateway: &TestGateway) -> i64 {
    Store::open(gateway.house.database.location()).count("seen_event")
}

/// Runs a driver to its end and gives its report.
async fn drive(gateway: &TestGateway, driver: &str, collector: &str, url: &str) -> Value {
    let key = gateway.key(collector).await;
    let (program, path) = client_tool(driver);
    let mut command = Command::new(&program);
    command
        .arg(path)
        .args([url, &key])
        .env("CANARY_USER_ID", gateway.canary("user"))
        .env("CANARY_ANONYMOUS_ID", gateway.canary("device"))
        .env("CANARY_EMAIL", format!("{}@example.org", gateway.canary("anna")))
        .env("CANARY_NAME", gateway.canary("Anna"))
        // One of the origins that the example policy lists.
        .env("PAGE_ORIGIN", "http://localhost:3000")
        .env("NO_PROXY", "*")
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("thread");
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let report: Value =
        report.unwrap_or_else(|| panic!("{driver} said {said}{}", String::from_utf8_lossy(&output.stderr)));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(report["succeeded"], report["sent"], "{driver}: {report}\n{errors}");
    report
}

/// A road to the gateway that refuses a sender's first try with 429, swallows the answer to the
/// second although the gateway took the events, and lets the rest through.
async fn bad_road(url: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = format!("http://{}", listener.local_addr().expect("address"));
    let to = url.trim_start_matches("http://").to_owned();
    let tries = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (to, tries) = (to.clone(), Arc::clone(&tries));
            tokio::spawn(async move { pass_on(stream, &to, &tries).await });
        }
    });
    address
}

async fn pass_on(mut stream: TcpStream, to: &str, tries: &AtomicUsize) {
    let Some(request) = one_request(&mut stream).await else { return };
    let counts = request.starts_with(b"POST");
    let turn = if counts { tries.fetch_add(1, Ordering::SeqCst) } else { usize::MAX };
    if turn == 0 {
        // The page that sent it may read the refusal only with the headers that the gateway gives.
        let head = String::from_utf8_lossy(&request).into_owned();
        let origin =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("origin: ").map(str::to_owned));
        let origin = origin.map_or_else(String::new, |origin| {
            format!("access-control-allow-origin: {origin}\r\naccess-control-expose-headers: retry-after\r\n")
        });
        let answer = format!(
            "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\n{origin}content-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.ok();
        return;
    }
    let Ok(mut gateway) = TcpStream::connect(to).await else { return };
    let mut answer = Vec::new();
    if gateway.write_all(&request).await.is_err() || gateway.read_to_end(&mut answer).await.is_err() {
        return;
    }
    if turn != 1 {
        stream.write_all(&answer).await.ok();
    }
}

/// A whole request, told to be the last of its connection.
async fn one_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut received = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        assert!(Instant::now() < deadline, "a request has no end");
        let mut buffer = [0; 16 << 10];
        let read = stream.read(&mut buffer).await.ok()?;
        received.extend_from_slice(&buffer[..read]);
        let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
            if read == 0 {
                return None;
            }
            continue;
        };
        let head = String::from_utf8_lossy(&received[..end]).into_owned();
        let headers: BTreeMap<String, String> = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let body = &received[end + 4..];
        let whole = match headers.get("content-length") {
            Some(length) => body.len() >= length.parse::<usize>().ok()?,
            None if headers.contains_key("transfer-encoding") => body.ends_with(b"0\r\n\r\n"),
            None => true,
        };
        if whole {
            let lines = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
            let mut request = lines.collect::<Vec<_>>().join("\r\n").into_bytes();
            request.extend_from_slice(b"\r\nconnection: close\r\n\r\n");
            request.extend_from_slice(body);
            return Some(request);
        }
        if read == 0 {
            return None;
        }
    }
}

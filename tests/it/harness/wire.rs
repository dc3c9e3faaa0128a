//! HTTP/1.1 by hand: a test decides every byte that goes over the wire, and when.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What is sent.
#[derive(Clone, Default)]
pub struct Sent {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// Without `Content-Length`, in chunks.
    pub chunked: bool,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Sent {
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST".to_owned(), target: target.to_owned(), body: body.into(), ..Self::default() }
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// With a write key as most SDKs give it.
    pub fn key(self, key: &str) -> Self {
        let value = format!("Basic {}", data_encoding::BASE64.encode(format!("{key}:").as_bytes()));
        self.header("authorization", value)
    }

    /// The head as it stands on the wire.
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n", self.method, self.target)
            .into_bytes();
        for (name, value) in &self.headers {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        if self.chunked {
            head.extend_from_slice(b"transfer-encoding: chunked\r\n");
        } else if self.method == "POST" {
            head.extend_from_slice(format!("content-length: {}\r\n", self.body.len()).as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Sends it to a gateway at `http://address`.
    pub async fn to(&self, url: &str) -> Answer {
        let mut bytes = self.head();
        if self.chunked {
            for part in self.body.chunks(self.body.len().div_ceil(2).max(1)) {
                bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                bytes.extend_from_slice(part);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(&self.body);
        }
        exchange(url, &bytes).await.expect("an answer")
    }
}

/// Sends bytes and reads an answer; `None` if the connection ends without one.
pub async fn exchange(url: &str, bytes: &[u8]) -> Option<Answer> {
    let mut stream = connect(url).await;
    let (mut reader, mut writer) = stream.split();
    // A server that refuses early stops reading, so what it says is read while we still write.
    let mut received = Vec::new();
    let both = async {
        let write = async {
            // It may hang up on us; what counts is what it said before.
            if writer.write_all(bytes).await.is_ok() {
                writer.flush().await.ok();
            }
        };
        let read = async { reader.read_to_end(&mut received).await.ok() };
        tokio::join!(write, read);
    };
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("the connection ends");
    Answer::parse(&received)
}

pub async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.trim_start_matches("http://")).await.expect("connection")
}

impl Answer {
    pub fn parse(received: &[u8]) -> Option<Self> {
        let end = received.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&received[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        if status == 100 {
            return Self::parse(&received[end + 4..]);
        }
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut body = received[end + 4..].to_vec();
        if headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked") {
            body = unchunked(&body);
        }
        Some(Self { status, headers, body })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The verdicts, in order.
    pub fn verdicts(&self) -> Vec<String> {
        let json = self.json();
        let results = json["results"].as_array().cloned().unwrap_or_default();
        results.iter().map(|result| result["verdict"].as_str().unwrap_or("?").to_owned()).collect()
    }

    /// The code of a problem.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = String::from_utf8_lossy(&rest[..end]).into_owned();
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        if size == 0 || rest.len() < end + 2 + size {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[(end + 4 + size).min(rest.len())..];
    }
    body
}

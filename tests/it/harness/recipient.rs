//! A recipient on loopback that writes down what reaches it, and when.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use amanat::delivery::budget::Budget;
use amanat::delivery::guard::GuardRules;
use amanat::delivery::message::MessageFormat;
use amanat::delivery::signing::SigningSecret;
use amanat::delivery::webhook::WebhookSettings;
use amanat::domain::id::RecipientId;
use amanat::gateway::dispatch::{RecipientAddress, Way};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// One message that arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When its last byte was read.
    pub at: Instant,
    pub id: String,
    pub body: Value,
}

/// What the recipient answers next; 204 when nothing is left.
pub type Script = VecDeque<u16>;

/// A recipient with an address.
#[derive(Clone)]
pub struct Recipient {
    pub port: u16,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    script: Arc<Mutex<Script>>,
    /// How long it thinks before it answers.
    pause: Duration,
}

impl Recipient {
    /// Opens its door.
    pub async fn open(pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let port = listener.local_addr().expect("address").port();
        let recipient = Self { port, arrivals: Arc::default(), script: Arc::default(), pause };
        let host = recipient.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let host = host.clone();
                tokio::spawn(async move { host.serve(stream).await });
            }
        });
        recipient
    }

    /// What it answers from now on.
    pub fn will_answer(&self, statuses: impl IntoIterator<Item = u16>) {
        *self.script.lock().expect("script") = statuses.into_iter().collect();
    }

    pub fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.lock().expect("arrivals").clone()
    }

    /// Its address under an id of the policy.
    pub fn address(&self, recipient: &str, concurrent: u32) -> RecipientAddress {
        RecipientAddress {
            recipient: RecipientId::new(recipient),
            way: Way::Webhook(WebhookSettings {
                url: format!("http://127.0.0.1:{}/hook", self.port),
                format: MessageFormat::Standard,
                secrets: vec![
                    SigningSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").expect("secret"),
                ],
                guard: GuardRules { allow_loopback: true, ports: vec![self.port], ..GuardRules::default() },
            }),
            budget: Budget { concurrent, ..Budget::default() },
        }
    }

    async fn serve(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some((id, body)) = read(&mut stream).await {
            let body = serde_json::from_slice(&body).expect("JSON");
            self.arrivals.lock().expect("arrivals").push(Arrival { at: Instant::now(), id, body });
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
            let status = self.script.lock().expect("script").pop_front().unwrap_or(204);
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
            if stream.get_mut().write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let (mut length, mut id) = (0, String::new());
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "webhook-id" => id = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((id, body))
}

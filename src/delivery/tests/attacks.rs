//! Recipients that mean harm, and names that turn private (`ecosystem.md` 2.5).

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::webhook::{now, parcel, settings, within};
use crate::delivery::boot_clock::BootInstant;
use crate::delivery::guard::Looking;
use crate::delivery::guard::Lookup;
use crate::delivery::webhook::{TIME_LIMIT, Webhook};
use crate::delivery::{Outcome, ParcelKind};

/// A server that answers every connection with `answer`; counts the connections.
struct Raw {
    port: u16,
    connections: Arc<AtomicUsize>,
}

fn raw(answer: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Raw {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&connections);
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            seen.fetch_add(1, Ordering::SeqCst);
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                if stream.read(&mut request).is_ok() {
                    // The client hanging up is what these tests are about.
                    drop(answer(&mut stream));
                }
            });
        }
    });
    Raw { port, connections }
}

async fn try_at(url: &str, port: u16, limit: Duration) -> (String, Duration) {
    let webhook = Webhook::new(settings(url.replace("PORT", &port.to_string()), port)).unwrap();
    let began = BootInstant::now();
    let outcome = webhook.hand_over(&parcel(ParcelKind::Record), now(), within(limit)).await;
    (format!("{outcome:?}"), BootInstant::now().since(began))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_a_private_address_is_not_followed() {
    let inside = raw(|stream| stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    let target = inside.port;
    let server = raw(move |stream| {
        write!(stream, "HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:{target}/\r\ncontent-length: 0\r\n\r\n")
    });
    let (outcome, _) = try_at("http://127.0.0.1:PORT/", server.port, TIME_LIMIT).await;
    assert_eq!(outcome, "Dead { cause: Redirected }");
    assert_eq!(inside.connections.load(Ordering::SeqCst), 0);
}

/// Answers with the next address of the list each time it is asked, then with the last.
struct Turning(Vec<IpAddr>, AtomicUsize);

impl Lookup for Turning {
    fn lookup(&self, _: String) -> Looking {
        let asked = self.1.fetch_add(1, Ordering::SeqCst).min(self.0.len() - 1);
        let address = self.0[asked];
        Box::pin(async move { Ok(vec![address]) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_turns_private_is_refused_at_the_next_connection() {
    let server = raw(|stream| stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
    let addresses = vec!["127.0.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap()];
    let settings = settings(format!("http://recipient.example:{}/", server.port), server.port);
    let lookup = Arc::new(Turning(addresses, AtomicUsize::new(0)));
    let webhook = Webhook::with_lookup(settings, Arc::<Turning>::clone(&lookup)).unwrap();
    let first = webhook.hand_over(&parcel(ParcelKind::Record), now(), within(TIME_LIMIT)).await;
    assert!(matches!(first, Outcome::Delivered), "{first:?}");
    assert_eq!(lookup.1.load(Ordering::SeqCst), 1, "checked and used are one look-up");
    let second = webhook.hand_over(&parcel(ParcelKind::Record), now(), within(TIME_LIMIT)).await;
    assert_eq!(format!("{second:?}"), "Retry { after: None, cause: Address(Private) }");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_address_is_a_matter_for_later() {
    struct Nowhere;
    impl Lookup for Nowhere {
        fn lookup(&self, _: String) -> Looking {
            Box::pin(async { Ok(Vec::new()) })
        }
    }
    let settings = settings("https://recipient.example/".to_owned(), 443);
    let webhook = Webhook::with_lookup(settings, Arc::new(Nowhere)).unwrap();
    let outcome = webhook.hand_over(&parcel(ParcelKind::Record), now(), within(TIME_LIMIT)).await;
    assert_eq!(format!("{outcome:?}"), "Retry { after: None, cause: NameUnresolved }");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_drips_one_byte_at_a_time_ends_at_the_limit() {
    let server = raw(|stream| {
        for byte in b"HTTP/1.1 200 OK\r\nx: ".iter().chain(std::iter::repeat(&b'a')) {
            stream.write_all(&[*byte])?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    });
    let (outcome, took) = try_at("http://127.0.0.1:PORT/", server.port, Duration::from_millis(400)).await;
    assert_eq!(outcome, "Retry { after: None, cause: TimeLimit }");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_does_not_hold_a_delivery_that_was_confirmed() {
    let server = raw(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")?;
        loop {
            stream.write_all(b"a")?;
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let (outcome, took) = try_at("http://127.0.0.1:PORT/", server.port, TIME_LIMIT).await;
    assert_eq!(outcome, "Delivered");
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_gibibytes_are_not_read() {
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    let server = raw(move |stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n")?;
        let block = [b'a'; 65536];
        loop {
            stream.write_all(&block)?;
            count.fetch_add(65536, Ordering::SeqCst);
        }
    });
    let (outcome, _) = try_at("http://127.0.0.1:PORT/", server.port, TIME_LIMIT).await;
    assert_eq!(outcome, "Delivered");
    // What was written beyond our 64 KiB lies in the sockets' own buffers.
    let mebibytes = written.load(Ordering::SeqCst) >> 20;
    assert!(mebibytes < 32, "{mebibytes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_header_lines_and_a_long_head_are_refused() {
    for (lines, length, expected) in [
        (1_000, 8, "Retry { after: None, cause: Network }"),
        (90, 400, "Retry { after: None, cause: HeadTooLarge }"),
        (1, 600_000, "Retry { after: None, cause: Network }"),
        (90, 8, "Delivered"),
    ] {
        let server = raw(move |stream| {
            let mut head = String::from("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n");
            for index in 0..lines {
                head.push_str(&format!("x-{index}: {}\r\n", "a".repeat(length)));
            }
            head.push_str("\r\n");
            stream.write_all(head.as_bytes())
        });
        let (outcome, _) = try_at("http://127.0.0.1:PORT/", server.port, TIME_LIMIT).await;
        assert_eq!(outcome, expected, "{lines} lines of {length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_a_matter_for_later() {
    let server = raw(|stream| stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n"));
    let (outcome, _) = try_at("http://127.0.0.1:PORT/", server.port, TIME_LIMIT).await;
    assert_eq!(outcome, "Retry { after: None, cause: Network }");
}

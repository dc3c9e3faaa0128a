//! The load generator: keep-alive connections on one thread, bodies made before the run, in which
//! only ids are patched. It never pipelines: a connection sends when its last answer came.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// Length of one event, in bytes of JSON.
pub const EVENT_BYTES: usize = 500;
/// Events in a batch.
pub const BATCH: usize = 20;

/// What one request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One event.
    Single,
    /// Twenty events of one person.
    OnePerson,
    /// Twenty events of twenty people.
    Mixed,
}

impl Shape {
    pub const ALL: [Self; 3] = [Self::Single, Self::OnePerson, Self::Mixed];

    pub const fn events(self) -> usize {
        match self {
            Self::Single => 1,
            Self::OnePerson | Self::Mixed => BATCH,
        }
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::Single => "single events",
            Self::OnePerson => "batches of 20, one person",
            Self::Mixed => "batches of 20, 20 people",
        }
    }
}

/// Whom the events are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// People stored.
    pub stored: u64,
    /// How many of them send, spread evenly over all.
    pub active: u64,
}

impl Choice {
    fn pick(self, number: u64) -> u64 {
        (scatter(number) % self.active) * (self.stored / self.active)
    }

    fn next(self, number: u64) -> u64 {
        (number % self.active) * (self.stored / self.active)
    }
}

/// One run of the generator.
#[derive(Clone, Debug)]
pub struct Run {
    pub address: SocketAddr,
    pub key: String,
    pub shape: Shape,
    pub choice: Choice,
    pub connections: usize,
    pub time: Duration,
    /// Ends sooner, when everybody active has sent once, in their order.
    pub once_each: bool,
}

/// What came of a run.
#[derive(Default)]
pub struct Outcome {
    pub seconds: f64,
    pub requests: u64,
    pub events: u64,
    pub refused: u64,
    /// Microseconds of each request, sorted.
    pub latencies: Vec<u32>,
}

impl Outcome {
    pub fn percentile(&self, part: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * part) as usize).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
    }
}

/// Runs the load on this thread and waits for every answer.
pub fn run(run: &Run) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let total = Rc::new(RefCell::new(Outcome::default()));
    let began = Instant::now();
    let deadline = began + run.time;
    let local = LocalSet::new();
    // Ids of different runs must differ: the clock keeps them apart.
    let salt = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("clock").as_nanos() as u64;
    let counter = Rc::new(std::cell::Cell::new(scatter(salt) >> 1));
    for _ in 0..run.connections {
        let connection = Connection::new(run, Rc::clone(&counter));
        let total = Rc::clone(&total);
        local.spawn_local(async move {
            let outcome = connection.drive(deadline).await;
            let mut total = total.borrow_mut();
            total.requests += outcome.requests;
            total.events += outcome.events;
            total.refused += outcome.refused;
            total.latencies.extend(outcome.latencies);
        });
    }
    runtime.block_on(local);
    let mut outcome = total.take();
    outcome.seconds = began.elapsed().as_secs_f64();
    outcome.latencies.sort_unstable();
    outcome
}

struct Connection {
    run: Run,
    counter: Rc<std::cell::Cell<u64>>,
    /// Where the counter began.
    from: u64,
    request: Vec<u8>,
    /// Where each event begins within the request.
    events: Vec<usize>,
}

impl Connection {
    fn new(run: &Run, counter: Rc<std::cell::Cell<u64>>) -> Self {
        let event = template();
        let count = run.shape.events();
        let (path, body) = if count == 1 {
            ("/v1/track", event)
        } else {
            ("/v1/batch", format!("{{\"batch\":[{}]}}", vec![event; count].join(",")))
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Basic {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            data_encoding::BASE64.encode(format!("{}:", run.key).as_bytes()),
            body.len()
        );
        let begin = head.len() + if count == 1 { 0 } else { "{\"batch\":[".len() };
        let events = (0..count).map(|number| begin + number * (EVENT_BYTES + 1)).collect();
        let from = counter.get();
        Self { run: run.clone(), counter, from, request: [head.as_bytes(), body.as_bytes()].concat(), events }
    }

    async fn drive(mut self, deadline: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        let stream = TcpStream::connect(self.run.address).await.expect("connection");
        stream.set_nodelay(true).expect("socket");
        let mut answer = vec![0; 64 * 1024];
        while Instant::now() < deadline
            && !(self.run.once_each && self.counter.get() - self.from >= self.run.choice.active)
        {
            self.patch();
            let began = Instant::now();
            send(&stream, &self.request).await;
            let length = receive(&stream, &mut answer).await;
            let micros = began.elapsed().as_micros();
            let answer = &answer[..length];
            if answer.starts_with(b"HTTP/1.1 200") {
                outcome.requests += 1;
                outcome.events += self.run.shape.events() as u64;
                outcome.latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
                // A 200 may hold verdicts that are no acceptance; the rows are counted at the end too.
                if outcome.requests % 64 == 1 {
                    let accepted = count(answer, b"\"accepted\"");
                    assert_eq!(accepted, self.run.shape.events(), "{}", String::from_utf8_lossy(answer));
                }
            } else {
                outcome.refused += 1;
                if outcome.refused == 1 {
                    eprintln!("an answer that is no 200: {}", String::from_utf8_lossy(answer));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        outcome
    }

    /// Gives every event an id of its own and its person.
    fn patch(&mut self) {
        let first = self.counter.get();
        self.counter.set(first.wrapping_add(self.events.len() as u64));
        for (number, at) in (first..).zip(&self.events) {
            let person = if self.run.once_each {
                self.run.choice.next(number)
            } else {
                self.run.choice.pick(if self.run.shape == Shape::OnePerson { first } else { number })
            };
            let event = &mut self.request[*at..*at + EVENT_BYTES];
            write_digits(&mut event[USER..USER + 7], person);
            write_digits(&mut event[MESSAGE..MESSAGE + 20], number);
            write_digits(&mut event[MILLIS..MILLIS + 3], number % 1000);
        }
    }
}

async fn send(stream: &TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => stream.writable().await.expect("socket"),
            Err(error) => panic!("the server closed a connection: {error}"),
        }
    }
}

/// Reads one answer and gives its length.
async fn receive(stream: &TcpStream, answer: &mut [u8]) -> usize {
    let mut length = 0;
    loop {
        stream.readable().await.expect("socket");
        match stream.try_read(&mut answer[length..]) {
            Ok(0) => panic!("the server closed a connection"),
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => panic!("the server closed a connection: {error}"),
        }
        if let Some(end) = end_of(&answer[..length])
            && length >= end
        {
            return end;
        }
    }
}

/// Where an answer ends, once its head is there.
fn end_of(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).expect("head");
    let length = text
        .lines()
        .find_map(|line| line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")))
        .map_or(0, |(_, value)| value.trim().parse().expect("length"));
    Some(head + length)
}

const USER: usize = r#"{"type":"track","userId":"person-"#.len();
const MESSAGE: usize = USER + r#"0000000","messageId":""#.len();
const MILLIS: usize = MESSAGE + r#"00000000000000000000","timestamp":"2026-01-01T12:00:00."#.len();

/// A track event of 500 bytes: four personal fields, two that are not, and one that the policy does
/// not declare.
fn template() -> String {
    let begin = concat!(
        r#"{"type":"track","userId":"person-0000000","messageId":"00000000000000000000","#,
        r#""timestamp":"2026-01-01T12:00:00.000Z","event":"Product Viewed","#,
        r#""properties":{"sku":"article-4711","quantity":2,"currency":"EUR"},"#,
        r#""context":{"locale":"de-DE","page":{"url":"https://shop.example/garden/furniture/chairs/4711?colour=green"},"userAgent":""#,
    );
    let end = r#""}}"#;
    format!("{begin}{}{end}", "x".repeat(EVENT_BYTES - begin.len() - end.len()))
}

fn write_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// A cheap mixing of the bits (the finaliser of splitmix64).
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn count(text: &[u8], wanted: &[u8]) -> usize {
    text.windows(wanted.len()).filter(|window| *window == wanted).count()
}

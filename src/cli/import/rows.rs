//! Rows of a file, one at a time, each of bounded size.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::rc::Rc;

use crate::http::collect::Setting;
use crate::http::collect::line::Header;

/// The longest row of CSV that is read, in bytes: one quote that is never closed would else take the
/// whole file for one cell.
const LONGEST_ROW: usize = 4 << 20;

/// A row: a line of NDJSON, or a row of CSV made into one.
pub(super) struct Row {
    /// Its number among the rows, from 1.
    pub(super) number: u64,
    /// The line of the file it begins on.
    pub(super) line: u64,
    /// The event's text, or the code of why there is none.
    pub(super) content: Result<Vec<u8>, &'static str>,
}

/// The rows of a file.
pub(super) enum Rows {
    Lines(Lines),
    Csv(Box<Csv>),
}

/// Lines of NDJSON.
pub(super) struct Lines {
    reader: BufReader<File>,
    longest: usize,
    number: u64,
    bytes: u64,
}

/// Rows of CSV.
pub(super) struct Csv {
    reader: csv::Reader<Bounded>,
    header: Header,
    longest: usize,
    number: u64,
    budget: Rc<Cell<usize>>,
}

impl Rows {
    /// The lines of a file; one longer than `longest` bytes is reported and skipped.
    pub(super) fn lines(file: File, longest: usize) -> Self {
        Self::Lines(Lines { reader: BufReader::with_capacity(64 << 10, file), longest, number: 0, bytes: 0 })
    }

    /// The rows of a CSV file after its first, which names the columns.
    pub(super) fn csv(file: File, longest: usize, setting: Setting<'_>) -> Result<Self, String> {
        let budget = Rc::new(Cell::new(LONGEST_ROW));
        let bounded = Bounded { file, budget: Rc::clone(&budget) };
        let mut reader = csv::ReaderBuilder::new().flexible(true).has_headers(true).from_reader(bounded);
        let names = reader.headers().map_err(|_| "the first row is not UTF-8 text".to_owned())?.clone();
        let header = Header::read(names.iter(), setting).map_err(|mistake| mistake.to_string())?;
        Ok(Self::Csv(Box::new(Csv { reader, header, longest, number: 0, budget })))
    }

    /// The next row; `None` at the end.
    pub(super) fn next_row(&mut self) -> Result<Option<Row>, String> {
        match self {
            Self::Lines(lines) => lines.next_row(),
            Self::Csv(csv) => csv.next_row(),
        }
    }

    /// How many bytes of the file have been read.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.bytes,
            Self::Csv(csv) => csv.reader.position().byte(),
        }
    }
}

impl Lines {
    fn next_row(&mut self) -> Result<Option<Row>, String> {
        loop {
            let mut line = Vec::new();
            let mut is_long = false;
            loop {
                let read = self.reader.fill_buf().map_err(|error| format!("the file cannot be read: {error}"))?;
                if read.is_empty() {
                    break;
                }
                let end = read.iter().position(|byte| *byte == b'\n');
                let part = read.get(..end.unwrap_or(read.len())).unwrap_or_default();
                if line.len() + part.len() > self.longest {
                    is_long = true;
                    line.clear();
                } else if !is_long {
                    line.extend_from_slice(part);
                }
                let used = part.len() + usize::from(end.is_some());
                self.bytes += u64::try_from(used).unwrap_or(0);
                self.reader.consume(used);
                if end.is_some() {
                    break;
                }
                if used == 0 {
                    break;
                }
            }
            let at_end =
                self.reader.fill_buf().map_err(|error| format!("the file cannot be read: {error}"))?.is_empty();
            if line.is_empty() && !is_long && at_end {
                return Ok(None);
            }
            self.number += 1;
            if self.number == 1 && line.starts_with(b"\xef\xbb\xbf") {
                line.drain(..3);
            }
            let content = if is_long { Err("event_too_large") } else { Ok(line) };
            // A blank line is no row, but it counts as a line.
            if content.as_ref().is_ok_and(|line| line.iter().all(u8::is_ascii_whitespace)) {
                continue;
            }
            return Ok(Some(Row { number: self.number, line: self.number, content }));
        }
    }
}

impl Csv {
    fn next_row(&mut self) -> Result<Option<Row>, String> {
        self.budget.set(LONGEST_ROW);
        let mut record = csv::ByteRecord::new();
        let line = self.reader.position().line();
        let more = self.reader.read_byte_record(&mut record).map_err(|error| match error.kind() {
            csv::ErrorKind::Io(error) => format!("the row that begins on line {line} cannot be read: {error}"),
            _ => format!("the row that begins on line {line} is not CSV"),
        })?;
        if !more {
            return Ok(None);
        }
        self.number += 1;
        let line = record.position().map_or(line, csv::Position::line);
        Ok(Some(Row { number: self.number, line, content: self.event(&record) }))
    }

    fn event(&self, record: &csv::ByteRecord) -> Result<Vec<u8>, &'static str> {
        let cells =
            record.iter().map(std::str::from_utf8).collect::<Result<Vec<_>, _>>().map_err(|_| "event_malformed")?;
        if record.as_slice().len() > self.longest {
            return Err("event_too_large");
        }
        self.header.event(cells.into_iter()).map(String::into_bytes).map_err(|flaw| flaw.code())
    }
}

/// Reads a file until a row has become too long.
pub(super) struct Bounded {
    file: File,
    budget: Rc<Cell<usize>>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.budget.get();
        if left == 0 {
            return Err(std::io::Error::other("it is longer than 4 MiB; is a quote not closed?"));
        }
        let most = buffer.len().min(left);
        let read = self.file.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.budget.set(left - read);
        Ok(read)
    }
}

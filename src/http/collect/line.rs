//! Rows of a file that is loaded: a line of NDJSON, or a row of CSV made into one.
//!
//! A line is one event of the collector's own protocol, so what can be sent can be loaded. What
//! differs is time: `sentAt` says how long a client waited and nothing about a file, and an event
//! that lies ahead of the load has no sure time.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::domain::collected::Collected;
use crate::domain::policy::Protocol;

use super::json::{Document, quoted};
use super::refusal::Flaw;
use super::{Setting, cloudevents, segment};

/// How far ahead of the load an event may say it is.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// Reads one line as an event of the collector's protocol.
///
/// # Errors
/// The flaw of the event.
pub fn read(raw: &[u8], setting: Setting<'_>) -> Result<Collected, Flaw> {
    let (event, said) = match setting.rules.protocol {
        Protocol::Segment | Protocol::Rudderstack | Protocol::Native => segment::line(raw, setting),
        Protocol::CloudEvents => cloudevents::line(raw, setting),
    }?;
    let latest = setting.received_at.checked_add(AHEAD).unwrap_or(setting.received_at);
    Ok(match said.filter(|said| *said <= latest) {
        Some(said) => Collected { occurred_at: said, has_time: true, ..event },
        None => Collected { occurred_at: setting.received_at, has_time: false, ..event },
    })
}

/// An event with the time it says it happened at.
pub(super) type Dated = (Collected, Option<Timestamp>);

/// The first row of a CSV file: paths of the fields, in the order of the columns.
///
/// `user_id`, `anonymous_id`, `message_id`, `group_id`, `previous_id`, `timestamp`, `type` and
/// `event` are members of the event; `traits.email` and the like are paths as in `fields.toml`. A
/// value is text exactly as it stands (`007` stays `007`); a column whose name ends in `:json` holds
/// JSON. An empty cell is no value.
pub struct Header {
    columns: Vec<Column>,
    has_type: bool,
}

struct Column {
    /// Path from the root of the event.
    path: Vec<String>,
    is_json: bool,
}

/// What is wrong with the first row. Names of columns are not personal; still only their position is
/// repeated, for a file without a header has a person there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderMistake {
    /// A column has no name, or a part of its path is empty.
    #[error(
        "column {0} of the first row has no name or an empty part; the first row names the fields: user_id,timestamp,traits.email"
    )]
    Nameless(usize),
    /// A column stands twice, or is a part of another's path.
    #[error("column {0} of the first row stands twice or lies inside another one")]
    Repeated(usize),
    /// No column can say whose events these are.
    #[error("no column identifies anybody: user_id, anonymous_id, or a field that identifies, such as traits.email")]
    NobodyNamed,
}

/// Names in a header and the members of an event they stand for.
const MEMBERS: [(&str, &str); 6] = [
    ("user_id", "userId"),
    ("anonymous_id", "anonymousId"),
    ("message_id", "messageId"),
    ("group_id", "groupId"),
    ("previous_id", "previousId"),
    ("original_timestamp", "originalTimestamp"),
];

impl Header {
    /// Reads the names of the columns.
    ///
    /// # Errors
    /// The first mistake in them.
    pub fn read<'n>(names: impl IntoIterator<Item = &'n str>, setting: Setting<'_>) -> Result<Self, HeaderMistake> {
        let mut columns: Vec<Column> = Vec::new();
        let mut seen: BTreeSet<Vec<String>> = BTreeSet::new();
        for (name, position) in names.into_iter().zip(1..) {
            let name = name.trim().trim_start_matches('\u{feff}');
            let (name, is_json) = name.strip_suffix(":json").map_or((name, false), |name| (name, true));
            let name = MEMBERS.iter().find(|(spelt, _)| *spelt == name).map_or(name, |(_, member)| member);
            let path: Vec<String> = name.split('.').map(str::to_owned).collect();
            if path.iter().any(String::is_empty) {
                return Err(HeaderMistake::Nameless(position));
            }
            if seen.iter().any(|other| path.starts_with(other) || other.starts_with(&path)) {
                return Err(HeaderMistake::Repeated(position));
            }
            seen.insert(path.clone());
            columns.push(Column { path, is_json });
        }
        let identifies = |column: &Column| {
            let path = column.path.join(".");
            matches!(path.as_str(), "userId" | "anonymousId" | "subject" | "data")
                || setting.fields.values().any(|field| field.path.as_str() == path && field.identifies.is_some())
        };
        if !columns.iter().any(identifies) {
            return Err(HeaderMistake::NobodyNamed);
        }
        let has_type = columns.iter().any(|column| column.path == ["type"]);
        Ok(Self { columns, has_type })
    }

    /// Makes an event of a row.
    ///
    /// # Errors
    /// [`Flaw::Malformed`] for a row of another length, and a cell of a `:json` column that is none.
    pub fn event<'c>(&self, cells: impl ExactSizeIterator<Item = &'c str>) -> Result<String, Flaw> {
        if cells.len() != self.columns.len() {
            return Err(Flaw::Malformed);
        }
        let mut root = Branch::default();
        let mut has_event = false;
        for (column, cell) in self.columns.iter().zip(cells) {
            if cell.is_empty() {
                continue;
            }
            has_event |= column.path == ["event"];
            let json = if column.is_json {
                // Read by itself first, so that no cell can end its value and begin another member.
                Document::read(cell.as_bytes())?;
                cell.to_owned()
            } else {
                quoted(cell)
            };
            root.put(&column.path, json);
        }
        if !self.has_type {
            let kind = if has_event { "track" } else { "identify" };
            root.put(&["type".to_owned()], quoted(kind));
        }
        let mut text = String::new();
        root.write(&mut text);
        Ok(text)
    }
}

/// An object in the making.
#[derive(Default)]
struct Branch(Vec<(String, Twig)>);

enum Twig {
    Leaf(String),
    Branch(Branch),
}

impl Branch {
    fn put(&mut self, path: &[String], json: String) {
        let Some((first, rest)) = path.split_first() else { return };
        if rest.is_empty() {
            self.0.push((first.clone(), Twig::Leaf(json)));
            return;
        }
        let place = self.0.iter().position(|(name, _)| name == first);
        let place = place.unwrap_or_else(|| {
            self.0.push((first.clone(), Twig::Branch(Self::default())));
            self.0.len() - 1
        });
        // No path lies inside another one, so what stands here is a branch.
        if let Some((_, Twig::Branch(branch))) = self.0.get_mut(place) {
            branch.put(rest, json);
        }
    }

    fn write(&self, text: &mut String) {
        text.push('{');
        for (position, (name, twig)) in self.0.iter().enumerate() {
            if position > 0 {
                text.push(',');
            }
            text.push_str(&quoted(name));
            text.push(':');
            match twig {
                Twig::Leaf(json) => text.push_str(json),
                Twig::Branch(branch) => branch.write(text),
            }
        }
        text.push('}');
    }
}

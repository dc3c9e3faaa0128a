//! Lines of text: syslog and CEF. Each has its own rules of escaping; a value that could end its
//! field would let whoever chose it write the rest of the line.

use super::{Line, weigh};

/// What every receiver of syslog should take (RFC 5424 §6.1).
const SYSLOG_OCTETS: usize = 2_048;

impl Line<'_> {
    /// RFC 5424. Facility 13, *log audit*; severities 6, 4 and 3.
    pub(super) fn syslog(&self, enterprise: u32) -> String {
        let event = self.event_name();
        let line = |origin: &str| {
            format!(
                "<{}>1 {} {} amanat - {event} [amanat@{enterprise} origin=\"{origin}\" seq=\"{}\" entry=\"{}\" \
                 leaf=\"{}\" outcome=\"{}\" class=\"{}\"] {event}",
                weigh(self.outcome(), 110, 108, 107),
                self.leaf.stored.time.timestamp(),
                self.syslog_host(),
                self.leaf.stored.seq,
                self.leaf.entry(),
                self.leaf.hash(),
                self.outcome().as_str(),
                self.class_name(),
            )
        };
        // Only the origin can be long. It is cut before it is escaped, so no escape is halved.
        let mut kept: Vec<char> = self.origin.chars().collect();
        loop {
            let whole = line(&param_value(kept.iter().copied()));
            if whole.len() <= SYSLOG_OCTETS || kept.is_empty() {
                return whole;
            }
            let excess = whole.len() - SYSLOG_OCTETS;
            // A letter takes at most four octets.
            kept.truncate(kept.len().saturating_sub(excess.div_ceil(4)));
        }
    }

    /// HOSTNAME: at most 255 printable ASCII letters; `-` if the origin has no such host.
    fn syslog_host(&self) -> &str {
        let host = self.host();
        let is_name = (1..=255).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic());
        if is_name { host } else { "-" }
    }

    /// `ArcSight` Common Event Format, version 0.
    pub(super) fn cef(&self) -> String {
        let event = self.event_name();
        format!(
            "CEF:0|Amanat|amanat|{}|{}|{}|{}|rt={} externalId={} outcome={} cs1Label=leaf cs1={} cs2Label=origin cs2={} \
             cs3Label=entry cs3={}",
            cef_header(env!("CARGO_PKG_VERSION")),
            self.leaf.stored.event,
            cef_header(event),
            weigh(self.outcome(), 3, 5, 7),
            self.milliseconds(),
            self.leaf.stored.seq,
            self.outcome().as_str(),
            self.leaf.hash(),
            cef_extension(self.origin),
            self.leaf.entry(),
        )
    }
}

/// PARAM-VALUE: `"`, `\` and `]` are escaped (RFC 5424 §6.3.3). A control character would break the
/// line of whoever reads lines, so a space stands for it.
fn param_value(text: impl Iterator<Item = char>) -> String {
    let mut value = String::new();
    for letter in text {
        if matches!(letter, '"' | '\\' | ']') {
            value.push('\\');
        }
        value.push(if letter.is_control() { ' ' } else { letter });
    }
    value
}

/// A field of the header: `\` and `|` are escaped; it has no line feeds.
fn cef_header(text: &str) -> String {
    let mut field = String::new();
    for letter in text.chars() {
        if matches!(letter, '\\' | '|') {
            field.push('\\');
        }
        field.push(if letter.is_control() { ' ' } else { letter });
    }
    field
}

/// A value of the extension: `\`, `=` and line ends are escaped.
fn cef_extension(text: &str) -> String {
    let mut value = String::new();
    for letter in text.chars() {
        match letter {
            '\\' | '=' => value.extend(['\\', letter]),
            '\n' => value.push_str("\\n"),
            '\r' => value.push_str("\\r"),
            letter if letter.is_control() => value.push(' '),
            letter => value.push(letter),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_its_field() {
        let hostile = "a\"b\\c]d|e=f\ng\rh\u{7}i";
        assert_eq!(param_value(hostile.chars()), "a\\\"b\\\\c\\]d|e=f g h i");
        assert_eq!(cef_header(hostile), "a\"b\\\\c]d\\|e=f g h i");
        assert_eq!(cef_extension(hostile), "a\"b\\\\c]d|e\\=f\\ng\\rh i");
    }
}

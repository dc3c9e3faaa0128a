//! Telephone numbers as E.164 (ITU-T E.164, RFC 3966).

use phonenumber::country::Id;
use unicode_normalization::UnicodeNormalization;

use super::email::without_scheme;
use super::normalise::{InvalidIdentifier, ascii_digit};

/// More digits than any number has, with room for prefixes; also keeps crafted text away from the
/// numbering library.
const DIGITS_LIMIT: usize = 24;

pub(super) fn canonical(text: &str, region: Option<&str>) -> Result<String, InvalidIdentifier> {
    let composed: String = text.nfkc().map(ascii_digit).collect();
    let number = without_scheme(composed.trim(), "tel:");
    let (number, extension) = match number.split_once(';') {
        Some((number, parameter)) => (number, Some(extension(parameter)?)),
        None => (number, None),
    };
    let mut international = e164(number, region)?;
    if let Some(extension) = extension {
        international.push_str(";ext=");
        international.push_str(extension);
    }
    Ok(international)
}

fn e164(number: &str, region: Option<&str>) -> Result<String, InvalidIdentifier> {
    let has_country = number.trim_start().starts_with('+') || number.trim_start().starts_with("00");
    // `+49 (0)30`: the national prefix, shown to those who dial inside the country.
    let number = if has_country { number.replacen("(0)", "", 1) } else { number.to_owned() };
    let dialled: String = number.chars().filter(|c| !is_separator(*c)).collect();
    let (plus, digits) = match dialled.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, dialled.as_str()),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidIdentifier::Form);
    }
    if digits.len() > DIGITS_LIMIT {
        return Err(InvalidIdentifier::TooLong);
    }
    let international = if plus {
        digits.to_owned()
    } else if let Some(rest) = digits.strip_prefix("00") {
        rest.to_owned()
    } else {
        national(digits, region)?
    };
    // A possible length is enough: numbering plans change, and a person must not change with them.
    if !(7..=15).contains(&international.len()) || international.starts_with('0') {
        return Err(InvalidIdentifier::Form);
    }
    Ok(format!("+{}", without_mexican_mobile_prefix(&international)))
}

/// A number as dialled in a region, with its country code.
fn national(digits: &str, region: Option<&str>) -> Result<String, InvalidIdentifier> {
    let region: Id = region.and_then(|region| region.parse().ok()).ok_or(InvalidIdentifier::NoRegion)?;
    let number = phonenumber::parse(Some(region), digits).map_err(|_| InvalidIdentifier::Form)?;
    Ok(format!("{}{}", number.code().value(), number.national()))
}

/// Mexico dropped the `1` before mobile numbers in 2019; both forms reach the same person.
fn without_mexican_mobile_prefix(international: &str) -> String {
    match international.strip_prefix("521") {
        Some(rest) if rest.len() == 10 => format!("52{rest}"),
        _ => international.to_owned(),
    }
}

fn extension(parameter: &str) -> Result<&str, InvalidIdentifier> {
    let digits = without_scheme(parameter, "ext=");
    let is_extension =
        digits.len() < parameter.len() && (1..=7).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if is_extension { Ok(digits) } else { Err(InvalidIdentifier::Form) }
}

fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '.' | '(' | ')' | '/' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{30fc}')
}

//! E-mail addresses (RFC 5321, RFC 6531; domains by UTS #46).

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use unicode_normalization::UnicodeNormalization;

use super::normalise::{InvalidIdentifier, Subaddress, ascii_digit, lower};

/// RFC 5321 §4.5.3.1.1.
const LOCAL_LIMIT: usize = 64;
/// RFC 5321 §4.5.3.1.3, less the brackets.
const ADDRESS_LIMIT: usize = 254;

pub(super) fn canonical(text: &str, subaddress: Subaddress) -> Result<String, InvalidIdentifier> {
    let composed: String = text.nfkc().collect();
    let address = without_scheme(composed.trim(), "mailto:");
    let (local, domain) = address.rsplit_once('@').ok_or(InvalidIdentifier::Form)?;
    let mut local = local_part(local)?;
    if subaddress == Subaddress::Strip {
        strip_tag(&mut local);
    }
    let domain = domain_name(domain)?;
    if local.len() > LOCAL_LIMIT || local.len() + 1 + domain.len() > ADDRESS_LIMIT {
        return Err(InvalidIdentifier::TooLong);
    }
    Ok(format!("{local}@{domain}"))
}

/// A domain as lower-case A-labels, with at least one dot.
pub(super) fn domain_name(text: &str) -> Result<String, InvalidIdentifier> {
    let text = text.strip_suffix(['.', '。']).unwrap_or(text);
    let ascii = Uts46::new()
        .to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
        .map_err(|_| InvalidIdentifier::Domain)?;
    if !ascii.contains('.') {
        return Err(InvalidIdentifier::Domain);
    }
    Ok(ascii.into_owned())
}

/// The text without a URI scheme, in any case.
pub(super) fn without_scheme<'a>(text: &'a str, scheme: &str) -> &'a str {
    match text.split_at_checked(scheme.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(scheme) => rest,
        _ => text,
    }
}

fn local_part(text: &str) -> Result<String, InvalidIdentifier> {
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let local = quoted.unwrap_or(text);
    if !is_dot_atom(local) {
        return Err(InvalidIdentifier::Form);
    }
    let plain = local.chars().all(|c| ascii_digit(c).is_ascii());
    let mapped: String = local.chars().map(|c| if plain { ascii_digit(c) } else { persian_letter(c) }).collect();
    Ok(lower(&mapped))
}

/// RFC 5322 §3.2.3 with the letters of RFC 6531 §3.3.
fn is_dot_atom(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom_character))
}

fn is_atom_character(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) } else { !c.is_whitespace() }
}

/// Arabic keyboards and Persian ones write these two letters differently.
fn persian_letter(c: char) -> char {
    match c {
        'ي' | 'ى' => 'ی',
        'ك' => 'ک',
        other => other,
    }
}

fn strip_tag(local: &mut String) {
    if let Some(plus) = local.find('+').filter(|plus| *plus > 0) {
        local.truncate(plus);
    }
}

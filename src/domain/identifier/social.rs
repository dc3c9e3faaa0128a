//! Accounts on networks: a handle, however it was pasted.

use unicode_normalization::UnicodeNormalization;

use super::email::domain_name;
use super::normalise::{InvalidIdentifier, lower};

/// The longest handle, in bytes.
const LIMIT: usize = 512;
/// Networks that do not tell cases apart.
const CASELESS: [&str; 7] = ["instagram", "x", "facebook", "tiktok", "github", "telegram", "linkedin"];

pub(super) fn canonical(text: &str, network: &str) -> Result<String, InvalidIdentifier> {
    if network == "mastodon" {
        return mastodon(text);
    }
    let mut handle = handle(text)?.to_owned();
    if network == "facebook" {
        // `profile.php?id=…` names nobody without its number: taken as a handle it would merge
        // strangers.
        if handle.eq_ignore_ascii_case("profile.php") {
            return Err(InvalidIdentifier::Form);
        }
        handle.retain(|c| c != '.');
    }
    let canonical: String = handle.nfc().collect();
    checked(if CASELESS.contains(&network) { lower(&canonical) } else { canonical })
}

/// `user@host`, `@user@host` or the address of a profile page, `https://host/@user`.
fn mastodon(text: &str) -> Result<String, InvalidIdentifier> {
    let (user, host) = match without_web_scheme(text) {
        Some(address) => {
            let (host, path) = address.split_once('/').ok_or(InvalidIdentifier::Form)?;
            (handle(path)?, host)
        }
        None => {
            let account = text.strip_prefix('@').unwrap_or(text);
            account.split_once('@').ok_or(InvalidIdentifier::Form)?
        }
    };
    let user = checked(lower(&user.nfc().collect::<String>()))?;
    let host: String = host.nfkc().collect();
    checked(format!("{user}@{}", domain_name(&host)?)).map_err(|_| InvalidIdentifier::TooLong)
}

/// The handle in a handle, an `@handle` or the address of a profile page.
fn handle(text: &str) -> Result<&str, InvalidIdentifier> {
    let last = match without_web_scheme(text) {
        // An address without a path names the network, not a person.
        Some(address) => last_part(address.split_once('/').ok_or(InvalidIdentifier::Form)?.1),
        None if text.contains('/') => last_part(text),
        None => text,
    };
    Ok(last.strip_prefix('@').unwrap_or(last))
}

fn last_part(path: &str) -> &str {
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    path.rsplit('/').next().unwrap_or_default()
}

fn without_web_scheme(text: &str) -> Option<&str> {
    ["https://", "http://"].into_iter().find_map(|scheme| {
        let (start, rest) = text.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

fn checked(handle: String) -> Result<String, InvalidIdentifier> {
    let is_handle =
        !handle.is_empty() && !handle.starts_with('@') && !handle.contains(|c: char| c == '/' || c.is_whitespace());
    if !is_handle {
        return Err(InvalidIdentifier::Form);
    }
    if handle.len() > LIMIT {
        return Err(InvalidIdentifier::TooLong);
    }
    Ok(handle)
}

//! Every refusal of a root-key text, and the way there and back.

use super::*;
use crate::crypto::keyring::Kek;
use crate::crypto::root_key::{Fault, KekState, RootKey, format_file, keyring, parse_environment, parse_file};
use crate::crypto::token::{TokenKind, TokenText};

fn root(version: u32, first: u8, state: KekState) -> RootKey {
    let created = Some("2026-11-22T10:00:00Z".parse().unwrap());
    RootKey { created, state, kek: Kek::new(version, key(first)) }
}

fn text(first: u8) -> String {
    TokenText::new(TokenKind::RootKey, key(first)).text().to_string()
}

#[test]
fn what_is_written_is_read() {
    let keys = [root(2, 0x30, KekState::Retired), root(3, 0x40, KekState::Active)];
    let file = format_file(&keys);
    let read = parse_file(&file).unwrap();
    assert_eq!(format_file(&read), file);
    assert!(file.lines().nth(2).unwrap().starts_with("3 2026-11-22T10:00:00Z active amanat_rk_"));
    let ring = keyring(read).unwrap();
    assert_eq!((ring.active(), ring.versions().collect::<Vec<_>>()), (3, vec![2, 3]));
    assert!(ring.kek(3).unwrap().belongs_to(&Kek::new(3, key(0x40)).commitment()));
    assert_eq!(ring.kek(1).err(), Some(Error::UnknownVersion(1)));

    let environment = format!("3:{},2:{}", text(0x40), text(0x30));
    assert_eq!(keyring(parse_environment(&environment).unwrap()).unwrap().active(), 3);
}

#[test]
fn each_fault_is_refused_with_its_line() {
    let good = text(0x40);
    let other = text(0x30);
    let mut mistyped = good.clone();
    mistyped.replace_range(20..21, if &good[20..21] == "a" { "b" } else { "a" });
    let weak = TokenText::new(TokenKind::RootKey, Key::from_bytes(&mut Zeroizing::new([9; 32])));
    let api = TokenText::new(TokenKind::ApiToken, key(0x40));
    let time = "2026-11-22T10:00:00Z";
    for (file, line, fault) in [
        (format!("3 {time} active"), 1, Fault::Form),
        (format!("# a comment\n\n0 {time} active {good}"), 3, Fault::Version),
        (format!("x {time} active {good}"), 1, Fault::Version),
        (format!("3 yesterday active {good}"), 1, Fault::Time),
        (format!("3 {time} destroyed {good}"), 1, Fault::State),
        (format!("3 {time} active {mistyped}"), 1, Fault::Key),
        (format!("3 {time} active {}", &good[..50]), 1, Fault::Key),
        (format!("3 {time} active {}", api.text().as_str()), 1, Fault::Key),
        (format!("3 {time} active {}", weak.text().as_str()), 1, Fault::Weak),
        (format!("3 {time} active {good}\n3 {time} retired {other}"), 2, Fault::Repeated),
        (format!("2 {time} active {good}\n3 {time} retired {other}"), 2, Fault::Order),
        (format!("3 {time} active {good}\n2 {time} active {other}"), 2, Fault::NotOneActive),
        (format!("3 {time} retired {good}"), 1, Fault::NotOneActive),
        (String::new(), 0, Fault::NotOneActive),
    ] {
        let refused = parse_file(&file).err();
        assert_eq!(refused, Some(Error::RootKey { line, fault }), "{file}");
        assert!(!refused.unwrap().to_string().contains(&good[10..]));
    }
}

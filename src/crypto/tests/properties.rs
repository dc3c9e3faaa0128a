//! What must hold for any value, any changed bit and any bytes.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::crypto::envelope::{Field, Term};
use crate::crypto::file::{FileHead, FilePlace, open_file, seal_file};
use crate::crypto::keyring::{Kek, KeyPlace, Keyring, WrappedKey};
use crate::crypto::mac::{Context, KeyPurpose, RowId};
use crate::crypto::padding;
use crate::crypto::root_key::{parse_environment, parse_file};
use crate::crypto::sealed::Sealed;
use crate::crypto::token::{TokenKind, TokenText};
use crate::domain::id::FileId;
use crate::domain::personal::Access;

const NAME: Term<'_> = Term { number: 2, text: "traits.name" };
const CITY: Term<'_> = Term { number: 9, text: "traits.city" };
const PERSON: Term<'_> = Term { number: 1, text: "PersonalName" };

fn two_fields() -> Sealed {
    let fields = [
        Field { field: CITY, category: PERSON, json: "\"Tehran\"" },
        Field { field: NAME, category: PERSON, json: "\"Anna\"" },
    ];
    dek().seal(&place(), &fields, &mut counting()).unwrap()
}

fn opened(dek: &Dek, place: &RecordPlace, sealed: &Sealed, field: Term<'_>, category: &str) -> Result<String, Error> {
    let value = dek.open(place, sealed)?.field(field, category)?;
    Ok(value.reveal(&Access::because("test")).clone())
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,80}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,9}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn a_value_keeps_the_text_it_came_with() {
    for text in ["\"007\"", "1.10", " {\"a\" : 1e400}", "\"\\u0000\"", "null"] {
        let fields = [Field { field: NAME, category: PERSON, json: text }];
        let sealed = dek().seal(&place(), &fields, &mut counting()).unwrap();
        assert_eq!(opened(&dek(), &place(), &sealed, NAME, "PersonalName").as_deref(), Ok(text));
    }
}

#[test]
fn what_cannot_be_sealed_is_refused() {
    let seal = |fields: &[Field<'_>]| dek().seal(&place(), fields, &mut counting()).err();
    let field = |json| Field { field: NAME, category: PERSON, json };
    let long = format!("\"{}\"", "x".repeat(256 * 1024));
    assert_eq!(seal(&[]), Some(Error::FieldCount));
    assert_eq!(seal(&[field("1"), field("2")]), Some(Error::RepeatedField(2)));
    assert_eq!(seal(&[field("007")]), Some(Error::NotJson));
    assert_eq!(seal(&[field(&long)]), Some(Error::TooLarge));
    let fit = format!("\"{}\"", "x".repeat(250 * 1024));
    let many: Vec<Field<'_>> =
        (0..5).map(|number| Field { field: Term { number, text: "f" }, category: PERSON, json: &fit }).collect();
    assert_eq!(seal(&many), Some(Error::TooLarge));
    let failing = dek().seal(&place(), &[field("1")], &mut |_| Err(Error::EntropyUnavailable));
    assert_eq!(failing.err(), Some(Error::EntropyUnavailable));
}

#[test]
fn each_part_of_a_place_counts() {
    let sealed = two_fields();
    let good = place();
    let open = |place: &RecordPlace| opened(&dek(), place, &sealed, NAME, "PersonalName");
    assert_eq!(open(&good).as_deref(), Ok("\"Anna\""));
    let installation = InstallationId::from_bytes([9; 16]);
    assert_eq!(open(&RecordPlace { installation, ..good }), Err(Error::Rejected));
    let owner = Owner::from(SubjectId::from_bytes([9; 16]));
    assert_eq!(open(&RecordPlace { owner, ..good }), Err(Error::Rejected));
    let kind = RecordKind::new("identifier");
    assert_eq!(open(&RecordPlace { kind, ..good }), Err(Error::CommitmentMismatch));
    let record = RowId::from(RecordId::from_bytes([9; 16]));
    assert_eq!(open(&RecordPlace { record, ..good }), Err(Error::CommitmentMismatch));
    let swapped = Term { number: NAME.number, text: CITY.text };
    assert_eq!(opened(&dek(), &good, &sealed, swapped, "PersonalName"), Err(Error::Rejected));
    assert_eq!(opened(&dek(), &good, &sealed, NAME, "Location"), Err(Error::Rejected));
    let newer = Dek::new(2, key(0x60));
    assert_eq!(opened(&newer, &good, &sealed, NAME, "PersonalName"), Err(Error::UnknownVersion(1)));
    // The version is part of the place too: rewriting the number does not help.
    let mut bytes = sealed.as_bytes().to_vec();
    bytes[5] = 2;
    let renumbered = Sealed::parse(bytes).unwrap();
    assert_eq!(opened(&newer, &good, &renumbered, NAME, "PersonalName"), Err(Error::Rejected));
    let other = Dek::new(1, key(0x61));
    assert_eq!(opened(&other, &good, &sealed, NAME, "PersonalName"), Err(Error::CommitmentMismatch));
    let missing = Term { number: 3, text: "f" };
    assert_eq!(opened(&dek(), &good, &sealed, missing, "c"), Err(Error::MissingField(3)));
}

#[test]
fn every_changed_bit_of_a_record_is_noticed() {
    let sealed = two_fields();
    let bytes = sealed.as_bytes();
    let untouched = |sealed: &Sealed| {
        opened(&dek(), &place(), sealed, NAME, "PersonalName").as_deref() == Ok("\"Anna\"")
            && opened(&dek(), &place(), sealed, CITY, "PersonalName").as_deref() == Ok("\"Tehran\"")
    };
    assert!(untouched(&sealed));
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        // The category number is not authenticated but its text is, and a number has one text.
        if let Ok(changed) = Sealed::parse(changed) {
            let categories: Vec<u16> = changed.entries().map(|entry| entry.category).collect();
            assert!(!untouched(&changed) || categories != [1, 1], "bit {bit}");
        }
    }
    for length in 0..bytes.len() {
        assert!(Sealed::parse(bytes[..length].to_vec()).is_err());
    }
    let longer = [bytes, &[0]].concat();
    assert_eq!(Sealed::parse(longer), Err(Error::UnknownFormat));
}

#[test]
fn a_field_is_removed_without_a_key() {
    let sealed = two_fields();
    assert_eq!(sealed.entries().map(|entry| entry.field).collect::<Vec<_>>(), [2, 9]);
    let less = sealed.remove(CITY.number).unwrap();
    assert_ne!(less.hash(), sealed.hash());
    assert_eq!(opened(&dek(), &place(), &less, NAME, "PersonalName").as_deref(), Ok("\"Anna\""));
    assert_eq!(opened(&dek(), &place(), &less, CITY, "c"), Err(Error::MissingField(9)));
    assert_eq!(less.remove(NAME.number), None);
}

#[test]
fn a_wrapped_key_opens_in_its_place_only() {
    let ring = Keyring::new(vec![Kek::new(3, key(0x40)), Kek::new(4, key(0x41))], 4).unwrap();
    let owner = Some(Owner::from(subject()));
    let good = KeyPlace { installation: installation(), purpose: KeyPurpose::Dek, owner, version: 1 };
    let wrapped = ring.wrap(&good, &key(0x60), &[7; 12]).unwrap();
    assert!(ring.unwrap(&good, &wrapped).is_ok());
    for wrong in [
        KeyPlace { installation: InstallationId::from_bytes([9; 16]), ..good },
        KeyPlace { purpose: KeyPurpose::Audit, ..good },
        KeyPlace { owner: None, ..good },
        KeyPlace { version: 2, ..good },
    ] {
        assert_eq!(ring.unwrap(&wrong, &wrapped).err(), Some(Error::Rejected));
    }
    let bytes = wrapped.to_bytes();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(WrappedKey::parse(&changed).and_then(|wrapped| ring.unwrap(&good, &wrapped)).is_err());
    }
    let older = ring.kek(3).unwrap().wrap(&good, &key(0x60), &[8; 12]).unwrap();
    let again = ring.rewrap(&good, &older, &[9; 12]).unwrap();
    assert_eq!((again.kek_version(), again.commitment()), (4, older.commitment()));
}

#[test]
fn files_of_every_length_round_trip_and_refuse_changes() {
    let place = FilePlace {
        installation: installation(),
        owner: Owner::from(subject()),
        kind: RecordKind::new("document"),
        file: FileId::from_bytes([1; 16]),
    };
    for length in [0, 1, 16_383, 16_384, 16_385, 32_768, 40_000] {
        let plain = vec![7; length];
        let sealed = seal_file(&dek(), &place, &[length.to_le_bytes()[0]; 24], &plain).unwrap();
        assert_eq!(open_file(&dek(), &place, &sealed).unwrap().as_slice(), plain);
        assert!(open_file(&dek(), &place, &sealed[..sealed.len() - 1]).is_err());
        assert!(open_file(&dek(), &place, &[&sealed[..], &[0]].concat()).is_err());
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(open_file(&dek(), &place, &changed).err(), Some(Error::Rejected));
    }
    // Cut at a chunk's end: truncated, not complete.
    let sealed = seal_file(&dek(), &place, &[1; 24], &[0; 20_000]).unwrap();
    let (head, chunks) = FileHead::parse(&sealed).unwrap();
    assert_eq!(head.file(), place.file);
    let cut = &sealed[..sealed.len() - chunks.len() + 16_400];
    assert_eq!(open_file(&dek(), &place, cut).err(), Some(Error::Truncated));
    let elsewhere = FilePlace { owner: Owner::from(SubjectId::from_bytes([9; 16])), ..place };
    assert_eq!(open_file(&dek(), &elsewhere, &sealed).err(), Some(Error::CommitmentMismatch));
}

#[test]
fn components_do_not_run_into_each_other() {
    let place = |field, category| {
        Context::Field {
            installation: installation(),
            owner: place().owner,
            kind: RECORD,
            record: place().record,
            field,
            category,
            version: 1,
            commitment: &[0; 32],
        }
        .to_bytes()
    };
    assert_ne!(place("ab", "c"), place("a", "bc"));
    let mark = |collector, caller| Context::Duplicate { collector, caller, value: b"v" }.to_bytes();
    assert_ne!(mark("ab", "c"), mark("a", "bc"));
    // Tags ascend in every encoding.
    let bytes = place("field", "category");
    let mut rest = &bytes[bytes.iter().position(|byte| *byte == 0).unwrap() + 1..];
    let mut before = 0;
    while let Some((tag, after)) = rest.split_first() {
        assert!(*tag > before);
        before = *tag;
        let (length, after) = after.split_first_chunk::<4>().unwrap();
        rest = &after[usize::try_from(u32::from_be_bytes(*length)).unwrap()..];
    }
}

proptest! {
    #[test]
    fn any_json_round_trips(values in prop::collection::vec(json(), 1..6)) {
        let texts: Vec<String> = values.iter().map(Value::to_string).collect();
        let term = |number| Term { number, text: "field" };
        let fields: Vec<Field<'_>> = (0..).zip(&texts)
            .map(|(number, json)| Field { field: term(number), category: PERSON, json })
            .collect();
        let sealed = dek().seal(&place(), &fields, &mut counting()).unwrap();
        let sealed = Sealed::parse(sealed.into_bytes()).unwrap();
        for (number, text) in (0..).zip(&texts) {
            let value = opened(&dek(), &place(), &sealed, term(number), "PersonalName");
            prop_assert_eq!(value.as_ref(), Ok(text));
        }
    }

    #[test]
    fn buckets_grow_and_hold(length in 1_usize..400_000) {
        prop_assert!(padding::bucket(length) >= length);
        prop_assert!(padding::bucket(length) <= padding::bucket(length + 1));
        prop_assert!(padding::bucket(length) <= length + (length / 8).max(1024));
        prop_assert_eq!(padding::bucket(padding::bucket(length)), padding::bucket(length));
    }

    #[test]
    fn no_bytes_make_a_parser_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), text in ".{0,200}") {
        for header in [[0x57, 1], [0x53, 1], [0x46, 1], [0x41, 1]] {
            for (to, from) in bytes.iter_mut().zip(header) {
                *to = from;
            }
            // No two formats parse as each other.
            let parsed = [
                WrappedKey::parse(&bytes).is_ok(),
                Sealed::parse(bytes.clone()).is_ok(),
                FileHead::parse(&bytes).is_ok(),
            ];
            prop_assert!(parsed.iter().filter(|ok| **ok).count() <= 1);
        }
        prop_assert!(TokenText::parse(&text).is_err());
        prop_assert!(parse_file(&text).is_err());
        prop_assert!(parse_environment(&text).is_err());
        if let Ok(length) = padding::value_length(&bytes) {
            prop_assert!(length < bytes.len());
        }
    }

    #[test]
    fn tokens_round_trip_and_find_mistypings(value in any::<[u8; 32]>(), position in 10_usize..59, digit in "[0-9A-Za-z]") {
        let token = TokenText::new(TokenKind::WriteKey, Key::from_bytes(&mut Zeroizing::new(value)));
        let text = token.text();
        prop_assert_eq!(text.len(), 59);
        let read = TokenText::parse(&text).unwrap();
        prop_assert_eq!(read.value().bytes(), &value);
        let mut mistyped = text.to_string();
        mistyped.replace_range(position..=position, &digit);
        prop_assert_eq!(TokenText::parse(&mistyped).is_ok(), mistyped == text.as_str());
    }
}

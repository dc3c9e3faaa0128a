//! The vectors of `cryptography.md` §19 and, where they are at hand, those of the audit log.

use super::*;
use crate::crypto::audit_seal::AuditKey;
use crate::crypto::blind_index::{BlindIndex, Suppressions};
use crate::crypto::envelope::{Field, Term};
use crate::crypto::file::{FilePlace, open_file, seal_file};
use crate::crypto::keyring::{Kek, KeyPlace, Keyring, WrappedKey};
use crate::crypto::mac::audit::AuditPlace;
use crate::crypto::mac::{Context, KeyPurpose, derive};
use crate::crypto::padding;
use crate::crypto::sealed::Sealed;
use crate::crypto::token::{TokenKind, TokenMac, TokenText};
use crate::domain::id::{EntryId, FileId, RecipientId};
use crate::domain::identifier::IdentifierKind;
use crate::domain::personal::Access;

fn kek() -> Kek {
    Kek::new(3, key(0x40))
}

fn dek_place() -> KeyPlace {
    let owner = Some(Owner::from(subject()));
    KeyPlace { installation: installation(), purpose: KeyPurpose::Dek, owner, version: 1 }
}

#[test]
fn kek_and_wrapped_key() {
    assert_eq!(kek().commitment().to_vec(), hex("9792cfa7bd77909736a0d0417381d10b2716c27fba2a20edf30dcfa8827ae791"));
    assert_eq!(
        derive(&key(0x40), &Context::WrapKey).bytes().to_vec(),
        hex("9aab27119ed7da37047d356d3aacfa53b8f6aee6f14e212afcf9f0a320dd1f66")
    );
    let expected =
        hex("570100000003f0f1f2f3f4f5f6f7f8f9fafba8af3c9f1aa81d50440e9dbbd0c7aaa25e3ac3138e78b63665e7e699351cd790
         f4a8b5e79be37da57e07f26bdb16ae37f3d1059be97375c70c730d3d3a91bbe374b23681aa94ca3448de7078ce14009c");
    let keyring = Keyring::new(vec![kek()], 3).unwrap();
    let wrapped = keyring.wrap(&dek_place(), &key(0x60), &run(0xf0)).unwrap();
    assert_eq!(wrapped.to_bytes(), expected);
    let opened = keyring.unwrap(&dek_place(), &WrappedKey::parse(&expected).unwrap()).unwrap();
    assert_eq!(opened.bytes(), key(0x60).bytes());
    assert_eq!(wrapped.commitment(), dek().fingerprint());
}

#[test]
fn record_key_and_place_of_a_field() {
    let record = place().record;
    assert_eq!(
        derive(&key(0x60), &Context::RecordKey { kind: RECORD, record }).bytes().to_vec(),
        hex("c19319eace9701b3244fb6873fad35d258a329f39a8bee41037be13834e706e0")
    );
    let commitment = derive(&key(0x60), &Context::RecordCommitment { kind: RECORD, record });
    let aad = Context::Field {
        installation: installation(),
        owner: place().owner,
        kind: RECORD,
        record,
        field: "traits.email",
        category: "EmailAddress",
        version: 1,
        commitment: commitment.bytes(),
    };
    assert_eq!(
        aad.to_bytes(),
        hex(
            "616d616e61742f6669656c642f7631000100000010000102030405060708090a0b0c0d0e0f0300000010101112131415161718191a1b1c
             1d1e1f04000000067265636f72640500000010202122232425262728292a2b2c2d2e2f060000000c7472616974732e656d61696c070000
             000c456d61696c416464726573730800000004000000010a00000001010b000000202f452a5edb0114c821960a43385084328754f386e9
             7cef15694f9ea428171781"
        )
    );
}

#[test]
fn sealed_record() {
    let field = Term { number: 7, text: "traits.email" };
    let category = Term { number: 3, text: "EmailAddress" };
    let fields = [Field { field, category, json: "\"anna@example.org\"" }];
    let mut nonce = |bytes: &mut [u8]| {
        bytes.copy_from_slice(&run::<12>(0xf0));
        Ok(())
    };
    let sealed = dek().seal(&place(), &fields, &mut nonce).unwrap();
    let expected = hex(
        "53010000000100012f452a5edb0114c821960a43385084328754f386e97cef15694f9ea4281717810007000300000030f0f1f2f3f4f5
         f6f7f8f9fafb397279364e55590edf6f76b185953e3f8ddad6aaefccbb8d3e74537548eed615b85497e84f45b4ad0c998775c5304fd8",
    );
    assert_eq!(sealed.as_bytes(), expected);
    let read = Sealed::parse(expected).unwrap();
    let value = dek().open(&place(), &read).unwrap().field(field, "EmailAddress").unwrap();
    assert_eq!(value.reveal(&Access::because("test")), "\"anna@example.org\"");
}

#[test]
fn sealed_file() {
    let place = FilePlace {
        installation: installation(),
        owner: Owner::from(subject()),
        kind: RecordKind::new("access-package"),
        file: FileId::from_bytes(run(0x30)),
    };
    let expected = hex(
        "460100000001303132333435363738393a3b3c3d3e3fd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7361da693742159180b
         bd38fc511796dec380cd3029bd9e4666b5f68a1f0143c1bede913fe080dddba95dc3a6352998d793b317b12cd5",
    );
    assert_eq!(seal_file(&dek(), &place, &run(0xd0), b"amanat").unwrap(), expected);
    assert_eq!(open_file(&dek(), &place, &expected).unwrap().as_slice(), b"amanat");
}

#[test]
fn index_suppression_and_late_event() {
    let slots = [(IdentifierKind::Email, String::new())];
    let index = BlindIndex::new(secret(1, 0x80), slots);
    for (kind, namespace, text, expected) in [
        (IdentifierKind::Email, "", "anna@example.org", "f31b2ecd45e251b8328cb0c2c2733a7a"),
        (IdentifierKind::Email, "", "jörg.maier@xn--bcher-kva.example", "4806eea78af0261cf06ca3dc6b8e4ebb"),
        (IdentifierKind::Phone, "", "+989350004477", "989a854331bf2b0fc1975c2c74447b72"),
        (IdentifierKind::UserId, "shop", "A-17", "002781e4242baa92b94c48157512b442"),
        (IdentifierKind::Social, "instagram", "anna.k", "2637f0af438f6acf48f0b2a926a40a5e"),
    ] {
        assert_eq!(index.value(&kind, namespace, text).to_vec(), hex(expected), "{text}");
    }
    let lists = Suppressions::new(vec![secret(1, 0xa0), secret(2, 0xc0)]);
    let email = IdentifierKind::Email;
    let base = lists.entry(1, 1, &email, "", "anna@example.org").unwrap();
    assert_eq!(base.to_vec(), hex("4f31275d3698f6499e5c5370542d34ac1eca61089d974f103dcf7c82183ede52"));
    let layered = hex("b8e97a75d8cbc934b2bc0cb8670c63fca142fedf1e77f8d3764e587787a804f8");
    assert_eq!(lists.layer(2, &base).unwrap().to_vec(), layered);
    assert_eq!(lists.entry(1, 2, &email, "", "anna@example.org").unwrap().to_vec(), layered);
    assert_eq!(
        lists.late_event(1, &email, "", "anna@example.org").unwrap().to_vec(),
        hex("71f8f1c6e9dcaabfd616fef9736152ea3144428c485d63ad7d9e4c40add45be1")
    );
    assert_eq!(lists.entry(1, 3, &email, "", "a"), Err(Error::UnknownVersion(3)));
}

#[test]
fn pseudonym_and_token() {
    let recipient = RecipientId::new("mailer-eu");
    assert_eq!(dek().pseudonym(subject(), 1, &recipient), "sub_lkvgql45rezsbbpm2dvy2y23aa");
    let text = "amanat_at_FEgKooW5RLbIKrUYErGAWCWMtO7YYD7L8rb7x51oVyx0KbqPP";
    assert_eq!(TokenText::new(TokenKind::ApiToken, key(0x40)).text().as_str(), text);
    assert_eq!(TokenText::parse(text).unwrap().value().bytes(), key(0x40).bytes());
    assert_eq!(
        TokenMac::new(&secret(1, 0x20)).hash(text).to_vec(),
        hex("60919656762cb5924979e5c8d8157ea9abd1396450cd6a7874b59c06d60f1565")
    );
}

#[test]
fn buckets() {
    for (length, bucket) in
        [(1, 32), (33, 64), (1024, 1024), (1025, 2048), (16_385, 17_408), (20_000, 20_480), (100_000, 100_352)]
    {
        assert_eq!(padding::bucket(length), bucket);
    }
}

/// Leaf 1 of the log in the audit vectors: a record that was collected.
#[test]
fn audit_part() {
    let part = AUDIT_PART;
    let audit_key = AuditKey::new(Key::from_bytes(&mut Zeroizing::new(hex(part.key).try_into().unwrap())));
    let place =
        AuditPlace { role: 1, entry: EntryId::from_bytes([0xa1; 16]), event: 200, class: 1, origin: "gw.example/log" };
    let sealed = audit_key.seal(&place, &hex(part.payload), &[0xc1; 12]).unwrap();
    assert_eq!(sealed.tag.to_vec(), hex(part.tag));
    assert_eq!(sealed.commitment.to_vec(), hex(part.commitment));
    assert_eq!(sealed.sealed, hex(part.sealed));
    assert_eq!(sealed.sealed_hash.to_vec(), hex(part.sealed_hash));
    assert_eq!(audit_key.fingerprint().to_vec(), hex(part.key_commitment));
    let opened = audit_key.open(&place, &sealed.sealed, &sealed.commitment).unwrap();
    assert_eq!(opened.payload(), hex(part.payload));
    let elsewhere = AuditPlace { event: 201, ..place };
    let refused = audit_key.open(&elsewhere, &sealed.sealed, &sealed.commitment);
    assert_eq!(refused.err(), Some(Error::Rejected));
    let other = audit_key.open(&place, &sealed.sealed, &[0; 32]);
    assert_eq!(other.err(), Some(Error::CommitmentMismatch));
}

struct AuditPart {
    key: &'static str,
    key_commitment: &'static str,
    payload: &'static str,
    tag: &'static str,
    commitment: &'static str,
    sealed: &'static str,
    sealed_hash: &'static str,
}

const AUDIT_PART: AuditPart = AuditPart {
    key: "1111111111111111111111111111111111111111111111111111111111111111",
    key_commitment: "a421f185f1a95a8874f3593706d3ab724d1d046c59be9b4277392652ce562ce2",
    payload: "a661760164726f77738183667265636f726450515151515151515151515151515151515820634768dae14745
        06e4bf7d341890542b09987d7e6aea5d446c02e37581a56954666669656c6473826c7472616974732e656d61
        696c7070726f706572746965732e746f74616c66706f6c696379582090c9f6480dd7ebdd5551241a8df07dc7
        e945e5f625a7c3dac7607f7023d134ee677375626a656374500190f3c2a1b07c3d8e4f5a6b7c8d9e0f69636f
        6c6c6563746f726873686f702d776562",
    tag: "56b59092e3559033249977268d515561",
    commitment: "06d57de63a5339498001dde3fedf42492088975939b6209cd7e020ec4ac9b091",
    sealed: "4101c1c1c1c1c1c1c1c1c1c1c1c1db56296830875e3c75572cb59813eb5f95006975dcfa8f8e5ef73bbd667d
        eaca7d996e6ff76ea464a6f3edb5956a1f08414cfb05596d6d8965a1bdbde768204b1b3648fc3c42ce0a2858
        59370a9ca3772a3bc3d383ed40c69907c5f89803342cd0588dcf3d9c9493c528439d98bfd78d18663ce89456
        247883cbac6440a767fb2a6ee67fbf74bd8affe812a51a24da5b5bb4edce4f3140bf8f874bfab7c9ad1fe01a
        dafa5c571537eceb228979006ecc5cc56b3a7792842e489f77561290a2aee4939295326e6af0574877986bb8
        b3d3176973fe94bf73ccd3e1c203843e89818e3ff85b967c9fdd7aff72b11e958a7408c825962d31d6302c61
        dccb11af72672cca909047f694d4f2b8c45c6c6546a2",
    sealed_hash: "03397fb4f31bdaf28ed011e0aabee9630a01316c87f9a6e7d2b6211b55162b4e",
};

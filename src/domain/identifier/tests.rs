//! The table of examples in the reference, and what must hold for any text.

use proptest::prelude::*;

use super::IdentifierKind as Kind;
use super::normalise::{InvalidIdentifier, Refusal, canonical};
use super::{NormaliseContext, Subaddress};

fn in_region(kind: &Kind, text: &str, region: Option<&str>) -> Result<String, Refusal> {
    canonical(kind, text, &NormaliseContext { default_region: region, ..Default::default() })
}

fn email(text: &str) -> Result<String, Refusal> {
    in_region(&Kind::Email, text, None)
}

fn phone(text: &str, region: Option<&str>) -> Result<String, Refusal> {
    in_region(&Kind::Phone, text, region)
}

fn social(text: &str, network: &str) -> Result<String, Refusal> {
    canonical(&Kind::Social, text, &NormaliseContext { namespace: network, ..Default::default() })
}

#[test]
fn spellings_of_one_address_are_one() {
    for text in [
        " Anna@Example.ORG ",
        "anna＠example。org",
        "mailto:anna@example.org.",
        "\"anna\"@example.org",
        "an\u{200b}na@example.org\u{feff}",
    ] {
        assert_eq!(email(text).as_deref(), Ok("anna@example.org"), "{text}");
    }
    assert_eq!(email("JÖRG.MAIER@BÜCHER.EXAMPLE").as_deref(), Ok("jörg.maier@xn--bcher-kva.example"));
    assert_eq!(email("Faß@FAẞ.de").as_deref(), Ok("faß@xn--fa-hia.de"));
    assert_eq!(email("ali۱۲۳@gmail.com").as_deref(), Ok("ali123@gmail.com"));
    assert_eq!(email("علي@مثال.إختبار").as_deref(), Ok("علی@xn--mgbh0fb.xn--kgbechtv"));
    assert_eq!(email("a+tag@example.org").as_deref(), Ok("a+tag@example.org"));
    let strip = NormaliseContext { subaddress: Subaddress::Strip, ..Default::default() };
    assert_eq!(canonical(&Kind::Email, "a+tag@example.org", &strip).as_deref(), Ok("a@example.org"));
}

#[test]
fn what_is_no_address_is_invalid() {
    for text in [
        "a@b@c.org",
        "anna@localhost",
        "anna@[192.0.2.1]",
        "Anna <a@example.org>",
        "\"an na\"@example.org",
        "@example.org",
        "anna@",
        "a..b@example.org",
        "anna@exa_mple.org",
        "anna@example..org",
    ] {
        assert!(matches!(email(text), Err(Refusal::Invalid(_))), "{text}");
    }
    let long = format!("{}@example.org", "a".repeat(65));
    assert_eq!(email(&long), Err(Refusal::Invalid(InvalidIdentifier::TooLong)));
}

#[test]
fn telephone_numbers_become_e164() {
    assert_eq!(phone("۰۹۳۵ ۰۰۰ ۴۴۷۷", Some("IR")).as_deref(), Ok("+989350004477"));
    assert_eq!(phone("٠٥٥٩٠٠٠١٢٣", Some("SA")).as_deref(), Ok("+966559000123"));
    assert_eq!(phone("+49 (0)30 123456", None).as_deref(), Ok("+4930123456"));
    assert_eq!(phone("0049 30/123-456", None).as_deref(), Ok("+4930123456"));
    assert_eq!(phone("tel:+49-30-123456;ext=12", None).as_deref(), Ok("+4930123456;ext=12"));
    assert_eq!(phone("011 49 30 123456", Some("US")).as_deref(), Ok("+4930123456"));
    assert_eq!(phone("+52 1 55 1234 5678", None).as_deref(), Ok("+525512345678"));
    assert_eq!(phone("06 698 12345", Some("IT")).as_deref(), Ok("+390669812345"));
    assert_eq!(phone("030 123456", None), Err(Refusal::Invalid(InvalidIdentifier::NoRegion)));
    for text in ["+49 30 call me", "+0123456789", "+123456", "+1234567890123456", "+"] {
        assert!(matches!(phone(text, None), Err(Refusal::Invalid(_))), "{text}");
    }
}

#[test]
fn ids_keep_their_case_and_placeholders_are_blocked() {
    assert_eq!(in_region(&Kind::UserId, " A-17 ", None).as_deref(), Ok("A-17"));
    assert_eq!(in_region(&Kind::CookieId, "GA1.2.123.456", None).as_deref(), Ok("123.456"));
    let device = "6D92078A-8246-4BA4-AE5B-76104861E7DC";
    assert_eq!(in_region(&Kind::AdvertisingId, device, None).as_deref(), Ok("6d92078a-8246-4ba4-ae5b-76104861e7dc"));
    for text in
        ["", "  ", "0", "-1", "NULL", "Undefined", "n/a", "[object Object]", "00000000-0000-0000-0000-000000000000"]
    {
        assert_eq!(in_region(&Kind::UserId, text, None), Err(Refusal::Blocked), "{text}");
    }
    assert_eq!(social("@null", "x"), Err(Refusal::Blocked));
    let own = ["test".to_owned()];
    let context = NormaliseContext { blocked: &own, ..Default::default() };
    assert_eq!(canonical(&Kind::UserId, "test", &context), Err(Refusal::Blocked));
    assert_eq!(in_region(&Kind::UserId, "a\u{0}b", None), Err(Refusal::Invalid(InvalidIdentifier::ControlCharacter)));
    assert_eq!(
        in_region(&Kind::UserId, &"x".repeat(1_000_000), None),
        Err(Refusal::Invalid(InvalidIdentifier::TooLong))
    );
}

#[test]
fn handles_are_found_in_addresses() {
    assert_eq!(social("https://www.instagram.com/Anna.K/?hl=de", "instagram").as_deref(), Ok("anna.k"));
    assert_eq!(social("@Anna.K", "instagram").as_deref(), Ok("anna.k"));
    assert_eq!(social("Anna.K", "facebook").as_deref(), Ok("annak"));
    assert_eq!(social("Anna_K", "youtube").as_deref(), Ok("Anna_K"));
    for text in ["@Anna@Social.Example", "anna@social.example", "https://social.example/@Anna"] {
        assert_eq!(social(text, "mastodon").as_deref(), Ok("anna@social.example"), "{text}");
    }
    for text in ["https://facebook.com/profile.php?id=1", "https://facebook.com/", "@@anna"] {
        assert!(matches!(social(text, "facebook"), Err(Refusal::Invalid(_))), "{text}");
    }
}

#[test]
fn kinds_are_read_as_they_are_spelled() {
    for text in ["user_id", "email", "phone", "social", "push_token", "custom:loyalty-card"] {
        assert_eq!(Kind::parse(text).map(|kind| kind.spelling().into_owned()).as_deref(), Some(text));
    }
    for text in ["custom:", "custom:A", "Email", ""] {
        assert_eq!(Kind::parse(text), None);
    }
}

proptest! {
    /// A canonical form is its own canonical form, and no text makes a normaliser panic.
    #[test]
    fn normalising_twice_changes_nothing(
        text in prop_oneof![
            any::<String>(),
            "[\"@a-zA-ZäÖßẞÇςΣİ٠-٩۰-۹يىك.+ (-/;:=]{0,40}",
            "(mailto:|tel:|@|https://|\\+|00)?[a-zA-Z0-9J\u{30c}ﬁ①.@+-]{1,20}@?[a-zA-ZäＡ。.0-9-]{1,20}",
            "\\+?[0-9 ()./-]{5,22}(;ext=[0-9]{1,3})?",
        ],
        region in prop_oneof![Just(None), Just(Some("DE")), Just(Some("US")), Just(Some("IT"))],
        network in prop_oneof![Just("mastodon"), Just("facebook"), Just("other")],
    ) {
        let context = NormaliseContext { default_region: region, namespace: network, ..Default::default() };
        for kind in [
            Kind::Email, Kind::Phone, Kind::UserId, Kind::AdvertisingId, Kind::CookieId,
            Kind::PushToken, Kind::Social,
        ] {
            if let Ok(once) = canonical(&kind, &text, &context) {
                prop_assert_eq!(canonical(&kind, &once, &context), Ok(once.clone()));
            }
        }
    }
}

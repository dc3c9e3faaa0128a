//! The shipped example is clean; every kind of mistake is found, at its place.

use super::*;

/// The example policy of the repository.
static EXAMPLE: include_dir::Dir<'_> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/policies");

fn example() -> Files {
    fn gather(dir: &include_dir::Dir<'_>, files: &mut Files) {
        for file in dir.files() {
            files.insert(file.path().to_str().unwrap().to_owned(), file.contents().to_vec());
        }
        dir.dirs().for_each(|dir| gather(dir, files));
    }
    let mut files = Files::new();
    gather(&EXAMPLE, &mut files);
    files
}

fn load_example(files: &Files) -> Result<Policy, Vec<Mistake>> {
    load(files, &KnownNotices::new())
}

#[test]
fn the_shipped_policy_is_clean() {
    if let Err(mistakes) = load_example(&example()) {
        panic!("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }
}

/// The mistakes after one replacement in one file.
fn after(file: &str, from: &str, to: &str) -> Vec<Mistake> {
    let mut files = example();
    let text = String::from_utf8(files[file].clone()).unwrap();
    assert!(text.contains(from), "{file} has no `{from}`");
    files.insert(file.to_owned(), text.replacen(from, to, 1).into_bytes());
    load_example(&files).err().unwrap_or_default()
}

/// One replacement, and the mistake that must follow: file, key, code, words in what or hint.
type Row = (&'static str, &'static str, &'static str, &'static str, Option<Code>, &'static str);

#[rustfmt::skip] // A table is read row by row.
const MISTAKES: &[Row] = &[
    // TOML and its shapes
    ("controller.toml", "name =", "name", "", None, "controller.toml:2: "),
    ("controller.toml", "country = \"DE\"", "country = \"Germany\"", "country", None, "ISO 3166"),
    ("controller.toml", "country = \"DE\"", "country = 49", "country", None, "must be a text, is integer"),
    ("controller.toml", "Europe/Berlin", "Europe/Bärlin", "time_zone", None, "IANA"),
    ("controller.toml", "dpo_contact", "dpo_kontact", "dpo_kontact", None, "did you mean `dpo_contact`?"),
    ("controller.toml", "dpo_contact", "dpo_kontact", "dpo_contact", None, "is missing"),
    ("controller.toml", "\"de\", \"en\"", "\"de\", \"de\"", "languages", None, "twice"),
    ("controller.toml", "\"de\", \"en\"", "\"de\", \"e\"", "languages", None, "BCP 47"),
    ("controller.toml", "= false", "= \"no\"", "strip_email_subaddress", None, "true or false"),
    // Purposes
    ("purposes.toml", "basis = \"contract\"", "basis = \"contrakt\"", "purpose[order_handling].basis", None, "did you mean `contract`?"),
    ("purposes.toml", "basis = \"contract\"\n", "", "purpose[order_handling].basis", None, "is missing"),
    ("purposes.toml", "id = \"customer_care\"", "id = \"order_handling\"", "purpose[order_handling].id", None, "twice"),
    ("purposes.toml", "id = \"customer_care\"", "id = \"customer care\"", "purpose[customer care].id", None, "letters"),
    ("purposes.toml", "PersonalisedAdvertising", "PersonalizedAdvertising", "purpose[ad_audiences].term", None, "did you mean `PersonalisedAdvertising`?"),
    ("purposes.toml", "lia = \"LIA-3\"\n", "", "purpose[product_analytics].lia", Some(Code::LiaRequired), "balancing test"),
    ("purposes.toml", "channels = [\"email\"]", "required_for_service = true", "purpose[newsletter].required_for_service", Some(Code::ConditionalConsent), "7(4)"),
    ("purposes.toml", "validity = \"P24M\"\n", "", "purpose[newsletter].validity", None, "how long"),
    ("purposes.toml", "P24M", "P240Y", "purpose[newsletter].validity", None, "P100Y"),
    ("purposes.toml", "P24M", "24 months", "purpose[newsletter].validity", None, "write it like"),
    ("purposes.toml", "P24M", "-P1M", "purpose[newsletter].validity", None, "no period"),
    ("purposes.toml", "P24M", "PT5H", "purpose[newsletter].validity", None, "whole days"),
    ("purposes.toml", "channels = [\"email\"]", "explicit = true\nminimum_proof = \"act\"", "purpose[newsletter].dpia", Some(Code::DpiaMissing), "assessment"),
    ("purposes.toml", "channels = [\"email\"]", "explicit = true\ndpia = \"D-1\"", "purpose[newsletter].minimum_proof", None, "act"),
    ("purposes.toml", "channels = [\"email\"]", "within = \"newsletter\"", "purpose[newsletter].within", None, "leads back"),
    ("purposes.toml", "channels = [\"email\"]", "within = \"marketing\"", "purpose[newsletter].within", None, "unknown"),
    ("purposes.toml", "notice = \"shop\"", "notice = \"shoop\"", "purpose[order_handling].notice", None, "did you mean `shop`?"),
    ("purposes.toml", "title.fa = \"سفارش‌ها\"\n", "", "purpose[order_handling].title", Some(Code::DescriptionMissing), "fa"),
    ("purposes.toml", "notice = \"shop\"\ntitle.de = \"Newsletter\"", "title.de = \"Newsletter\"", "purpose[newsletter].notice", Some(Code::NoticeIncomplete), "13"),
    // Fields
    ("fields.toml", "category = \"EmailAddress\"", "category = \"EmailAdress\"", "field[traits.email].category", None, "did you mean `EmailAddress`?"),
    ("fields.toml", "identifies = \"email\"", "identifies = \"mail\"", "field[traits.email].identifies", None, "did you mean `email`?"),
    ("fields.toml", "identifies = \"email\"", "identifies = \"email\"\npersonal = false", "field[traits.email].personal", None, "identifies"),
    ("fields.toml", "retention = \"customer_data\"\n", "", "field[traits.email].retention", Some(Code::RetentionMissing), "5(1)(e)"),
    ("fields.toml", "retention = \"customer_data\"", "retention = \"for_ever\"", "field[traits.email].retention", None, "unknown"),
    ("fields.toml", "description.fa = \"نشانی ایمیل\"\n", "", "field[traits.email].description", Some(Code::DescriptionMissing), "missing in fa"),
    ("fields.toml", "category = \"Language\"", "category = \"Health\"", "field[context.locale].special", None, "special category"),
    ("fields.toml", "category = \"Language\"", "category = \"Health\"\nspecial = true", "field[context.locale].purposes", None, "9(2)(a)"),
    ("fields.toml", "origin = \"observed\"", "origin = \"guessed\"", "field[event].origin", None, "provided"),
    ("fields.toml", "purposes = [\"product_analytics\"]", "purposes = []", "field[event].purposes", None, "leave it out"),
    // Recipients
    ("recipients.toml", "contract = \"AVV-2024-07\"\n", "", "recipient[warehouse].contract", None, "28(3)"),
    ("recipients.toml", "tia = \"TIA-4\"\n", "", "recipient[helpdesk-us].tia", None, "assessment"),
    ("recipients.toml", "safeguard = \"scc_m2\"", "safeguard = \"scc_m5\"", "recipient[helpdesk-us].safeguard", None, "unknown"),
    ("recipients.toml", "newsletter = [\"traits.email\"", "newsletter = [\"traits.phone\"", "recipient[letterbox].purposes.newsletter", None, "does not serve"),
    ("recipients.toml", "newsletter = [\"traits.email\"", "newsletter = [\"traits.emial\"", "recipient[letterbox].purposes.newsletter", None, "did you mean `traits.email`?"),
    ("recipients.toml", "verbs = [\"erase\"]", "verbs = [\"delete\"]", "recipient[warehouse].verbs", None, "erase"),
    ("recipients.toml", "contract = \"AVV-2024-07\"", "contract = \"AVV-2024-07\"\ncontract_until = \"soon\"", "recipient[warehouse].contract_until", None, "a day"),
    // Collectors
    ("collectors.toml", "protocol = \"segment\"", "protocol = \"segmnt\"", "collector[shop-web].protocol", None, "did you mean `segment`?"),
    ("collectors.toml", "trust = \"public\"\n", "", "collector[shop-web].trust", None, "is missing"),
    ("collectors.toml", "https://shop.example\"", "https://shop.example/x\"", "collector[shop-web].origins", None, "no origin"),
    ("collectors.toml", "grants = [\"categories\"]", "grants = [\"gpc\"]", "collector[shop-web].grants", None, "never allow"),
    ("collectors.toml", "version = 1", "version = 9", "collector[shop-web].notice.version", None, "no version 9"),
    ("collectors.toml", "[\"product_analytics\"] }", "[\"analytics\"] }", "collector[shop-web].signals.categories.Analytics", None, "unknown"),
    ("collectors.toml", "Mailer = \"letterbox\"", "Mailer = \"letterbx\"", "collector[shop-web].integrations.Mailer", None, "did you mean `letterbox`?"),
    ("collectors.toml", "type = \"shop.order.*\"", "type = \"shop.*.order\"", "collector[shop-events].event[shop.*.order].type", None, "at its end"),
    ("collectors.toml", "subject = \"user_id\"", "subject = \"userid\"", "collector[shop-events].event[shop.customer.*].subject", None, "did you mean `user_id`?"),
    // Retention and reference
    ("retention.toml", "id = \"audit_leaves\"", "id = \"audit_leafs\"", "class", Some(Code::RetentionMissing), "audit_leaves"),
    ("retention.toml", "period = \"P13M\"\n", "", "class[usage_data].period", Some(Code::RetentionMissing), "longer than nothing"),
    ("retention.toml", "ground = \"17(3)(b)\"\n", "", "class[order_records].ground", None, "is missing"),
    ("reference/adequacy.toml", "valid_until = 2031-12-27", "valid_until = 2011-12-27", "decision[united-kingdom].valid_until", None, "before"),
    // Notices
    ("notices/shop/1.en.md", "+++\n", "---\n", "", None, "front matter"),
    ("notices/shop/1.en.md", "published_at", "publishd_at", "published_at", None, "is missing"),
    ("notices/shop/1.en.md", "{#withdrawal}", "", "contains", Some(Code::NoticeIncomplete), "{#withdrawal}"),
    ("notices/shop/1.en.md", "\"withdrawal\", ", "", "contains", Some(Code::NoticeIncomplete), "13(2)(c)"),
    ("notices/shop/1.en.md", "\"retarget-sg\"", "\"letterbox-sg\"", "recipients", None, "unknown"),
    ("notices/shop/1.en.md", "\"US\", \"IN\", ", "\"US\", ", "", None, "discloses other"),
    ("notices/shop/1.en.md", "\"translation\"", "\"editorial\"", "reason", None, "why"),
    ("notices/shop/1.en.md", "P0D", "P0DT1H", "grace", None, "no period"),
];

#[test]
fn each_mistake_is_found_at_its_place() {
    for (file, from, to, key, code, words) in MISTAKES {
        let mistakes = after(file, from, to);
        let found = mistakes
            .iter()
            .any(|mistake| mistake.key == *key && mistake.code == *code && mistake.to_string().contains(words));
        let all: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert!(found, "`{from}` → `{to}` in {file} gave {all:#?}");
    }
}

#[test]
fn all_mistakes_come_together_with_their_lines() {
    let mut files = example();
    let purposes = String::from_utf8(files["purposes.toml"].clone()).unwrap();
    let purposes =
        purposes.replace("lia = \"LIA-3\"\n", "").replacen("basis = \"contract\"", "basis = \"x\"\nbasiss = 1", 1);
    files.insert("purposes.toml".into(), purposes.into_bytes());
    files.insert("notices/shop/01.de.md".into(), b"+++\n+++\n".to_vec());
    files.remove("collectors.toml");
    let mistakes = load_example(&files).unwrap_err();
    let has = |file: &str, key: &str, line: Option<usize>| {
        mistakes.iter().any(|found| found.file == file && found.key == key && found.line == line)
    };
    assert!(has("purposes.toml", "purpose[order_handling].basis", Some(7)), "{mistakes:#?}");
    assert!(has("purposes.toml", "purpose[order_handling].basiss", Some(8)), "{mistakes:#?}");
    assert!(mistakes.iter().any(|found| found.code == Some(Code::LiaRequired)));
    assert!(has("notices/shop/01.de.md", "", None), "{mistakes:#?}");
    assert!(has("collectors.toml", "", None), "{mistakes:#?}");
}

#[test]
fn files_are_plain_text() {
    let broken: [(&[u8], &str); 3] =
        [(b"\xff", "not UTF-8"), (b"\xef\xbb\xbf", "byte order mark"), (b"a = 1\r\n", "carriage returns")];
    for (bytes, words) in broken {
        let mut files = example();
        files.insert("fields.toml".into(), bytes.to_vec());
        let mistakes = load_example(&files).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake.file == "fields.toml" && mistake.what.contains(words)));
    }
}

#[test]
fn a_purpose_that_is_off_may_be_unfinished() {
    let mut files = example();
    let mut purposes = files["purposes.toml"].clone();
    purposes.extend_from_slice(b"\n[[purpose]]\nid = \"later\"\ntitle.de = \"Sp\xc3\xa4ter\"\n");
    files.insert("purposes.toml".into(), purposes.clone());
    let policy = load_example(&files).unwrap();
    assert!(!policy.purposes["later"].active);
    purposes.extend_from_slice(b"active = true\n");
    files.insert("purposes.toml".into(), purposes);
    let mistakes = load_example(&files).unwrap_err();
    for key in ["basis", "term", "title", "description", "validity", "notice"] {
        assert!(mistakes.iter().any(|mistake| mistake.key == format!("purpose[later].{key}")), "{key}: {mistakes:#?}");
    }
}

#[test]
fn a_published_text_never_changes() {
    let mut files = example();
    let policy = load_example(&files).unwrap();
    let known: KnownNotices = policy.notices.iter().map(|(key, notice)| (key.clone(), notice.text_hash)).collect();
    assert!(load(&files, &known).is_ok());
    files.get_mut("notices/shop/1.fa.md").unwrap().push(b'\n');
    let mistakes = load(&files, &known).unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].to_string().contains("published before"), "{}", mistakes[0]);
}

#[test]
fn the_hash_names_paths_and_bytes() {
    let hash = |files: &[(&str, &str)]| {
        content_hash(&files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect())
    };
    assert_eq!(hash(&[("a", "1"), ("b", "2")]), hash(&[("b", "2"), ("a", "1")]));
    assert_ne!(hash(&[("a", "1"), ("b", "2")]), hash(&[("a", "1b2")]));
    assert_ne!(hash(&[("a", "1")]), hash(&[("a", "1 ")]));
    // Computed by hand from the documented form, with another implementation of SHA-256.
    assert_eq!(show::hex(&hash(&[("a", "1")]).0), "f25f6308ca9300daab7e94abc26c209f9e6177f50ea36d2bcc8119db26c54a9e");
}

#[test]
fn a_diff_tells_what_widens() {
    let old = load_example(&example()).unwrap();
    assert_eq!(diff(&old, &old), vec![]);
    let mut files = example();
    let edit = |files: &mut Files, file: &str, from: &str, to: &str| {
        let text = String::from_utf8(files[file].clone()).unwrap().replacen(from, to, 1);
        files.insert(file.to_owned(), text.into_bytes());
    };
    edit(
        &mut files,
        "recipients.toml",
        "newsletter = [\"traits.email\", ",
        "newsletter = [\"traits.email\", \"traits.lastName\", ",
    );
    edit(&mut files, "fields.toml", "\"newsletter\", \"bookkeeping\"]", "\"bookkeeping\"]");
    edit(
        &mut files,
        "fields.toml",
        "path = \"traits.lastName\"\ncategory = \"Name\"\npurposes = [",
        "path = \"traits.lastName\"\ncategory = \"Name\"\npurposes = [\"newsletter\", ",
    );
    edit(&mut files, "recipients.toml", "\"traits.firstName\", \"context.locale\"", "\"context.locale\"");
    let new = load_example(&files).unwrap();
    let words: Vec<String> = diff(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        vec![
            "field traits.lastName: purpose `newsletter` is added (widens)",
            "recipient letterbox: for newsletter: field `traits.lastName` is added (widens)",
            "field traits.firstName: purpose `newsletter` is removed (narrows)",
            "recipient letterbox: for newsletter: field `traits.firstName` is removed (narrows)",
        ]
    );
    assert!(show(&new).contains("purpose newsletter [consent, active] Newsletter"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    #[test]
    fn no_byte_makes_it_panic(file in 0..12usize, at in proptest::prelude::any::<proptest::sample::Index>(), byte in proptest::prelude::any::<u8>(), cut in proptest::prelude::any::<bool>()) {
        let mut files = example();
        let name = files.keys().nth(file % files.len()).unwrap().clone();
        let content = files.get_mut(&name).unwrap();
        let position = at.index(content.len());
        content[position] = byte;
        if cut {
            content.truncate(position);
        }
        let _ = load_example(&files).is_ok();
    }
}

//! The instructions in a bundle: how to verify it without believing whoever made it.

/// The languages there are instructions in, each with its text.
const TEXTS: [(&str, &str); 5] = [
    ("en", include_str!("readme/en.txt")),
    ("de", include_str!("readme/de.txt")),
    ("fr", include_str!("readme/fr.txt")),
    ("ar", include_str!("readme/ar.txt")),
    ("fa", include_str!("readme/fa.txt")),
];

/// The instructions in these languages and in their order; in English where there are none.
pub(super) fn text(languages: &[String]) -> String {
    let mut texts: Vec<&str> = Vec::new();
    for language in languages {
        let primary = language.split('-').next().unwrap_or_default();
        texts.extend(TEXTS.iter().filter(|(known, _)| *known == primary).map(|(_, text)| *text));
    }
    if texts.is_empty() {
        texts.extend(TEXTS.first().map(|(_, text)| *text));
    }
    texts.join("\n----------------------------------------------------------------------\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controllers_languages_come_in_their_order() {
        let both = text(&["de-AT".to_owned(), "nl".to_owned(), "fa".to_owned()]);
        assert!(both.starts_with(TEXTS[1].1) && both.ends_with(TEXTS[4].1));
        assert!(!both.contains(TEXTS[0].1));
        assert_eq!(text(&["nl".to_owned()]), TEXTS[0].1);
        for (language, text) in TEXTS {
            assert!(text.contains("amanat audit verify") && text.contains("--trust"), "{language}");
            assert!(text.ends_with('\n') && !text.contains('\r'), "{language}");
        }
    }
}

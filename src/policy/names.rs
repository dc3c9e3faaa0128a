//! The names that the files of a policy declare, gathered before any is checked, so that each use of
//! a name can be held against them.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::DeTable;

/// Every declared name.
#[derive(Default)]
pub(super) struct Names<'a> {
    pub(super) purposes: BTreeSet<&'a str>,
    pub(super) fields: BTreeSet<&'a str>,
    pub(super) recipients: BTreeSet<&'a str>,
    pub(super) retention: BTreeSet<&'a str>,
    pub(super) notices: BTreeSet<&'a str>,
    /// Languages of the controller; the first is the default.
    pub(super) languages: Vec<String>,
}

/// The texts under `id` in each `[[list]]` of a table.
pub(super) fn declared<'a>(table: Option<&'a Spanned<DeTable<'a>>>, list: &str, id: &str) -> BTreeSet<&'a str> {
    let array = table.and_then(|table| table.get_ref().get(list)).and_then(|value| value.get_ref().as_array());
    let Some(array) = array else {
        return BTreeSet::new();
    };
    array.iter().filter_map(|item| item.get_ref().as_table()?.get(id)?.get_ref().as_str()).collect()
}

/// The texts of a list at the top of a table.
pub(super) fn texts(table: Option<&Spanned<DeTable<'_>>>, key: &str) -> Vec<String> {
    let array = table.and_then(|table| table.get_ref().get(key)).and_then(|value| value.get_ref().as_array());
    let Some(array) = array else {
        return Vec::new();
    };
    array.iter().filter_map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
}

//! Stage 2, classify: the policy names every field; what it does not name was dropped at the door.

use crate::domain::category::Field;
use crate::domain::id::FieldPath;
use crate::domain::personal::Personal;
use crate::domain::policy::Policy;

use super::identify::Identified;

/// An event whose fields are known to the policy.
pub(super) struct Classified<'a> {
    pub(super) identified: &'a Identified,
    /// Declared fields with their values, JSON text.
    pub(super) fields: Vec<(&'a Field, &'a Personal<String>)>,
    only: (),
}

impl<'a> Classified<'a> {
    pub(super) fn new(policy: &'a Policy, identified: &'a Identified) -> Self {
        let mut fields: Vec<(&Field, &Personal<String>)> = identified
            .event
            .values
            .iter()
            .filter_map(|(path, value)| policy.fields.get(path).map(|field| (field, value)))
            .collect();
        fields.sort_unstable_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        fields.dedup_by(|(a, _), (b, _)| a.path == b.path);
        Self { identified, fields, only: () }
    }

    /// Whether these are the paths of its fields.
    pub(super) fn has_paths(&self, paths: &[FieldPath]) -> bool {
        self.fields.iter().map(|(field, _)| &field.path).eq(paths)
    }

    /// The paths of its fields, sorted.
    pub(super) fn paths(&self) -> Vec<FieldPath> {
        let () = self.only;
        self.fields.iter().map(|(field, _)| field.path.clone()).collect()
    }
}

//! The tables of a witness, written by hand; what the columns mean stands in the migration.

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::Instant;

    cosigned (origin) {
        origin -> Text,
        size -> BigInt,
        root -> Binary,
        note -> Text,
        at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::Instant;

    refused (origin, size, root, status) {
        origin -> Text,
        size -> BigInt,
        root -> Binary,
        status -> SmallInt,
        cosigned_size -> BigInt,
        proven -> SmallInt,
        evidence -> Text,
        at -> Instant,
    }
}

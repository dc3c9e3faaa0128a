//! The key store, written by hand; the parity test compares it with both catalogues.
//! What the columns mean stands in the migrations.

#![expect(missing_docs, reason = "the migrations document tables and columns")]

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    installation (id) {
        id -> Uuid16,
        created_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    kek (version) {
        version -> Integer,
        state -> Text,
        commitment -> Binary,
        sealed -> Nullable<Binary>,
        wraps -> BigInt,
        created_at -> Instant,
        retired_at -> Nullable<Instant>,
        destroyed_at -> Nullable<Instant>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    subject_key (subject, version) {
        subject -> Uuid16,
        version -> Integer,
        kek_version -> Integer,
        wrapped -> Binary,
        created_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    secret (purpose, version) {
        purpose -> Text,
        version -> Integer,
        kek_version -> Integer,
        wrapped -> Binary,
        state -> Text,
        created_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    audit_key (id) {
        id -> Uuid16,
        holder_kind -> SmallInt,
        holder -> Uuid16,
        class -> SmallInt,
        kek_version -> Integer,
        wrapped -> Binary,
        created_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    owned_key (id) {
        id -> Uuid16,
        purpose -> Text,
        owner -> Uuid16,
        version -> Integer,
        kek_version -> Integer,
        wrapped -> Binary,
        created_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    key_tombstone (purpose, holder, version) {
        purpose -> Text,
        holder -> Uuid16,
        version -> Integer,
        commitment -> Binary,
        whole -> SmallInt,
        erased_at -> Instant,
        position -> Nullable<BigInt>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    key_job (id) {
        id -> Uuid16,
        kind -> Text,
        from_version -> Integer,
        to_version -> Integer,
        position -> Binary,
        total -> BigInt,
        done -> BigInt,
        state -> Text,
        holder -> Nullable<Uuid16>,
        lease_until -> Nullable<Instant>,
        created_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    last_signed (log) {
        log -> SmallInt,
        size -> BigInt,
        root -> Binary,
        note -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    instance (id) {
        id -> Uuid16,
        kek_version -> Integer,
        started_at -> Instant,
        seen_at -> Instant,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    installation,
    kek,
    subject_key,
    secret,
    audit_key,
    owned_key,
    key_tombstone,
    key_job,
    last_signed,
    instance
);

//! The tables of requests of people and of erasures, and what outlives these.

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    suppression (value, scope) {
        value -> Binary,
        scope -> Text,
        kind -> Text,
        namespace -> Text,
        base_version -> Integer,
        top_version -> Integer,
        normaliser -> Integer,
        day -> Text,
        reason -> Text,
        review -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    late_event (value) {
        value -> Binary,
        erased_at -> Instant,
        secret_version -> Integer,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    subject_case (id) {
        id -> Uuid16,
        reference -> Text,
        channel -> Text,
        opened_by -> Text,
        language -> Text,
        received_at -> Instant,
        trigger_day -> Text,
        key -> Uuid16,
        sealed -> Binary,
        entry -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    subject_request (id) {
        id -> Uuid16,
        subject_case -> Uuid16,
        kind -> Text,
        state -> Text,
        outcome -> Nullable<Text>,
        subject -> Nullable<Uuid16>,
        assurance -> Text,
        version -> BigInt,
        target_date -> Text,
        nominal_due -> Text,
        statutory_due -> Text,
        created_at -> Instant,
        answered_at -> Nullable<Instant>,
        closed_at -> Nullable<Instant>,
        entry -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    task (id) {
        id -> Uuid16,
        request -> Uuid16,
        target -> Text,
        verb -> Text,
        outcome -> Text,
        proof -> Nullable<Text>,
        attempts -> Integer,
        next_at -> Nullable<Instant>,
        lease_until -> Nullable<Instant>,
        holder -> Nullable<Uuid16>,
        message -> Uuid16,
        nonce -> Nullable<Binary>,
        pseudonym -> Nullable<Text>,
        key -> Nullable<Uuid16>,
        sealed -> Nullable<Binary>,
        settled_at -> Nullable<Instant>,
        entry -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    package (id) {
        id -> Uuid16,
        request -> Uuid16,
        subject -> Nullable<Uuid16>,
        key -> Uuid16,
        manifest_hash -> Binary,
        sealed -> Binary,
        made_at -> Instant,
        expires_at -> Instant,
        fetched_at -> Nullable<Instant>,
        entry -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    erasure (request) {
        request -> Uuid16,
        subjects -> Binary,
        step -> SmallInt,
        plan_hash -> Binary,
        plan -> Text,
        fingerprints -> Binary,
        deleted -> Text,
        key -> Nullable<Uuid16>,
        sealed -> Nullable<Binary>,
        started_at -> Instant,
        completed_at -> Nullable<Instant>,
        handed_out_at -> Nullable<Instant>,
        entry -> Uuid16,
    }
}

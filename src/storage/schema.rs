//! The data store, written by hand; the parity test compares it with both catalogues. The tables of the
//! audit log stand in `audit`, those of requests and erasures in `rights`.
//! What the columns mean stands in the migrations.

#![expect(missing_docs, reason = "the migrations document tables and columns")]

mod audit;
mod rights;

pub use audit::{
    audit_anchor, audit_checkpoint, audit_cosignature, audit_leaf, audit_log, audit_prune, audit_restore, audit_scrub,
    audit_sealed, audit_tile, audit_witnessing,
};
pub use rights::{erasure, late_event, package, subject_case, subject_request, suppression, task};

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    installation (id) {
        id -> Uuid16,
        created_at -> Instant,
        policy -> Binary,
        schema_told -> Nullable<Binary>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    term (kind, number) {
        kind -> SmallInt,
        number -> Integer,
        text -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    policy_version (hash) {
        hash -> Binary,
        files -> Binary,
        activated_at -> Instant,
        entry -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    subject (id) {
        id -> Uuid16,
        profile -> Uuid16,
        version -> BigInt,
        status -> SmallInt,
        device -> SmallInt,
        key_version -> Integer,
        retained_purpose -> Nullable<Text>,
        suppressed -> SmallInt,
        created_at -> Instant,
        entry -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    identifier (id) {
        id -> Uuid16,
        subject -> Uuid16,
        kind -> Text,
        namespace -> Text,
        sealed -> Binary,
        proof -> SmallInt,
        added_at -> Instant,
        entry -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    identifier_index (kind, namespace, index_version, value) {
        kind -> Text,
        namespace -> Text,
        index_version -> Integer,
        value -> Binary,
        identifier -> Uuid16,
        subject -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    identity_edge (id) {
        id -> Uuid16,
        operation -> SmallInt,
        subject_a -> Uuid16,
        subject_b -> Uuid16,
        index_a -> Binary,
        index_b -> Binary,
        kind_a -> Text,
        kind_b -> Text,
        proof -> SmallInt,
        collector -> Text,
        at -> Instant,
        entry -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    record (id) {
        id -> Uuid16,
        subject -> Uuid16,
        device -> Nullable<Uuid16>,
        collector -> Text,
        kind -> Text,
        occurred_at -> Instant,
        collected_at -> Instant,
        policy -> Binary,
        plain -> Text,
        sealed -> Binary,
        retained -> Nullable<Text>,
        entry -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    seen_event (mark) {
        mark -> Binary,
        at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    consent_line (id) {
        id -> Uuid16,
        subject -> Uuid16,
        purpose -> Text,
        channel -> Text,
        scope -> SmallInt,
        created_at -> Instant,
        entry -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    consent_event (id) {
        id -> Uuid16,
        consent -> Uuid16,
        subject -> Uuid16,
        interaction -> Uuid16,
        kind -> SmallInt,
        actor -> SmallInt,
        proof -> SmallInt,
        notice -> Nullable<Text>,
        notice_version -> Nullable<Integer>,
        notice_language -> Nullable<Text>,
        notice_hash -> Nullable<Binary>,
        policy -> Binary,
        given_at -> Instant,
        recorded_at -> Instant,
        valid_until -> Nullable<Instant>,
        explicit -> SmallInt,
        collector -> Text,
        method -> Text,
        evidence -> Nullable<Binary>,
        mac -> Binary,
        entry -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    delivery (id) {
        id -> Uuid16,
        recipient -> Text,
        purpose -> Text,
        subject -> Uuid16,
        record -> Uuid16,
        message -> Uuid16,
        state -> SmallInt,
        attempts -> Integer,
        next_at -> Instant,
        lease_until -> Nullable<Instant>,
        holder -> Nullable<Uuid16>,
        reason -> Nullable<Text>,
        created_at -> Instant,
        settled_at -> Nullable<Instant>,
        entry -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    disclosure (id) {
        id -> Uuid16,
        subject -> Uuid16,
        recipient -> Text,
        purpose -> Text,
        fields -> Text,
        safeguard -> Text,
        record -> Nullable<Uuid16>,
        delivery -> Nullable<Uuid16>,
        at -> Instant,
        entry -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    pseudonym (recipient, value) {
        recipient -> Text,
        value -> Text,
        subject -> Uuid16,
        version -> Integer,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    recipient_state (recipient) {
        recipient -> Text,
        state -> SmallInt,
        reason -> Text,
        changed_at -> Instant,
        entry -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    token (id) {
        id -> Uuid16,
        kind -> SmallInt,
        name -> Text,
        hash -> Binary,
        last_four -> Text,
        scopes -> Text,
        collector -> Text,
        recipient -> Text,
        secret_version -> Integer,
        created_at -> Instant,
        expires_at -> Nullable<Instant>,
        disabled_at -> Nullable<Instant>,
        last_used_at -> Nullable<Instant>,
        mac -> Binary,
        entry -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    idempotency (mark) {
        mark -> Binary,
        body_hash -> Binary,
        subject -> Nullable<Uuid16>,
        status -> Integer,
        answer -> Text,
        at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    import_job (id) {
        id -> Uuid16,
        file_hash -> Binary,
        collector -> Text,
        position -> BigInt,
        total -> BigInt,
        accepted -> BigInt,
        refused -> BigInt,
        rejected -> BigInt,
        state -> SmallInt,
        started_at -> Instant,
        entry -> Uuid16,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    lease (name) {
        name -> Text,
        holder -> Uuid16,
        epoch -> BigInt,
        until -> Instant,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    installation,
    term,
    policy_version,
    subject,
    identifier,
    identifier_index,
    identity_edge,
    record,
    seen_event,
    consent_line,
    consent_event,
    delivery,
    disclosure,
    pseudonym,
    recipient_state,
    token,
    idempotency,
    suppression,
    late_event,
    subject_case,
    subject_request,
    task,
    package,
    erasure,
    import_job,
    lease,
    audit_log,
    audit_leaf,
    audit_tile,
    audit_sealed,
    audit_checkpoint,
    audit_anchor
);

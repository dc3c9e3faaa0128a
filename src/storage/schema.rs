//! The data store, written by hand; the parity test compares it with both catalogues.
//! What the columns mean stands in the migrations.

#![expect(missing_docs, reason = "the migrations document tables and columns")]

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    installation (id) {
        id -> Uuid16,
        created_at -> Instant,
        policy -> Binary,
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

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    audit_log (log) {
        log -> SmallInt,
        origin -> Text,
        size -> BigInt,
        root -> Binary,
        frontier -> Binary,
        last_hash -> Binary,
        last_time -> Instant,
        epoch -> BigInt,
        minimum_index -> BigInt,
        closed -> SmallInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    audit_leaf (log, seq) {
        log -> SmallInt,
        seq -> BigInt,
        entry -> Uuid16,
        time -> Instant,
        event -> SmallInt,
        leaf -> Binary,
        hash -> Binary,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    audit_tile (log, level, idx) {
        log -> SmallInt,
        level -> SmallInt,
        idx -> BigInt,
        hashes -> Binary,
        root -> Binary,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    audit_sealed (entry, role) {
        entry -> Uuid16,
        role -> SmallInt,
        holder -> Uuid16,
        class -> SmallInt,
        time -> Instant,
        sealed -> Binary,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    audit_checkpoint (log, size) {
        log -> SmallInt,
        size -> BigInt,
        note -> Text,
        signed_at -> Instant,
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
    audit_checkpoint
);

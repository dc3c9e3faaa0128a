//! The tables of the audit log.

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

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    audit_anchor (log, size, kind) {
        log -> SmallInt,
        size -> BigInt,
        kind -> Text,
        asked_at -> Instant,
        reply -> Nullable<Binary>,
        made_at -> Nullable<Instant>,
        overdue -> SmallInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::Instant;

    audit_cosignature (log, size, witness) {
        log -> SmallInt,
        size -> BigInt,
        witness -> Text,
        line -> Text,
        time -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::Instant;

    audit_witnessing (log) {
        log -> SmallInt,
        trust -> Binary,
        unwitnessed_since -> Nullable<Instant>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    audit_scrub (log) {
        log -> SmallInt,
        round -> BigInt,
        position -> BigInt,
        progress -> Nullable<Text>,
        finished_at -> Nullable<Instant>,
        finished_size -> Nullable<BigInt>,
        faults -> Nullable<BigInt>,
        first_fault -> Nullable<BigInt>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::{Instant, Uuid16};

    audit_prune (log) {
        log -> SmallInt,
        until -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::storage::sql_types::Instant;

    audit_restore (log) {
        log -> SmallInt,
        size -> BigInt,
        root -> Binary,
        time -> Instant,
    }
}

diesel::allow_tables_to_appear_in_same_query!(audit_checkpoint, audit_cosignature);

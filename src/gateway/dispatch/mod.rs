//! A delivery is dispatched: claim, decide again, open just the permitted fields, hand over, settle.

//! What is done now and then: forgetting marks, following policy and tokens, sweeping.

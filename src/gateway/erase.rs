//! A person is erased (Art. 17): a resumable machine of idempotent steps.

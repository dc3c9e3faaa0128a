//! The Merkle tree of RFC 6962: roots, and proofs made and checked.
//!
//! `hash_leaf = SHA-256(0x00 ‖ leaf)`, `hash_node = SHA-256(0x01 ‖ left ‖ right)`: the prefix is
//! what keeps an inner node from being offered as a leaf.

use sha2::{Digest, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index is not below the size.
    #[error("the index is not below the size")]
    IndexOutOfRange,
    /// The older size is larger than the newer one.
    #[error("the older size is larger than the newer one")]
    SizesSwapped,
    /// The number of hashes is wrong.
    #[error("the proof has too few or too many hashes")]
    Length,
    /// The hashes do not lead to the root.
    #[error("the proof does not lead to the root")]
    Root,
}

/// What a consistency proof showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// The older size is 0: there is nothing to be consistent with.
    FirstCheckpoint,
    /// Same size, same root.
    Same,
    /// The newer tree holds the older one unchanged.
    Extends,
}

/// Hashes a leaf.
#[must_use]
pub fn hash_leaf(leaf: &[u8]) -> Hash {
    let mut digest = Sha256::new_with_prefix([0x00]);
    digest.update(leaf);
    digest.finalize().into()
}

/// Hashes an inner node.
#[must_use]
pub fn hash_node(left: &Hash, right: &Hash) -> Hash {
    let mut digest = Sha256::new_with_prefix([0x01]);
    digest.update(left);
    digest.update(right);
    digest.finalize().into()
}

/// The root of the tree without leaves, `SHA-256("")`.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// The roots of the full subtrees that make up a log, enough to append to it and to know its root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// One hash per set bit of `size`, largest subtree first.
    hashes: Vec<Hash>,
}

/// Stored bytes are not the frontier of a log of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored frontier does not fit the size of the log")]
pub struct FrontierMismatch;

impl Frontier {
    /// The frontier of the empty log.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, hashes: Vec::new() }
    }

    /// Reads 32 bytes for each set bit of `size`, largest subtree first.
    ///
    /// # Errors
    ///
    /// If the length does not fit the size.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Result<Self, FrontierMismatch> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || u32::try_from(hashes.len()) != Ok(size.count_ones()) {
            return Err(FrontierMismatch);
        }
        Ok(Self { size, hashes: hashes.to_vec() })
    }

    /// 32 bytes for each set bit of the size, largest subtree first.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.hashes.concat()
    }

    /// The number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends the hash of the next leaf.
    pub fn append(&mut self, leaf_hash: &Hash) {
        let mut hash = *leaf_hash;
        // Each trailing one of the size is a full subtree that this leaf completes.
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.hashes.pop() else { break };
            hash = hash_node(&left, &hash);
        }
        self.hashes.push(hash);
        self.size += 1;
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut hashes = self.hashes.iter().rev();
        let Some(smallest) = hashes.next() else {
            return empty_root();
        };
        hashes.fold(*smallest, |right, left| hash_node(left, &right))
    }
}

/// Where the hashes of full subtrees come from.
pub trait HashSource {
    /// Why a hash cannot be had.
    type Error;

    /// The root of the full subtree of 2^`level` leaves that starts at leaf `index` × 2^`level`.
    ///
    /// # Errors
    ///
    /// If the subtree is not full, or its hash cannot be read.
    fn hash(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The root of the first `size` leaves.
///
/// # Errors
///
/// Whatever the source fails with.
pub fn root<S: HashSource>(size: u64, source: &S) -> Result<Hash, S::Error> {
    if size == 0 { Ok(empty_root()) } else { range_root(0, size, source) }
}

/// The hashes that prove leaf `index` in the tree of `size` leaves, from its sibling up (RFC 6962
/// §2.1.1). `index` must be below `size`; otherwise the proof is empty and proves nothing.
///
/// # Errors
///
/// Whatever the source fails with.
pub fn inclusion_proof<S: HashSource>(index: u64, size: u64, source: &S) -> Result<Vec<Hash>, S::Error> {
    let mut proof = Vec::new();
    if index >= size {
        return Ok(proof);
    }
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(range_root(middle, end, source)?);
            end = middle;
        } else {
            proof.push(range_root(start, middle, source)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The hashes that prove that the tree of `to` leaves extends that of `from` (RFC 6962 §2.1.2).
/// Empty if `from` is 0 or equal to `to`; `from` must not be above `to`.
///
/// # Errors
///
/// Whatever the source fails with.
pub fn consistency_proof<S: HashSource>(from: u64, to: u64, source: &S) -> Result<Vec<Hash>, S::Error> {
    let mut proof = Vec::new();
    if from == 0 || from >= to {
        return Ok(proof);
    }
    let (mut start, mut end) = (0, to);
    // As long as the range starts at 0 and ends at `from`, the verifier knows its root already.
    while end != from {
        let middle = start + split(end - start);
        if from <= middle {
            proof.push(range_root(middle, end, source)?);
            end = middle;
        } else {
            proof.push(range_root(start, middle, source)?);
            start = middle;
        }
    }
    if start != 0 {
        proof.push(range_root(start, end, source)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The root of leaves `start..end`, where `start` is a multiple of every power of two that the
/// splits of the tree make of the range.
fn range_root<S: HashSource>(start: u64, end: u64, source: &S) -> Result<Hash, S::Error> {
    let length = end - start;
    if length.is_power_of_two() {
        let level = length.trailing_zeros();
        return source.hash(level, start >> level);
    }
    let middle = start + split(length);
    let left = range_root(start, middle, source)?;
    Ok(hash_node(&left, &range_root(middle, end, source)?))
}

/// The largest power of two below `length`, which is at least 2.
const fn split(length: u64) -> u64 {
    1 << (u64::BITS - 1 - (length - 1).leading_zeros())
}

/// Checks an inclusion proof (RFC 9162 §2.1.3.2).
///
/// # Errors
///
/// A [`ProofError`].
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf_hash: &Hash,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::IndexOutOfRange);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf_hash;
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            hash = hash_node(sibling, &hash);
            if node & 1 == 0 {
                let shift = node.trailing_zeros().min(u64::BITS - 1);
                node >>= shift;
                last >>= shift;
            }
        } else {
            hash = hash_node(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if hash == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// Checks a consistency proof (RFC 9162 §2.1.4.2).
///
/// # Errors
///
/// A [`ProofError`]. From size 0 only an empty proof is accepted.
pub fn verify_consistency(
    from: u64,
    from_root: &Hash,
    to: u64,
    to_root: &Hash,
    proof: &[Hash],
) -> Result<Consistency, ProofError> {
    if from > to {
        return Err(ProofError::SizesSwapped);
    }
    if from == 0 || from == to {
        if !proof.is_empty() {
            return Err(ProofError::Length);
        }
        if from == to {
            return if from_root == to_root { Ok(Consistency::Same) } else { Err(ProofError::Root) };
        }
        return Ok(Consistency::FirstCheckpoint);
    }

    let (seed, rest) =
        if from.is_power_of_two() { (from_root, proof) } else { proof.split_first().ok_or(ProofError::Length)? };
    let (old, new) = consistency_roots(from, to, seed, rest)?;
    if old == *from_root && new == *to_root { Ok(Consistency::Extends) } else { Err(ProofError::Root) }
}

/// The roots of the older and of the newer tree that a consistency proof leads to (RFC 9162
/// §2.1.4.2). `seed` is the root of the largest full subtree at the right edge of the older tree:
/// its own root where its size is a power of two, else the first hash of the proof.
///
/// # Errors
///
/// A [`ProofError`] if the number of hashes is wrong, or not 0 < `from` < `to`.
pub fn consistency_roots(from: u64, to: u64, seed: &Hash, hashes: &[Hash]) -> Result<(Hash, Hash), ProofError> {
    if from == 0 || from >= to {
        return Err(ProofError::SizesSwapped);
    }
    let (mut node, mut last) = (from - 1, to - 1);
    let shift = node.trailing_ones();
    node >>= shift;
    last >>= shift;
    let (mut old, mut new) = (*seed, *seed);
    for hash in hashes {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            old = hash_node(hash, &old);
            new = hash_node(hash, &new);
            if node & 1 == 0 {
                let shift = node.trailing_zeros().min(u64::BITS - 1);
                node >>= shift;
                last >>= shift;
            }
        } else {
            new = hash_node(&new, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 { Ok((old, new)) } else { Err(ProofError::Length) }
}

"""The Merkle tree of RFC 6962 §2.1, and its proofs."""

import hashlib


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def node(left, right):
    return sha256(b"\1", left, right)


class Tree:
    """The roots of the perfect trees that make it up, largest first, each with its number of leaves."""

    def __init__(self):
        self.size, self.peaks = 0, []

    def copy(self):
        copied = Tree()
        copied.size, copied.peaks = self.size, list(self.peaks)
        return copied

    def append(self, root, leaves=1):
        self.size += leaves
        while self.peaks and self.peaks[-1][0] == leaves:
            root, leaves = node(self.peaks.pop()[1], root), leaves * 2
        self.peaks.append((leaves, root))

    def root(self):
        root = None
        for _, peak in reversed(self.peaks):
            root = peak if root is None else node(peak, root)
        return sha256() if root is None else root


def root_of(hashes):
    tree = Tree()
    for leaf_hash in hashes:
        tree.append(leaf_hash)
    return tree.root()


def inclusion_holds(index, size, leaf_hash, proof, root):
    """RFC 9162 §2.1.3.2."""
    if index >= size:
        return False
    first, last, so_far = index, size - 1, leaf_hash
    for step in proof:
        if last == 0:
            return False
        if first & 1 or first == last:
            so_far = node(step, so_far)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            so_far = node(so_far, step)
        first, last = first >> 1, last >> 1
    return last == 0 and so_far == root


def consistency_holds(size, root, size_then, root_then, proof):
    """RFC 9162 §2.1.4.2. From nothing, anything is consistent, and nothing is to be proved."""
    if size == 0 or size == size_then:
        return not proof and (size == 0 and root == sha256() or root == root_then)
    if size > size_then or not proof:
        return False
    return roots_of_consistency(size, size_then, proof if size & (size - 1) else [root, *proof]) == (root, root_then)


def roots_of_consistency(size, size_then, proof):
    """The two roots that a proof leads to, or None. Here the proof always begins with the root of the largest
    perfect tree at the right edge of the smaller one."""
    first, last = size - 1, size_then - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    old = new = proof[0]
    for step in proof[1:]:
        if last == 0:
            return None
        if first & 1 or first == last:
            old, new = node(step, old), node(step, new)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            new = node(new, step)
        first, last = first >> 1, last >> 1
    return (old, new) if last == 0 else None

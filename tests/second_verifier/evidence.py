"""Evidence that a log contradicts itself: two notes that its own key signed."""

from cbor import Malformed, need
from finding import Finding
from note import open_checkpoint, strict_base64
from opened import read_json
from tree import roots_of_consistency


def verify(data, trust, report):
    try:
        # `proof` alone may be null.
        evidence = read_json(data, nullable=("proof",))
        need(set(evidence) == {"format", "kind", "notes", "proof", "why"} and evidence["kind"] in ("fork", "rollback"))
        need(isinstance(evidence["notes"], list) and len(evidence["notes"]) == 2)
        notes = [note.encode() for note in evidence["notes"]]
        proof = None if evidence["proof"] is None else [strict_base64(one) for one in evidence["proof"]]
        need(proof is None or len(proof) <= 64 and all(len(one) == 32 for one in proof))
    except (Malformed, AttributeError, TypeError):
        raise Finding("malformed", "The evidence cannot be read.") from None
    first = open_checkpoint(notes[0], trust.logs)
    second = open_checkpoint(notes[1], trust.logs, expected=first.origin)
    report.said.update(origin=first.origin, size=max(first.size, second.size))
    if evidence["kind"] == "rollback":
        shows = second.size < first.size
    else:
        older, newer = sorted((first, second), key=lambda checkpoint: checkpoint.size)
        shows = older.root != newer.root if older.size == newer.size else not is_consistent(older, newer, proof)
    if not shows:
        raise Finding("malformed", "This is no evidence: its notes do not contradict each other.")
    report.add(evidence["kind"], "The log signed two views that cannot both be true.")


def is_consistent(older, newer, proof):
    """Whether the proof, which is of the tree of the newer note, leads to both roots. It begins with a root that
    other proofs leave out where the older size is a power of two."""
    roots = roots_of_consistency(older.size, newer.size, proof) if proof else None
    return roots == (older.root, newer.root)

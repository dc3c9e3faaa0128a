"""Two bundles of one log: whether what was signed in both can be true together."""

from cbor import Malformed
from finding import Finding
from tree import Tree


def hold_against(size, known, open_other, report):
    """What the other one signed of leaves that are here must fit them, so it is taken as known. If the other one is
    the larger, its hashes must lead to what is known here."""
    elsewhere = type(report)()
    try:
        other = open_other(elsewhere)
        here = list(known.checkpoints)
        known.learn(other.handovers())
        for name, _, note in other.notes():
            before = len(known.checkpoints)
            known.take_all([note], elsewhere)
            if len(known.checkpoints) > before and known.checkpoints[-1].size > size:
                larger = known.checkpoints.pop()
                if name == "checkpoint":
                    compare(other, larger, here, report)
    except Finding as finding:
        elsewhere.found.append(finding)
    except Malformed:
        elsewhere.add("malformed", "The other bundle cannot be read.")
    report.found += elsewhere.found


def compare(other, newest, here, report):
    tree, signed = Tree(), {}
    for checkpoint in here:
        signed.setdefault(checkpoint.size, set()).add(checkpoint.root)
    forks = []
    for first in range(0, other.size, 256):
        for leaf_hash in other.hashes(first, report) or []:
            tree.append(leaf_hash)
            if signed.get(tree.size, set()) - {tree.root()}:
                forks.append(tree.size)
    if (tree.size, tree.root()) != (newest.size, newest.root):
        report.add("root_mismatch", "Its hashes do not give its signed root.", newest.size)
        return
    for size in forks:
        report.add("fork", "The two bundles are signed views of one log that cannot both be true.", size)

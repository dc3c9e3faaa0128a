"""The roots of a growing tree against those that were signed."""

from collections import defaultdict


class Roots:
    def __init__(self, below, checkpoints, wanted=()):
        """`wanted` are sizes whose roots are kept, whatever was signed."""
        self.tree, self.first, self.is_lost = below.copy(), below.size, False
        self.signed, self.kept = defaultdict(set), dict.fromkeys(wanted)
        for checkpoint in checkpoints:
            self.signed[checkpoint.size].add(checkpoint.root)
        self.fitting = self.unfitting = None
        self.look()

    def append(self, leaf_hash):
        """None: the hash is lost, and no later root can be had."""
        self.is_lost |= leaf_hash is None
        if not self.is_lost:
            self.tree.append(leaf_hash)
            self.look()

    def look(self):
        size = self.tree.size
        if size in self.kept:
            self.kept[size] = self.tree.root()
        if size in self.signed:
            root = self.tree.root()
            if root in self.signed[size]:
                self.fitting = size
            if self.signed[size] != {root} and self.unfitting is None:
                self.unfitting = size

    def report(self, end, report):
        for size, roots in self.signed.items():
            if len(roots) > 1:
                report.add("fork", "Two signed checkpoints of one size have different roots.", size)
        if self.unfitting is not None and self.fitting is not None and self.fitting >= self.unfitting:
            report.add("fork", "The leaves fit a later signed checkpoint and not this one.", self.unfitting)
        elif self.unfitting is not None:
            text = "The leaves do not hash to the signed root; it begins behind the last checkpoint that fits."
            report.add("root_mismatch", text, self.fitting or 0, self.unfitting - 1)
        largest = max(self.signed, default=0)
        if largest > end:
            report.add("rollback", "The log has fewer leaves than it once signed.", end, largest - 1)

"""Judging a whole log: every leaf hashed again, no stored hash believed.

As long as each leaf stands where it says, names the hash of the one before and fits what stands beside it, leaves are
read one by one and forgotten. From the first odd one on the rest is looked at as a whole (`window`): it does not stop
at the first fault, and works out from what later leaves and stored hashes say what must have stood there.
"""

from collections import namedtuple

from entries import Entries
from leaf import read_leaf
from roots import Roots
from sense import Sense
from window import Read, arrange, link

# `stored` is the hash beside a leaf; `columns` are entry, time and event beside it; `sealed` gives the
# hash of each sealed row of its entry by role. None: the source has no such thing. Without its leaf, a row
# is a hash that is passed over.
Row = namedtuple("Row", "place leaf stored columns sealed")
# What became of a log: what its leaves told, and the roots at the sizes that were asked for.
Judged = namedtuple("Judged", "sense roots")


def judge(rows, below, checkpoints, report, origin=None, take=lambda leaf_hash: None, wanted=()):
    """`below` is the tree before the first row, `checkpoints` are those whose signatures hold. `take` gets the hashes
    that the leaves must have had, in order, as far as they are known; `wanted` are sizes whose roots are asked for."""
    judging = Judging(below, checkpoints, report, origin, take, wanted)
    rows = iter(rows)
    for row in rows:
        if not judging.goes_on(row):
            judging.look_at_rest([*judging.held, row, *rows])
            break
    return judging.conclude()


class Judging:
    def __init__(self, below, checkpoints, report, origin, take, wanted):
        self.report, self.checkpoints, self.take = report, checkpoints, take
        self.roots, self.entries = Roots(below, checkpoints, wanted), Entries()
        self.sense = Sense(report, origin, below.size)
        self.first, self.end, self.checked, self.newest = below.size, below.size, 0, None
        # The row before, which the next one has to name, and its hash.
        self.held, self.hash = [], None if below.size else bytes(32)

    def goes_on(self, row):
        """Whether the row is the plain next one."""
        read = Read(row)
        follows = row.place == self.end and read.hash is not None
        if row.leaf is not None and follows:
            leaf = read.leaf
            follows = leaf is not None and leaf.seq == self.end and self.hash in (None, leaf.previous)
            follows = follows and row.stored in (None, read.hash)
            follows = follows and row.columns in (None, (leaf.entry, leaf.time, leaf.event))
            follows = follows and (self.newest is None or leaf.time >= self.newest or leaf.event == 122)
        if follows:
            self.settle()
            self.held, self.hash, self.end = [row], read.hash, self.end + 1
            self.newest = read.leaf.time if read.leaf else self.newest
        return follows

    def settle(self):
        """The next one names it, or nothing follows: the row that was held is what it was."""
        for row in self.held:
            read = Read(row)
            self.take(read.hash)
            self.roots.append(read.hash)
            self.hear(read, row.place, frozenset())
        self.held = []

    def hear(self, read, position, wrong):
        self.checked += read.row.leaf is not None
        if read.order:
            self.entries.note(read.order.entry, position)
        if read.row.leaf is None:
            self.sense.pass_over()
        if read.leaf:
            self.sense.hear(position, read.leaf, read.row.sealed, wrong)

    def look_at_rest(self, rows):
        report, first = self.report, self.roots.tree.size
        self.held = []
        signed = max((checkpoint.size for checkpoint in self.checkpoints), default=0)
        reads = [Read(row) for row in rows]
        slots, rivals, self.end = arrange(reads, first, signed, report)
        for read in reads:
            if read.refusal:
                report.add(read.refusal, "The leaf cannot be read to its end.", read.position)
                read.believed &= read.refusal != "malformed" or read.order is not None
            if read.leaf and read.row.columns not in (None, (read.leaf.entry, read.leaf.time, read.leaf.event)):
                report.add("leaf_altered", "The columns beside the leaf say something else.", read.position)
        hashes = link(slots, rivals, first, self.end, self.roots.tree, self.checkpoints, report)
        for position in range(first, self.end):
            self.roots.append(hashes.get(position))
            if position in hashes:
                self.take(hashes[position])
        wrong = {found.at for found in report.found if found.code in ("leaf_altered", "malformed") and found.to is None}
        self.judge_clock(slots, first, wrong)
        for read in reads:
            self.hear(read, read.position, wrong)

    def judge_clock(self, slots, first, wrong):
        last = None
        for position in range(first, self.end):
            read = slots.get(position)
            if read is None or read.order is None or not read.believed:
                continue
            corrects = read.leaf and read.leaf.event == 122
            if last is not None and read.order.time < last and not corrects and not wrong & {position, position - 1}:
                self.report.add("clock_backwards", "The leaf is older than the one before it.", position)
            last = read.order.time
        self.newest = last

    def conclude(self):
        self.settle()
        self.roots.report(self.end, self.report)
        self.entries.report(self.report)
        self.sense.conclude(self.checkpoints)
        self.report.said.update(size=self.end, checked=self.checked, pruned=self.first, newest=self.newest)
        return Judged(self.sense, self.roots.kept)

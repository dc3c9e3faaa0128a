"""Judging a whole log: every leaf hashed again, no stored hash believed.

It does not stop at the first fault: from what later leaves and stored hashes say it works out what must
have stood there, so that one changed byte is one finding at one place.
"""

from collections import defaultdict, namedtuple

from leaf import read_leaf
from tree import sha256

# `stored` is the hash beside a leaf; `columns` are entry, time and event beside it; `sealed` gives the
# hash of each sealed row of its entry by role. None: the source has no such thing. Without its leaf, a row
# is a hash that is passed over.
Row = namedtuple("Row", "place leaf stored columns sealed")


class Read:
    """A row, its leaf read, and whether it is believed to be the leaf of its place."""

    def __init__(self, row):
        self.row, self.stored, self.believed = row, row.stored, True
        passed_over = row.stored, None, None, None
        self.hash, self.order, self.leaf, self.refusal = passed_over if row.leaf is None else read_leaf(row.leaf)
        self.position = row.place


def judge(rows, below, checkpoints, report, origin=None):
    """`below` is the tree before the first row, `checkpoints` are those whose signatures hold. Gives the
    hashes that the leaves must have had, as far as they are known, by position."""
    first = below.size
    signed = max((checkpoint.size for checkpoint in checkpoints), default=0)
    reads = [Read(row) for row in rows]
    slots, rivals, end = arrange(reads, first, signed, report)
    for read in reads:
        if read.refusal:
            report.add(read.refusal, "The leaf cannot be read to its end.", read.position)
            read.believed &= read.refusal != "malformed" or read.order is not None
        if read.leaf and read.row.columns not in (None, (read.leaf.entry, read.leaf.time, read.leaf.event)):
            report.add("leaf_altered", "The columns beside the leaf say something else.", read.position)
    hashes = link(slots, rivals, first, end, below, checkpoints, report)
    judge_roots(hashes, first, end, below, checkpoints, report)
    judge_clock(slots, first, end, report)
    judge_entries(reads, report)
    Sense(report, origin, first).judge(reads, checkpoints, below)
    checked = sum(row.leaf is not None for row in rows)
    report.said.update(size=end, checked=checked, pruned=first)
    return hashes


def arrange(reads, first, signed, report):
    """Which leaf stands at which position: by what the source says and by what the leaves say."""
    places = {read.row.place: read for read in reads}
    for read in reads:
        other = read.order and places.get(read.order.seq)
        if other and read.row.place < read.order.seq and other.order and other.order.seq == read.row.place:
            report.add("order_changed", "Two leaves changed places.", read.row.place, read.order.seq)
            read.position, other.position = other.position, read.position
            # Whether the hashes beside them moved along depends on the source: the links decide.
            read.stored = other.stored = None
    reads.sort(key=lambda read: read.position)

    slots, spare, offset, last = {}, [], 0, first - 1
    for read, after in zip(reads, [*reads[1:], None]):
        place = read.position
        read.position = place - offset
        claim = read.order.seq if read.order else read.position
        if claim != read.position and claim > last and after and after.order:
            # One leaf with another number may be a changed byte; two in a row were moved together.
            if after.position - after.order.seq == place - claim:
                read.position, offset = claim, place - claim
        if claim == read.position and claim > last:
            slots[claim], last = read, claim
        else:
            spare.append((read, claim))

    rivals, end = defaultdict(list), last + 1
    for read, claim in spare:
        position = read.position
        if position == end and read is reads[-1] and claim == position + 1 != signed:
            read.position, slots[claim], end = claim, read, claim + 1
        elif position in slots or position == end and claim == position - 1 and signed <= position:
            rivals[claim].append(read.hash)
            at = claim if claim == position - 1 else position
            report.add("leaf_inserted", "A leaf stands where none was appended.", at)
        else:
            report.add("leaf_altered", "The leaf says another position than its own.", position)
            slots[position], read.believed, end = read, False, max(end, position + 1)
    position = first
    while position < end:
        gap = position
        while position < end and position not in slots:
            position += 1
        if gap < position:
            one = position == gap + 1
            report.add("leaf_missing", "Leaves are missing.", gap, None if one else position - 1)
        position += 1
    return slots, rivals, end


def link(slots, rivals, first, end, below, checkpoints, report):
    """The hash that each leaf must have had when it was appended. Each leaf is held against the hash
    beside it and against the one that the next leaf names."""
    tree, hashes, settled = below.copy(), {}, {}
    roots = {checkpoint.root for checkpoint in checkpoints}

    def named_for(position):
        following = slots.get(position + 1)
        return following.order.previous if following and following.believed and following.order else None

    def altered(position):
        report.add("leaf_altered", "The leaf is not what it was when it was appended.", position)

    def fits(*more):
        tried = tree.copy() if tree else None
        for one in more if tried else ():
            tried.append(one)
        return tried is not None and tried.root() in roots

    for position in range(first, end):
        read, named = slots.get(position), named_for(position)
        if position in settled:
            right = settled[position]
        elif read is None:
            alone = (position - 1 in slots or position == first) and position + 1 in slots
            right = named if alone else None
        elif not read.believed:
            right = named or read.stored
        elif named == read.hash or named is None and read.stored in (None, read.hash):
            right = read.hash
            if read.stored not in (None, right):
                report.add("tile_poisoned", "The stored hash is wrong while the leaf is right.", position)
        elif named is None and fits(read.hash):
            right = read.hash
            report.add("tile_poisoned", "The stored hash is wrong while the leaf is right.", position)
        elif named in rivals[position]:
            right = named
        elif read.stored not in (None, read.hash):
            altered(position)
            right = named or read.stored
        else:
            # Either this leaf was changed, its stored hash with it, or what the next one says of it.
            following, beyond = slots[position + 1], named_for(position + 1)
            evidence = {following.stored, beyond} - {None}
            corrected = sha256(b"\0", following.row.leaf.replace(named, read.hash, 1))
            follows = corrected in evidence or beyond is None and fits(read.hash, corrected)
            if following.hash in evidence or beyond is None and read.stored is None and not follows:
                altered(position)
                right = named
            else:
                altered(position + 1)
                if not follows and read.stored is None:
                    altered(position)
                right = read.hash
                settled[position + 1] = corrected if follows else beyond or following.stored or following.hash
        if position == 0 and read and read.order and read.believed and any(read.order.previous):
            report.add("leaf_altered", "The first leaf names one before it.", 0)
        if right is None or tree is None:
            tree = None
        else:
            tree.append(right)
            hashes[position] = right
    return hashes


def judge_roots(hashes, first, end, below, checkpoints, report):
    tree, fitting, unfitting = below.copy(), None, None
    by_size = defaultdict(set)
    for checkpoint in checkpoints:
        by_size[checkpoint.size].add(checkpoint.root)
    for size in sorted(by_size):
        while tree.size < size and tree.size in hashes:
            tree.append(hashes[tree.size])
        if len(by_size[size]) > 1:
            report.add("fork", "Two signed checkpoints of one size have different roots.", size)
        if tree.size == size >= first:
            if tree.root() in by_size[size]:
                fitting = size
            if by_size[size] != {tree.root()}:
                unfitting = size if unfitting is None else unfitting
    if unfitting is not None and fitting is not None and fitting >= unfitting:
        report.add("fork", "The leaves fit a later signed checkpoint and not this one.", unfitting)
    elif unfitting is not None:
        text = "The leaves do not hash to the signed root; it begins behind the last checkpoint that fits."
        report.add("root_mismatch", text, fitting or 0, unfitting - 1)
    if max(by_size, default=0) > end:
        report.add("rollback", "The log has fewer leaves than it once signed.", end, max(by_size) - 1)


def faults(report):
    return {f.at for f in report.found if f.code in ("leaf_altered", "malformed") and f.to is None}


def judge_clock(slots, first, end, report):
    wrong, last = faults(report), None
    for position in range(first, end):
        read = slots.get(position)
        if read is None or read.order is None or not read.believed:
            continue
        corrects = read.leaf and read.leaf.event == 122
        if last is not None and read.order.time < last and not corrects and not wrong & {position, position - 1}:
            report.add("clock_backwards", "The leaf is older than the one before it.", position)
        last = read.order.time
    report.said["newest"] = last


def judge_entries(reads, report):
    seen = defaultdict(list)
    for read in reads:
        if read.order:
            seen[read.order.entry].append(read.position)
    for positions in seen.values():
        for one, other in zip(sorted(positions), sorted(positions)[1:]):
            report.add("entry_repeated", "Two leaves have one entry id.", one, other)


class Sense:
    """Whether the log makes sense as a story: how it begins, who may sign it, what was deleted, and where
    it fell silent."""

    def __init__(self, report, origin, first):
        self.report, self.origin, self.first = report, origin, first
        self.heartbeat, self.keys, self.beats, self.silences, self.last, self.closed = None, {}, 0, 0, None, None
        self.gone, self.counted, self.last_gone = [0, 0, 0], [0, 0, 0], [None] * 3
        self.prunes, self.is_balanced = [], False

    def judge(self, reads, checkpoints, below):
        wrong = faults(self.report)
        is_whole = all(read.row.leaf is not None for read in reads)
        for read in reads:
            if read.row.leaf is None:
                self.last = None
            if read.leaf:
                self.hear(read.position, read.leaf, wrong)
                if read.row.sealed is not None:
                    self.weigh(read.position, read.leaf, read.row.sealed)
        if self.silences and not self.beats:
            self.report.add("downgrade", "Leaf 0 announces heartbeats, and there are none.")
        self.judge_pruning(below)
        self.judge_keys(checkpoints)
        if self.is_balanced and is_whole:
            self.balance()
        self.report.said.update(origin=self.origin, erased=sum(self.gone))

    def hear(self, position, leaf, wrong):
        add = self.report.add
        if leaf.seq == position and (leaf.seq == 0) != (leaf.event == 100):
            add("malformed", "A log opens with log.opened, once.", leaf.seq)
        if self.closed is not None:
            add("leaf_inserted", "Leaves follow after the log was closed.", self.closed, leaf.seq)
        self.closed = leaf.seq if leaf.event == 199 else None
        if leaf.event == 100:
            if self.origin not in (None, leaf.facts[10]):
                add("origin_mismatch", "The log is another one than expected.", leaf.seq)
            self.origin, self.heartbeat = leaf.facts[10], leaf.facts[14] * 1_000_000
            self.keys[leaf.facts[9]] = (0, 2**64)
        if leaf.event == 104:
            size, replaced = leaf.seq + 1, leaf.facts[16]
            self.keys[leaf.facts[9]] = (size, 2**64)
            if replaced in self.keys:
                self.keys[replaced] = (self.keys[replaced][0], min(size, self.keys[replaced][1]))
        if leaf.event == 102 and leaf.facts[4]:
            add("succeeded_with_loss", "The log before this one lost leaves.", leaf.seq)
        if leaf.event == 103:
            self.prunes.append(leaf)
        self.beats += leaf.event == 101
        if self.last and self.heartbeat is not None and leaf.time - self.last.time > 2 * self.heartbeat:
            told = self.last.event == 131 or leaf.event == 130 or wrong & {0, self.last.seq, leaf.seq}
            told = told or leaf.seq - 1 in wrong
            if not told:
                self.silences += 1
                add("silence", "Nothing for more than two heartbeats, and nothing says why.", self.last.seq, leaf.seq)
        self.last = leaf

    def weigh(self, position, leaf, sealed):
        """Sealed rows are deleted only in a commit whose leaf counts them."""
        self.is_balanced = True
        class_, named = leaf.class_ - 1, {part.role: part for part in leaf.parts if part.role != 4}
        for role, part in named.items():
            if role not in sealed:
                self.gone[class_] += 1
                self.last_gone[class_] = leaf.seq
        if any(role not in named or named[role].sealed_hash != found for role, found in sealed.items()):
            self.report.add("sealed_altered", "A sealed row is not the one that its leaf names.", leaf.seq)
        counts = leaf.facts.get(3, [0, 0, 0])
        # What went with pruned leaves was counted when its rows went; here the leaves go.
        into = self.counted if leaf.event != 103 else self.gone if self.first else [0, 0, 0]
        for class_, count in enumerate(counts):
            into[class_] += count

    def balance(self):
        for gone, counted, last in zip(self.gone, self.counted, self.last_gone):
            if gone > counted:
                text = f"{gone - counted} sealed rows are gone, and no leaf counts them."
                self.report.add("sealed_missing", text, None if last is None else self.first, last)
            if gone < counted:
                text = f"{counted - gone} sealed rows are counted as deleted, and exist."
                self.report.add("false_erasure", text)

    def judge_pruning(self, below):
        """Whether leaves went as a leaf says. How old they had to be is a policy's word, which is not read here."""
        for leaf in self.prunes if self.first else ():
            if leaf.facts[4] % 256 or leaf.facts[4] + 256 > leaf.seq:
                self.report.add("prune_beyond_policy", "The log was pruned further than it may be.", leaf.seq)
        declared = [(leaf.facts[4], leaf.facts[8]) for leaf in self.prunes]
        if self.first and (self.first, below.root()) not in declared:
            self.report.add("prune_beyond_policy", "Leaves are gone that no leaf says were pruned.", 0, self.first - 1)

    def judge_keys(self, checkpoints):
        if not self.keys or self.first:
            return
        for checkpoint in checkpoints:
            for key in checkpoint.signed_by:
                begin, end = self.keys.get(bytes([key.kind]) + key.public, (1, 0))
                if not begin <= checkpoint.size <= end:
                    text = "A key signed a size that it is not valid for."
                    self.report.add("key_not_valid_here", text, checkpoint.size)

"""The part of a log in which something is wrong, looked at as a whole: which leaf stands where, and what must have
stood there, so that one changed byte is one finding at one place."""

from collections import defaultdict

from leaf import read_leaf
from tree import sha256


class Read:
    """A row, its leaf read, and whether it is believed to be the leaf of its place."""

    def __init__(self, row):
        self.row, self.stored, self.believed = row, row.stored, True
        passed_over = row.stored, None, None, None
        self.hash, self.order, self.leaf, self.refusal = passed_over if row.leaf is None else read_leaf(row.leaf)
        self.position = row.place


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

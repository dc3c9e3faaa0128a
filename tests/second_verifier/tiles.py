"""Stored tiles against the hashes they are made of. They are a cache: a wrong one is a warning."""

from finding import SEVERITY
from tree import root_of

WIDTH, LEVELS, REMEMBERED = 256, 8, 1_000


class Tiles:
    def __init__(self, connection, first):
        """`first` leaves were pruned; their tiles stay."""
        self.connection, self.wrong, self.levels = connection, [], []
        before = first
        for level in range(LEVELS):
            index, count = divmod(before, WIDTH)
            query = "SELECT root FROM audit_tile WHERE log = 1 AND level = ? AND idx >= ? AND idx < ? ORDER BY idx"
            roots = connection.execute(query, (level - 1, index * WIDTH, before)).fetchall() if level else []
            self.levels.append([index, [root for (root,) in roots]])
            if len(roots) != count:
                # What the tiles behind begin with is not there.
                self.levels = []
                break
            before = index

    def take(self, leaf_hash):
        for level, half in enumerate(self.levels):
            index, hashes = half
            hashes.append(leaf_hash)
            if len(hashes) < WIDTH:
                return
            leaf_hash = root_of(hashes)
            query = "SELECT hashes, root FROM audit_tile WHERE log = 1 AND level = ? AND idx = ?"
            stored = self.connection.execute(query, (level, index)).fetchone()
            if stored != (b"".join(hashes), leaf_hash) and len(self.wrong) < REMEMBERED:
                width = WIDTH ** (level + 1)
                self.wrong.append((level, index * width, (index + 1) * width - 1))
            half[:] = index + 1, []

    def report(self, report):
        """Behind a fault they differ because of it, and so do those above a wrong hash beside a leaf."""
        faults = [found.at for found in report.found if found.at is not None
                  and (SEVERITY[found.code] in ("invalid", "forked") or found.code == "tile_poisoned" and found.to is None)]
        for level, first, last in self.wrong:
            if last < min(faults, default=last + 1):
                report.add("tile_poisoned", f"A stored tile of level {level} is wrong.", first, last)

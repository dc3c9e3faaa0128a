"""A SQLite data file, or a copy of one."""

import os, shutil, sqlite3, tempfile, urllib.parse
from collections import defaultdict

from attest import Known, attest
from finding import SEVERITY
from log import Row, judge
from tree import Tree, root_of, sha256


def verify(path, saved, trust, oldest, business, report):
    with tempfile.TemporaryDirectory() as folder:
        connection = connect(path, folder)
        try:
            verify_open(connection, saved, trust, oldest, business, report)
        finally:
            connection.close()


def connect(path, folder):
    """Nothing is written beside the file, so what its WAL holds is read from a copy."""
    wal = path + "-wal"
    if os.path.exists(wal) and os.path.getsize(wal):
        copy = os.path.join(folder, "copy.db")
        shutil.copy(path, copy)
        shutil.copy(wal, copy + "-wal")
        return sqlite3.connect(copy)
    return sqlite3.connect(f"file:{urllib.parse.quote(os.path.abspath(path))}?mode=ro&immutable=1", uri=True)


def verify_open(connection, saved, trust, oldest, business, report):
    head = connection.execute("SELECT origin, size, root, minimum_index FROM audit_log WHERE log = 1").fetchone()
    if head is None:
        report.add("leaf_missing", "The store has no log.")
    origin, size, root, first = head or (None, 0, b"", 0)
    rows = read_rows(connection, first)
    # Leaf 0 and the rotations of the log's key (event 104) name its keys. Leaf 0 stays when others are pruned.
    opening = connection.execute("SELECT leaf FROM audit_leaf WHERE log = 1 AND seq = 0 OR event = 104 ORDER BY seq")
    known = Known(origin, [leaf for (leaf,) in opening if isinstance(leaf, bytes)], trust)
    take_stored(connection, known, report)
    known.take_all(saved, report)

    below = tree_below(connection, first, report)
    hashes = judge(rows, below, known.checkpoints, report, known.origin)
    judge_pruned(connection, first, report)
    judge_tiles(connection, first, hashes, report)
    judge_head(size, root, below, hashes, report)
    if business:
        judge_business(connection, first, report)
    if trust or known.keys:
        attest(report, known.checkpoints, trust, trust is not None, oldest)


def read_rows(connection, first):
    parts = defaultdict(dict)
    for entry, role, sealed in connection.execute("SELECT entry, role, sealed FROM audit_sealed"):
        parts[entry][role] = sha256(sealed)
    query = "SELECT seq, entry, time, event, leaf, hash FROM audit_leaf WHERE log = 1 AND seq >= ? ORDER BY seq"
    rows = []
    for seq, entry, at, event, leaf, stored in connection.execute(query, (first,)):
        stored = stored if isinstance(stored, bytes) and len(stored) == 32 else None
        leaf = leaf if isinstance(leaf, bytes) else b""
        rows.append(Row(seq, leaf, stored, (entry, at, event), parts.get(entry, {})))
    return rows


def take_stored(connection, known, report):
    """A database vouches for itself with what it stores: one finding says that some of it is refused."""
    refused = type(report)()
    cosigned = defaultdict(list)
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'audit_cosignature'").fetchone():
        for size, line in connection.execute("SELECT size, line FROM audit_cosignature WHERE log = 1 ORDER BY witness"):
            cosigned[size].append(line)
    notes = connection.execute("SELECT size, note FROM audit_checkpoint WHERE log = 1 ORDER BY size DESC")
    known.take_all(["".join([note, *cosigned[size]]).encode() for size, note in notes], refused)
    report.found += refused.found[:1]


def tree_below(connection, first, report):
    """The tree of pruned leaves, from their tiles."""
    tree = Tree()
    query = "SELECT idx, hashes FROM audit_tile WHERE log = 1 AND level = 0 AND idx < ? ORDER BY idx"
    for index, hashes in connection.execute(query, (first // 256,)):
        if index * 256 == tree.size:
            tree.append(root_of(hashes[at:at + 32] for at in range(0, 8192, 32)), 256)
    if tree.size != first:
        report.add("leaf_missing", "The leaves before the first one are pruned, and their tiles are not all there.")
        tree = Tree()
        tree.size = first
    return tree


def judge_pruned(connection, first, report):
    """Leaves go together with their sealed rows."""
    query = "SELECT count(*) FROM audit_sealed JOIN audit_leaf USING (entry) WHERE log = 1 AND seq < ?"
    if connection.execute(query, (first,)).fetchone()[0]:
        report.add("false_erasure", "Sealed rows of pruned leaves exist.")


def judge_tiles(connection, first, hashes, report):
    """Stored tiles are a cache: a wrong one is a warning. Behind a fault they differ because of it."""
    if first:
        return
    fault = min((f.at for f in report.found if SEVERITY[f.code] in ("invalid", "forked") and f.at is not None),
                default=None)
    stored = {(level, index): (full, root) for level, index, full, root in
              connection.execute("SELECT level, idx, hashes, root FROM audit_tile WHERE log = 1")}
    level, row, width = 0, [hashes[position] for position in sorted(hashes)], 256
    while len(row) >= 256:
        roots = []
        for index in range(len(row) // 256):
            tile = row[index * 256:index * 256 + 256]
            roots.append(root_of(tile))
            end = (index + 1) * width - 1
            if stored.get((level, index)) != (b"".join(tile), roots[-1]) and (fault is None or end < fault):
                report.add("tile_poisoned", f"A stored tile of level {level} is wrong.", end + 1 - width, end)
        level, row, width = level + 1, roots, width * 256


def judge_head(size, root, below, hashes, report):
    """The head is a copy of what the leaves say."""
    if report.said["size"] < size:
        text = "The head of the log counts leaves that are not there."
        report.add("leaf_missing", text, report.said["size"], size - 1)
        return
    tree = below.copy()
    while tree.size < size and tree.size in hashes:
        tree.append(hashes[tree.size])
    is_sound = all(SEVERITY[found.code] not in ("invalid", "forked") for found in report.found)
    if is_sound and tree.size == size > below.size and tree.root() != root:
        report.add("root_mismatch", "The head of the log says another root than its leaves have.")


def judge_business(connection, first, report):
    """Each audited row names the entry that made it; choices of people and disclosures have a row for as long as
    their sealed part exists."""
    named = set()
    for (table,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        columns = {column[1] for column in connection.execute(f'PRAGMA table_info("{table}")')}
        if "entry" not in columns or table.startswith("audit_"):
            continue
        if table in ("consent_event", "disclosure"):
            named.update(entry for (entry,) in connection.execute(f'SELECT DISTINCT entry FROM "{table}"'))
        alone = f'SELECT count(*) FROM "{table}" WHERE entry IS NOT NULL AND entry NOT IN (SELECT entry FROM audit_leaf)'
        # A row may be older than all leaves that were not pruned.
        if not first and connection.execute(alone).fetchone()[0]:
            report.add("business_row_without_leaf", f"Rows of {table} name an entry that has no leaf.")
    query = """SELECT seq, entry FROM audit_leaf JOIN audit_sealed USING (entry)
               WHERE log = 1 AND seq >= ? AND role = 1 AND event IN (300, 301, 302, 310, 410) ORDER BY seq"""
    for seq, entry in connection.execute(query, (first,)):
        if entry not in named:
            report.add("leaf_without_business_row", "The row that the leaf tells of is not there.", seq)

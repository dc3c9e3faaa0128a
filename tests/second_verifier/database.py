"""A SQLite data file, or a copy of one."""

import os, shutil, sqlite3, tempfile, urllib.parse
from collections import defaultdict

from anchors import Anchors
from attest import Known, attest
from finding import SEVERITY
from log import Row, judge
from pruning import judge_declared, judge_pruning
from tiles import Tiles
from tree import Tree, root_of, sha256

# A row is dated before its leaf, and by another clock where the database is a server.
SKEW = 300_000_000
TIMES = {"subject": "created_at", "identifier": "added_at", "record": "collected_at", "consent_line": "created_at",
         "consent_event": "recorded_at", "delivery": "created_at", "disclosure": "at"}


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
    # Leaf 0 and the rotations of the log's key (event 104) name its keys. Leaf 0 stays when others are pruned.
    opening = connection.execute("SELECT leaf FROM audit_leaf WHERE log = 1 AND (seq = 0 OR event = 104) ORDER BY seq")
    known = Known(origin, [leaf for (leaf,) in opening if isinstance(leaf, bytes)], trust)
    known.learn(read_handovers(connection))
    take_stored(connection, known, report)
    known.take_all(saved, report)

    below, tiles = tree_below(connection, first, report), Tiles(connection, first)
    judged = judge(read_rows(connection, first), below, known.checkpoints, report, known.origin, tiles.take, [size])
    if first:
        judge_declared(first, below.root(), judged.sense.prunes, report)
        judge_pruning(judged.sense.prunes, lambda name: read_policy(connection, name), report)
        judge_left(connection, first, report)
    tiles.report(report)
    judge_head(size, root, first, judged.roots[size], report)
    if business:
        judge_business(connection, first, report)
    judge_anchors(connection, known, judged.sense.dated, report)
    if trust or known.keys:
        attest(report, known.checkpoints, trust, trust is not None, oldest)


def read_handovers(connection):
    """The leaves at which one key of the log hands over to the next, and the notes right behind them."""
    query = """SELECT note, leaf FROM audit_leaf JOIN audit_checkpoint USING (log)
               WHERE log = 1 AND event = 104 AND size = seq + 1 ORDER BY seq"""
    return [(note.encode(), leaf) for note, leaf in connection.execute(query) if isinstance(leaf, bytes)]


def read_rows(connection, first):
    query = "SELECT seq, entry, time, event, leaf, hash FROM audit_leaf WHERE log = 1 AND seq >= ? ORDER BY seq"
    for seq, entry, at, event, leaf, stored in connection.execute(query, (first,)):
        parts = connection.execute("SELECT role, sealed FROM audit_sealed WHERE entry = ?", (entry,))
        stored = stored if isinstance(stored, bytes) and len(stored) == 32 else None
        leaf = leaf if isinstance(leaf, bytes) else b""
        yield Row(seq, leaf, stored, (entry, at, event), {role: sha256(sealed) for role, sealed in parts})


def take_stored(connection, known, report):
    """A database vouches for itself with what it stores: one finding says that some of it is refused."""
    refused = type(report)()
    cosigned = defaultdict(list)
    for size, line in connection.execute("SELECT size, line FROM audit_cosignature WHERE log = 1 ORDER BY witness"):
        cosigned[size].append(line)
    notes = connection.execute("SELECT size, note FROM audit_checkpoint WHERE log = 1 ORDER BY size DESC")
    known.take_all(("".join([note, *cosigned[size]]).encode() for size, note in notes), refused)
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


def read_policy(connection, name):
    """The files of a policy: path and content, each with its length before it."""
    row = connection.execute("SELECT files FROM policy_version WHERE hash = ?", (name,)).fetchone()
    parts, data = [], row[0] if row else b""
    while data:
        length = int.from_bytes(data[:4], "big")
        parts.append(data[4:4 + length])
        data = data[4 + length:]
    return {path.decode("utf-8", "replace"): content for path, content in zip(parts[::2], parts[1::2])}


def judge_left(connection, first, report):
    """Leaves go together with their sealed rows."""
    query = "SELECT count(*) FROM audit_sealed JOIN audit_leaf USING (entry) WHERE log = 1 AND seq < ?"
    if connection.execute(query, (first,)).fetchone()[0]:
        report.add("false_erasure", "Sealed rows of pruned leaves exist.")


def judge_head(size, root, first, computed, report):
    """The head is a copy of what the leaves say."""
    if report.said["size"] < size:
        text = "The head of the log counts leaves that are not there."
        report.add("leaf_missing", text, report.said["size"], size - 1)
        return
    is_sound = all(SEVERITY[found.code] not in ("invalid", "forked") for found in report.found)
    if is_sound and size > first and computed not in (None, root):
        report.add("root_mismatch", "The head of the log says another root than its leaves have.")


def judge_business(connection, first, report):
    """Each audited row names the entry that made it; choices of people and disclosures have a row for as long as
    their sealed part exists."""
    named = set()
    since = connection.execute("SELECT min(time) FROM audit_leaf WHERE log = 1 AND seq >= ?", (first,)).fetchone()[0]
    for (table,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        columns = {column[1] for column in connection.execute(f'PRAGMA table_info("{table}")')}
        if "entry" not in columns or table.startswith("audit_"):
            continue
        if table in ("consent_event", "disclosure"):
            named.update(entry for (entry,) in connection.execute(f'SELECT DISTINCT entry FROM "{table}"'))
        alone = f'SELECT count(*) FROM "{table}" WHERE entry IS NOT NULL AND entry NOT IN (SELECT entry FROM audit_leaf)'
        if first:
            # A row may be older than all leaves that were not pruned.
            if table not in TIMES:
                continue
            alone += f" AND {TIMES[table]} >= {(since or 0) - SKEW}"
        if connection.execute(alone).fetchone()[0]:
            report.add("business_row_without_leaf", f"Rows of {table} name an entry that has no leaf.")
    query = """SELECT seq, entry FROM audit_leaf JOIN audit_sealed USING (entry)
               WHERE log = 1 AND seq >= ? AND role = 1 AND event IN (300, 301, 302, 310, 410) ORDER BY seq"""
    for seq, entry in connection.execute(query, (first,)):
        if entry not in named:
            report.add("leaf_without_business_row", "The row that the leaf tells of is not there.", seq)


def judge_anchors(connection, known, dated, report):
    anchors = Anchors(known.checkpoints if known.keys else [], dated)
    for size, reply in connection.execute("SELECT size, reply FROM audit_anchor WHERE log = 1 ORDER BY size"):
        anchors.take(size, reply)
    anchors.report(report)

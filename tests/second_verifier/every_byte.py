"""Changes every single byte of the first leaves of a data file in turn and says what is found.

    python3 tests/second_verifier/every_byte.py DATABASE LEAVES

One line for each: position of the leaf, position of the byte, exit code, findings.
"""

import sqlite3, sys

from finding import Report
from leaf import read_leaf
from log import Row, judge
from note import Checkpoint
from tree import Tree, root_of


def main(database, count):
    connection = sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True)
    leaves = [leaf for (leaf,) in connection.execute("SELECT leaf FROM audit_leaf ORDER BY seq LIMIT ?", (count,))]
    rows = []
    for place, data in enumerate(leaves):
        leaf_hash, _, leaf, _ = read_leaf(data)
        rows.append(Row(place, data, leaf_hash, (leaf.entry, leaf.time, leaf.event), None))
    signed = Checkpoint(None, count, root_of(row.stored for row in rows), frozenset(), {})
    for seq, row in enumerate(rows):
        for byte in range(len(row.leaf)):
            changed = bytearray(row.leaf)
            changed[byte] ^= 1 << byte % 8
            report = Report()
            judge([*rows[:seq], row._replace(leaf=bytes(changed)), *rows[seq + 1:]], Tree(), [signed], report)
            said = report.conclude()
            print(seq, byte, said["exit"], " ".join(sorted(map(spelled, said["findings"]))))


def spelled(finding):
    if "seq" in finding:
        return f"{finding['code']}@{finding['seq']}"
    return f"{finding['code']}@{finding['from']}-{finding['to']}" if "from" in finding else finding["code"]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

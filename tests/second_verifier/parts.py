"""The parts that a bundle opens, and the tag keys by which a person finds theirs."""

import re

from cbor import Malformed, need
from opened import is_bound, payload_of, read_json, read_opened, tag_of

CLASSES = {"operation": 1, "evidence": 2, "system": 3}


class Parts:
    """What is shown, to be held against the leaves as they come."""

    def __init__(self, source, origin, report):
        self.report, self.origin, self.shown, self.keys = report, origin, {}, {}
        for name in source.names:
            if name.startswith("opened/"):
                self.read_part(name, source.read(name))
        for class_, number in CLASSES.items():
            if f"tags/{class_}" in source.names:
                self.read_key(number, source.read(f"tags/{class_}"))

    def read_part(self, name, data):
        entry, role, _ = name.split("/")[1].split(".")
        try:
            part = read_opened(read_json(data))
            payload_of(part["plaintext"])
            need(part["role"] == int(role))
            self.shown[bytes.fromhex(entry), int(role)] = part
        except Malformed:
            self.report.add("malformed", f"{name} is no opened part.")

    def read_key(self, class_, data):
        if re.fullmatch(b"[0-9a-f]{64}\n?", data):
            self.keys[class_] = bytes.fromhex(data.decode().strip())
        else:
            self.report.add("malformed", "A tag key cannot be read.")

    def look_at(self, seq, entry, leaf):
        """`leaf` is None where only the entry can be read. Whoever has the tag key of a person finds every leaf about
        them: what is opened must be theirs."""
        for role in range(1, 5):
            part = self.shown.pop((entry, role), None)
            if part is None:
                continue
            if leaf is None or not is_bound(part, leaf, self.origin):
                self.report.add("part_unbound", "An opened part is not what its leaf commits to.", seq)
                continue
            self.report.said["opened"] += 1
            named = next(named for named in leaf.parts if named.role == role)
            key = self.keys.get(leaf.class_) if role == 1 else None
            if key and tag_of(key, role, entry) != named.tag:
                self.report.add("tag_mismatch", "An opened part is of somebody else.", seq)

    def conclude(self):
        for _ in self.shown:
            self.report.add("part_unbound", "A part is opened of no leaf in the bundle.")

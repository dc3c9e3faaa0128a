"""An exported bundle. Its form is closed: a file under any other name is refused, so nothing travels in a bundle that
no verifier looks at."""

import re

from against import hold_against
from anchors import Anchors
from attest import Known, attest
from cbor import Malformed, need
from container import open_bundle
from finding import Finding
from leaf import read_leaf
from log import Row, judge
from note import Trust, decimal
from opened import read_json
from parts import Parts
from pruning import content_hash, judge_pruning
from tile_files import read_entries, read_hashes, tile_name
from tree import Tree, sha256

NAMES = re.compile(
    r"README\.txt|bundle\.json|trust\.txt|checkpoint|checkpoints/(0|[1-9][0-9]{0,18})|tile/(0|entries)/[0-9x/]+(\.p/[0-9]+)?"
    r"|sealed/[0-9a-f]{32}\.[1-4]|opened/[0-9a-f]{32}\.[1-4]\.json|tags/(operation|evidence|system)"
    r"|anchor/(0|[1-9][0-9]{0,18})\.tsr|policy/[0-9a-f]{64}/.+")


class Bundle:
    def __init__(self, path, report):
        self.source, self.report = open_bundle(path), report
        self.about = self.read_about()
        self.size = self.about["size"]

    def read_about(self):
        """The list of files; what it says of them is held against them."""
        source, report = self.source, self.report
        try:
            about = read_json(source.read("bundle.json"))
            need(isinstance(about, dict) and about.get("format") == "amanat-bundle/1")
            need(set(about) == {"format", "origin", "size", "from", "to", "files"})
            need(isinstance(about["origin"], str) and isinstance(about["files"], dict))
            need(all(type(about[key]) is int and about[key] < 2**63 for key in ("size", "from", "to")))
            need(about["from"] <= about["to"] <= about["size"])
            need(all(about[key] % 256 == 0 or about[key] == about["size"] for key in ("from", "to")))
            need(all(re.fullmatch("[0-9a-f]{64}", str(digest)) for digest in about["files"].values()))
        except (Malformed, KeyError, OSError):
            raise Finding("malformed", "The bundle has no list of its files, or it cannot be read.") from None
        for name, digest in about["files"].items():
            if name not in source.names or sha256(source.read(name)).hex() != digest:
                report.add("malformed", f"{name} is not the file that bundle.json lists.")
        for name in source.names:
            if name != "bundle.json" and name not in about["files"] or not NAMES.fullmatch(name):
                report.add("malformed", f"{name} is no file of a bundle, or not listed.")
        return about

    def claim(self):
        """What the bundle says of its own keys."""
        try:
            return Trust(self.source.read("trust.txt").decode())
        except (Malformed, KeyError, OSError, UnicodeDecodeError):
            self.report.add("malformed", "trust.txt is not there or no trust policy.")
            return None

    def notes(self):
        """Name, size and bytes of each signed note, the newest first."""
        for name in sorted(self.source.names):
            if name == "checkpoint":
                yield name, self.size, self.source.read(name)
            elif name.startswith("checkpoints/") and NAMES.fullmatch(name):
                yield name, decimal(name.split("/")[1]), self.source.read(name)

    def handovers(self):
        """The leaves at which one key of the log may hand over to the next, and the notes right behind them."""
        found, quiet = [], type(self.report)()
        for _, size, note in sorted(self.notes(), key=lambda each: each[1]):
            first = (size - 1) // 256 * 256
            if note.count(f"\n\u2014 {self.about['origin']} ".encode()) > 1 and self.about["from"] <= size - 1 < self.about["to"]:
                width = min(256, self.size - first)
                leaves = read_entries(self.source, tile_name("entries", first // 256, width), first, width, quiet)
                found += [(note, leaf) for leaf in (leaves or [])[size - 1 - first:size - first]]
        return found

    def hashes(self, first, report):
        width = min(256, self.size - first)
        return read_hashes(self.source, tile_name(0, first // 256, width), first, width, report)

    def rows(self, parts):
        """Entries where the bundle has them, and hashes where it has not."""
        source, report, used = self.source, self.report, set()
        has_sealed = any(name.startswith("sealed/") for name in source.names)
        for first in range(0, self.size, 256):
            width = min(256, self.size - first)
            names = [tile_name(kind, first // 256, width) for kind in (0, "entries")]
            hashes, leaves = self.hashes(first, report), None
            used.add(names[0])
            if self.about["from"] <= first < self.about["to"]:
                leaves = read_entries(source, names[1], first, width, report)
                used.add(names[1])
            if leaves is None:
                yield from (Row(first + at, None, one, None, None) for at, one in enumerate(hashes or []))
                continue
            stored = hashes if hashes and len(hashes) == len(leaves) else [None] * len(leaves)
            for at, (data, one) in enumerate(zip(leaves, stored)):
                _, order, leaf, _ = read_leaf(data)
                sealed = None
                if order:
                    parts.look_at(first + at, order.entry, leaf)
                    files = {role: f"sealed/{order.entry.hex()}.{role}" for role in range(1, 5)}
                    there = {role: name for role, name in files.items() if name in source.names}
                    used.update(there.values())
                    sealed = {role: sha256(source.read(name)) for role, name in there.items()} if has_sealed else None
                yield Row(first + at, data, one, None, sealed)
        for name in source.names:
            if name.startswith(("tile/", "sealed/")) and name not in used:
                report.add("malformed", f"{name} belongs to nothing that the bundle says it holds.")

    def policy(self, name):
        start = f"policy/{name.hex()}/"
        return {path[len(start):]: self.source.read(path) for path in self.source.names if path.startswith(start)}

    def judge_policies(self):
        """A policy is known by the hash over its files."""
        for name in {path.split("/")[1] for path in self.source.names if path.startswith("policy/")}:
            if re.fullmatch("[0-9a-f]{64}", name) and content_hash(self.policy(bytes.fromhex(name))).hex() != name:
                self.report.add("malformed", f"The files below policy/{name} are not the policy of that hash.")

    def judge_anchors(self, known, dated):
        anchors = Anchors(known.checkpoints if known.keys else [], dated)
        for name in sorted(self.source.names):
            if name.startswith("anchor/") and NAMES.fullmatch(name):
                anchors.take(decimal(name[len("anchor/"):-len(".tsr")]), self.source.read(name))
        anchors.report(self.report)


def verify(path, saved, trust, oldest, report, against=None):
    bundle = Bundle(path, report)
    claimed = bundle.claim()
    # Without a trust policy of one's own, the bundle vouches for itself.
    known = Known(bundle.about["origin"], [], trust or claimed)
    known.learn(bundle.handovers())
    for name, size, note in bundle.notes():
        before = len(known.checkpoints)
        known.take_all([note], report)
        if len(known.checkpoints) > before and known.checkpoints[-1].size != size:
            report.add("malformed", f"{name} is a checkpoint of another size.")
    known.take_all(saved, report)
    if against:
        hold_against(bundle.size, known, lambda other: Bundle(against, other), report)
    parts = Parts(bundle.source, bundle.about["origin"], report)
    sense = judge(bundle.rows(parts), Tree(), known.checkpoints, report, known.origin).sense
    report.said.update(size=max(bundle.size, report.said["size"]))
    parts.conclude()
    bundle.judge_policies()
    judge_pruning(sense.prunes, bundle.policy, report)
    bundle.judge_anchors(known, sense.dated)
    if trust is None:
        report.add("unwitnessed", "The keys are the bundle's own claim; bring a trust policy of your own.")
    if trust or claimed:
        attest(report, known.checkpoints, trust or claimed, trust is not None, oldest)


def notes_of(path, report):
    """The signed notes of a bundle, to hold another source of the same log against."""
    return [note for _, _, note in Bundle(path, report).notes()]

"""An exported bundle, as a zip or unpacked in a folder."""

import os, re, zipfile

from attest import Known, attest
from cbor import Malformed, need
from finding import Finding
from leaf import read_leaf
from log import Row, judge
from note import Trust
from opened import is_bound, payload_of, read_json, read_opened, tag_of
from tree import Tree, root_of, sha256

MAXIMUM_FILES = 1_000_000
MAXIMUM_BYTES = 4 << 30


class Folder:
    def __init__(self, path):
        self.path = path
        self.names = [os.path.relpath(os.path.join(folder, name), path)
                      for folder, _, names in os.walk(path) for name in names]
        need_safe(self.names, sum(os.path.getsize(os.path.join(path, name)) for name in self.names))

    def read(self, name):
        with open(os.path.join(self.path, name), "rb") as file:
            return file.read()


class Zip:
    def __init__(self, path):
        try:
            self.zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError):
            raise Finding("malformed", "The bundle is no zip file.") from None
        members = [member for member in self.zip.infolist() if not member.is_dir()]
        self.names = [member.filename for member in members]
        need_safe(self.names, sum(member.file_size for member in members))

    def read(self, name):
        try:
            return self.zip.read(name)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError):
            raise Finding("malformed", f"{name} in the bundle cannot be unpacked.") from None


def need_safe(names, size):
    unsafe = [name for name in names if name.startswith("/") or "\\" in name or ".." in name.split("/")]
    if unsafe or len(set(names)) != len(names) or len(names) > MAXIMUM_FILES or size > MAXIMUM_BYTES:
        raise Finding("malformed", "The bundle is too large, or has a path twice, absolute or upwards.")


def verify(source, saved, trust, oldest, report):
    about = read_about(source, report)
    first, end = about["from"], about["to"]
    leaves = read_entries(source, first, end, report)
    hashes = read_hashes(source, about["size"])
    own = None if trust else claimed_trust(source)
    known = Known(about["origin"], leaves[:1] if first == 0 else [], trust or own)
    notes = [name for name in source.names if name == "checkpoint" or name.startswith("checkpoints/")]
    known.take_all([source.read(name) for name in sorted(notes)] + saved, report)

    sealed = read_sealed(source)
    rows = []
    for place, data in enumerate(leaves, first):
        order = read_leaf(data)[1]
        parts = sealed.get(order.entry, {}) if sealed and order else None
        rows.append(Row(place, data, hashes.get(place), None, parts))
    below = tree_below(hashes, first, report)
    shown = [c for c in known.checkpoints if c.size <= first + len(rows) or end == about["size"]]
    right = judge(rows, below, shown, report, known.origin)
    judge_rest(right, below, hashes, known.checkpoints, report)
    judge_tiles(source, hashes, report)
    judge_opened(source, rows, known.origin, report)
    judge_tags(source, rows, report)
    if trust or own or known.keys:
        attest(report, known.checkpoints, trust or own, trust is not None, oldest)


def read_about(source, report):
    try:
        about = read_json(source.read("bundle.json"))
        need(isinstance(about, dict) and about.get("format") == "amanat-bundle/1")
        need(isinstance(about["origin"], str) and isinstance(about["files"], dict))
        need(all(type(about[key]) is int and 0 <= about[key] < 2**63 for key in ("size", "from", "to")))
        need(about["from"] <= about["to"] <= about["size"])
    except (Malformed, KeyError, OSError):
        raise Finding("malformed", "bundle.json cannot be read.") from None
    for name, digest in sorted(about["files"].items()):
        if name not in source.names:
            raise Finding("malformed", f"{name} is listed in bundle.json and is not there.")
        if sha256(source.read(name)).hex() != digest:
            report.add("malformed", f"{name} is not the file that bundle.json lists.")
    for name in source.names:
        if name != "bundle.json" and name not in about["files"]:
            report.add("malformed", f"{name} is not listed in bundle.json.")
    return about


def tile_index(path):
    index = int(path.replace("/", "").replace("x", ""))
    digits = f"{index:0{(len(str(index)) + 2) // 3 * 3}d}"
    groups = [digits[at:at + 3] for at in range(0, len(digits), 3)]
    need("/".join([*("x" + group for group in groups[:-1]), groups[-1]]) == path)
    return index


def tiles(source, kind):
    """Index, width and bytes of the tiles of one kind, the widest of each index."""
    widest = {}
    for name in source.names:
        found = re.fullmatch(rf"tile/{kind}/([0-9x/]+)(?:\.p/([1-9][0-9]{{0,2}}))?", name)
        if found:
            try:
                index, width = tile_index(found[1]), int(found[2] or 256)
                need(width < 256 or not found[2])
            except (Malformed, ValueError):
                raise Finding("malformed", f"{name} is no name of a tile.") from None
            widest[index] = max(widest.get(index, (0, "")), (width, name))
    return {index: (width, source.read(name)) for index, (width, name) in sorted(widest.items())}


def read_hashes(source, size):
    hashes = {}
    for index, (width, data) in tiles(source, 0).items():
        if len(data) != 32 * width:
            raise Finding("malformed", "A tile has another length than its name says.")
        for at in range(width):
            hashes[index * 256 + at] = data[at * 32:at * 32 + 32]
    return {position: one for position, one in hashes.items() if position < size}


def read_entries(source, first, end, report):
    leaves = {}
    for index, (width, data) in tiles(source, "entries").items():
        at, count = 0, 0
        while at < len(data):
            length = int.from_bytes(data[at:at + 2], "big")
            leaves[index * 256 + count] = data[at + 2:at + 2 + length]
            at, count = at + 2 + length, count + 1
        if at != len(data) or count != width:
            raise Finding("malformed", "An entry bundle is malformed.", index * 256)
    wanted = []
    for position in range(first, end):
        if position not in leaves:
            report.add("leaf_missing", "The bundle does not hold all entries it announces.", position, end - 1)
            break
        wanted.append(leaves[position])
    return wanted


def read_sealed(source):
    """Hashes of sealed parts by entry and role; None if the bundle holds none, for then nobody asked."""
    sealed = {}
    for name in source.names:
        found = re.fullmatch(r"sealed/([0-9a-f]{32})\.([1-3])", name)
        if found:
            sealed.setdefault(bytes.fromhex(found[1]), {})[int(found[2])] = sha256(source.read(name))
    return sealed or None


def claimed_trust(source):
    try:
        return Trust(source.read("trust.txt").decode()) if "trust.txt" in source.names else None
    except (Malformed, UnicodeDecodeError):
        raise Finding("malformed", "trust.txt cannot be read.") from None


def tree_below(hashes, first, report):
    tree = Tree()
    while tree.size < first and tree.size in hashes:
        tree.append(hashes[tree.size])
    if tree.size != first:
        raise Finding("leaf_missing", "The tiles before the first entry are not all there.", tree.size)
    return tree


def judge_rest(right, below, hashes, checkpoints, report):
    """Sizes behind the last entry: the leaves there are not shown, and their hashes must fit all the same."""
    tree = below.copy()
    while tree.size in right:
        tree.append(right[tree.size])
    for checkpoint in sorted(checkpoints, key=lambda checkpoint: checkpoint.size):
        if checkpoint.size > report.said["size"]:
            while tree.size < checkpoint.size and tree.size in hashes:
                tree.append(hashes[tree.size])
            if tree.size == checkpoint.size and tree.root() != checkpoint.root:
                report.add("root_mismatch", "The tiles do not hash to a signed root.", report.said["size"], tree.size - 1)
                break


def judge_tiles(source, hashes, report):
    """Higher tiles are made of lower ones. A bundle is proof, so a wrong one is no mere cache."""
    row, level = [hashes[position] for position in sorted(hashes)], 1
    while len(row) >= 256:
        row = [root_of(row[at:at + 256]) for at in range(0, len(row) - 255, 256)]
        for index, (width, data) in tiles(source, level).items():
            if data != b"".join(row[index * 256:index * 256 + width]):
                report.add("tile_poisoned", f"A tile of level {level} is not what it is made of.")
        level += 1


def judge_opened(source, rows, origin, report):
    leaves = {leaf.entry: leaf for leaf in (read_leaf(row.leaf)[2] for row in rows) if leaf}
    for name in source.names:
        found = re.fullmatch(r"opened/([0-9a-f]{32})\.([1-4])\.json", name)
        if not found:
            continue
        try:
            part = read_opened(read_json(source.read(name)))
            payload_of(part["plaintext"])
        except Malformed:
            raise Finding("malformed", f"{name} cannot be read.") from None
        leaf = leaves.get(bytes.fromhex(found[1]))
        if leaf and part["role"] == int(found[2]) and is_bound(part, leaf, origin):
            report.said["opened"] += 1
        else:
            report.add("part_unbound", "An opened part is not what its leaf commits to.", leaf and leaf.seq)


def judge_tags(source, rows, report):
    """Whoever has the tag key of a person finds every leaf about them: an extract that opens some of a class
    must open all of it that is not erased."""
    opened = {name.split("/")[1][:34] for name in source.names if name.startswith("opened/")}
    for class_ in (1, 2, 3):
        if f"tags/{class_}" not in source.names:
            continue
        try:
            key = bytes.fromhex(source.read(f"tags/{class_}").decode().strip())
            need(len(key) == 32)
        except (ValueError, Malformed):
            raise Finding("malformed", "A tag key cannot be read.") from None
        for row in rows:
            leaf = read_leaf(row.leaf)[2]
            for part in leaf.parts if leaf and leaf.class_ == class_ else ():
                is_theirs = tag_of(key, part.role, leaf.entry) == part.tag
                if f"{leaf.entry.hex()}.{part.role}" in opened and not is_theirs and part.role == 1:
                    report.add("tag_mismatch", "An opened part is of somebody else.", leaf.seq)

"""An exported bundle, as a zip or unpacked in a folder. Its form is closed: a file under any other name is
refused, so nothing travels in a bundle that no verifier looks at."""

import os, re, zipfile

from attest import Known, attest
from cbor import Malformed, need
from finding import Finding
from leaf import read_leaf
from log import Row, judge
from note import Trust, decimal
from opened import is_bound, payload_of, read_json, read_opened, tag_of
from tree import Tree, sha256

MAXIMUM_FILES = 1_000_000
MAXIMUM_BYTES = 4 << 30
CLASSES = {"operation": 1, "evidence": 2, "system": 3}
NAMES = re.compile(
    r"README\.txt|bundle\.json|trust\.txt|checkpoint|checkpoints/(0|[1-9][0-9]{0,18})|tile/(0|entries)/[0-9x/]+(\.p/[0-9]+)?"
    r"|sealed/[0-9a-f]{32}\.[1-4]|opened/[0-9a-f]{32}\.[1-4]\.json|tags/(operation|evidence|system)"
    r"|anchor/(0|[1-9][0-9]{0,18})\.tsr|policy/[0-9a-f]{64}/.+")


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
        except (zipfile.BadZipFile, NotImplementedError, ValueError):
            raise Finding("malformed", "The bundle is no zip file.") from None
        members = [member for member in self.zip.infolist() if not member.is_dir()]
        self.path, self.members = path, {member.filename: member for member in members}
        self.names = [member.filename for member in members]
        need_safe(self.names, sum(member.file_size for member in members))

    def read(self, name):
        """What is not packed is read past its checksum: bundle.json has a better one."""
        member = self.members[name]
        try:
            if member.compress_type != zipfile.ZIP_STORED:
                return self.zip.read(name)
            with open(self.path, "rb") as file:
                file.seek(member.header_offset + 26)
                name_length, extra_length = int.from_bytes(file.read(2), "little"), int.from_bytes(file.read(2), "little")
                file.seek(name_length + extra_length, 1)
                return file.read(member.file_size)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError):
            raise Finding("malformed", f"{name} in the bundle cannot be unpacked.") from None


def need_safe(names, size):
    unsafe = [name for name in names if {"", ".", ".."} & set(name.split("/")) or re.search(r"[\\:\x00-\x1f]", name)]
    if unsafe or len(set(names)) != len(names) or len(names) > MAXIMUM_FILES or size > MAXIMUM_BYTES:
        raise Finding("malformed", "The bundle is too large, or has a path twice, absolute or upwards.")


def verify(source, saved, trust, oldest, report):
    about = read_about(source, report)
    size = about["size"]
    claimed = read_claim(source, report)
    # Without a trust policy of one's own, the bundle vouches for itself.
    known = Known(about["origin"], [], trust or claimed)
    take_notes(source, known, size, saved, report)
    judge(read_rows(source, about, report), Tree(), known.checkpoints, report, known.origin)
    report.said.update(size=max(size, report.said["size"]))
    judge_opened(source, about, report)
    judge_tags(source, about, report)
    tell_of_anchors(source, report)
    if trust is None:
        report.add("unwitnessed", "The keys are the bundle's own claim; bring a trust policy of your own.")
    if trust or claimed:
        attest(report, known.checkpoints, trust or claimed, trust is not None, oldest)


def tell_of_anchors(source, report):
    """The standard library has neither RSA nor ECDSA: `openssl ts -verify` checks time-stamps."""
    for name in source.names:
        if name.startswith("anchor/") and NAMES.fullmatch(name):
            size = decimal(name.removeprefix("anchor/").removesuffix(".tsr"))
            report.add("anchor_pending", f"The time-stamp on {size} leaves is not checked here.", size)


def read_about(source, report):
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


def read_claim(source, report):
    try:
        return Trust(source.read("trust.txt").decode())
    except (Malformed, KeyError, OSError, UnicodeDecodeError):
        report.add("malformed", "trust.txt is not there or no trust policy.")
        return None


def take_notes(source, known, size, saved, report):
    for name in sorted(source.names):
        if name == "checkpoint" or name.startswith("checkpoints/"):
            before = len(known.checkpoints)
            known.take_all([source.read(name)], report)
            said = size if name == "checkpoint" else decimal(name.split("/")[1])
            if len(known.checkpoints) > before and known.checkpoints[-1].size != said:
                report.add("malformed", f"{name} is a checkpoint of another size.")
    known.take_all(saved, report)


def tile_index(path):
    index = int(path.replace("/", "").replace("x", ""))
    digits = f"{index:0{(len(str(index)) + 2) // 3 * 3}d}"
    groups = [digits[at:at + 3] for at in range(0, len(digits), 3)]
    need("/".join([*("x" + group for group in groups[:-1]), groups[-1]]) == path)
    return index


def tile_name(kind, index, width):
    digits = f"{index:0{(len(str(index)) + 2) // 3 * 3}d}"
    groups = [digits[at:at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([*("x" + group for group in groups[:-1]), groups[-1]])
    return f"tile/{kind}/{path}" + ("" if width == 256 else f".p/{width}")


def read_rows(source, about, report):
    """Entries where the bundle has them, and hashes where it has not."""
    rows, used = [], set()
    for first in range(0, about["size"], 256):
        width = min(256, about["size"] - first)
        names = [tile_name(kind, first // 256, width) for kind in (0, "entries")]
        used.update(names)
        hashes = read_hashes(source, names[0], first, width, report)
        leaves = None
        if about["from"] <= first < about["to"]:
            leaves = read_entries(source, names[1], first, width, report)
        if leaves is None:
            rows += [Row(first + at, None, one, None, None) for at, one in enumerate(hashes or [])]
            continue
        stored = hashes if hashes and len(hashes) == len(leaves) else [None] * len(leaves)
        sealed = any(name.startswith("sealed/") for name in source.names)
        for at, (leaf, one) in enumerate(zip(leaves, stored)):
            rows.append(Row(first + at, leaf, one, None, sealed_of(source, leaf) if sealed else None))
    for name in source.names:
        if name.startswith("tile/") and name not in used:
            report.add("malformed", f"{name} belongs to nothing that the bundle says it holds.")
    return rows


def read_hashes(source, name, first, width, report):
    if name not in source.names:
        return None
    data = source.read(name)
    if len(data) != 32 * width:
        report.add("malformed", f"{name} does not hold {width} hashes.", first, first + width - 1)
        return None
    return [data[at:at + 32] for at in range(0, len(data), 32)]


def read_entries(source, name, first, width, report):
    if name not in source.names:
        report.add("leaf_missing", f"{name} is not there.", first, first + width - 1)
        return None
    data, leaves, at = source.read(name), [], 0
    while at < len(data):
        length = int.from_bytes(data[at:at + 2], "big")
        leaves.append(data[at + 2:at + 2 + length])
        at += 2 + length
    if at != len(data):
        report.add("malformed", f"{name} cannot be read.", first, first + width - 1)
        return None
    if len(leaves) != width:
        report.add("malformed", f"{name} holds {len(leaves)} entries.", first, first + width - 1)
    return leaves


def sealed_of(source, data):
    order = read_leaf(data)[1]
    names = {role: f"sealed/{order.entry.hex()}.{role}" for role in range(1, 5)} if order else {}
    return {role: sha256(source.read(name)) for role, name in names.items() if name in source.names}


def leaves_of(source, about):
    quiet = type("Quiet", (), {"add": lambda *_: None})()
    for row in read_rows(source, about, quiet):
        leaf = row.leaf is not None and read_leaf(row.leaf)[2]
        if leaf:
            yield leaf


def judge_opened(source, about, report):
    names = [name for name in source.names if name.startswith("opened/")]
    leaves = {leaf.entry: leaf for leaf in leaves_of(source, about)} if names else {}
    for name in names:
        entry, role, _ = name.split("/")[1].split(".")
        try:
            part = read_opened(read_json(source.read(name)))
            payload_of(part["plaintext"])
            need(part["role"] == int(role))
        except Malformed:
            report.add("malformed", f"{name} is no opened part.")
            continue
        leaf = leaves.get(bytes.fromhex(entry))
        if leaf and is_bound(part, leaf, about["origin"]):
            report.said["opened"] += 1
        else:
            report.add("part_unbound", "An opened part is not what its leaf commits to.", leaf and leaf.seq)


def judge_tags(source, about, report):
    """Whoever has the tag key of a person finds every leaf about them; what is opened must be theirs."""
    for class_, number in CLASSES.items():
        if f"tags/{class_}" not in source.names:
            continue
        try:
            key = bytes.fromhex(source.read(f"tags/{class_}").decode().strip())
            need(len(key) == 32)
        except (ValueError, Malformed):
            report.add("malformed", "A tag key cannot be read.")
            continue
        for leaf in leaves_of(source, about):
            for part in leaf.parts if leaf.class_ == number else ():
                is_shown = part.role == 1 and f"opened/{leaf.entry.hex()}.1.json" in source.names
                if is_shown and tag_of(key, 1, leaf.entry) != part.tag:
                    report.add("tag_mismatch", "An opened part is of somebody else.", leaf.seq)

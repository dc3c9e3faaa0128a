"""The tiles of a bundle: hashes of all leaves, entries of some."""

from cbor import need


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



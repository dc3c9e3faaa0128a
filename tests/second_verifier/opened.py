"""Parts that are shown: whether a leaf commits to them, and what they say."""

import hmac, json

from cbor import Malformed, Reader, need
from note import strict_base64


def component(tag, data):
    return bytes([tag]) + len(data).to_bytes(4, "big") + data


def commitment_of(part, leaf, origin):
    place = (component(4, bytes([part["role"]])) + component(5, leaf.entry)
             + component(6, leaf.event.to_bytes(2, "big")) + component(7, bytes([leaf.class_]))
             + component(14, origin.encode()))
    message = b"amanat/audit-commitment/v1\0" + place + component(15, part["plaintext"])
    return hmac.new(part["commit_key"], message, "sha256").digest()


def tag_of(tag_key, role, entry):
    message = b"amanat/audit-tag/v1\0" + component(4, bytes([role])) + component(5, entry)
    return hmac.new(tag_key, message, "sha256").digest()[:16]


def read_opened(part):
    need(isinstance(part, dict) and set(part) == {"role", "commit_key", "plaintext"})
    need(type(part["role"]) is int and 0 <= part["role"] < 256)
    need(isinstance(part["commit_key"], str) and isinstance(part["plaintext"], str))
    key = strict_base64(part["commit_key"])
    need(len(key) == 32)
    return {"role": part["role"], "commit_key": key, "plaintext": strict_base64(part["plaintext"])}


def is_bound(part, leaf, origin):
    named = next((named for named in leaf.parts if named.role == part["role"]), None)
    return named is not None and hmac.compare_digest(commitment_of(part, leaf, origin), named.commitment)


def payload_of(plaintext):
    need(len(plaintext) <= 16384)
    payload = plaintext.rstrip(b"\0")
    need(payload.endswith(b"\x80"))
    reader = Reader(payload[:-1])
    value = reader.value()
    need(reader.is_done())
    return value


def shown(value):
    """A payload as JSON shows it: bytes as hexadecimal digits."""
    if isinstance(value, dict):
        return {key: shown(member) for key, member in value.items()}
    if isinstance(value, list):
        return [shown(item) for item in value]
    return value.hex() if isinstance(value, bytes) else value


def same(one, other):
    """Equality that tells 1 from true."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def read_json(data, nullable=()):
    """JSON as payloads are shown in it: no key twice, no null, no number but from 0 to 2^64 - 1."""
    def once(pairs):
        need(len({key for key, _ in pairs}) == len(pairs))
        return dict(pairs)

    def number(digits):
        need(not digits.startswith("-") and len(digits) <= 20 and int(digits) < 2**64)
        return int(digits)

    def refuse(_):
        raise Malformed

    def need_no_null(value):
        need(value is not None)
        for member in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            need_no_null(member)

    try:
        value = json.loads(data.decode(), object_pairs_hook=once, parse_int=number, parse_float=refuse,
                           parse_constant=refuse)
        need_no_null({key: value[key] for key in value if value[key] is not None or key not in nullable}
                     if isinstance(value, dict) else value)
        return value
    except (ValueError, RecursionError) as error:
        raise Malformed from error

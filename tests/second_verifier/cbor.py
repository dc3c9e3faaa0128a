"""Deterministic CBOR (RFC 8949 §4.2.1), as far as leaves and payloads use it."""


class Malformed(Exception):
    """The bytes are not what their format asks for."""


def need(condition):
    if not condition:
        raise Malformed


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        need(count <= len(self.data) - self.at)
        self.at += count
        return self.data[self.at - count:self.at]

    def head(self, kind):
        first = self.take(1)[0]
        need(first >> 5 == kind and first & 31 < 28)
        short = first & 31
        if short < 24:
            return short
        value = int.from_bytes(self.take(1 << short - 24), "big")
        need(value >= (24, 2**8, 2**16, 2**32)[short - 24])
        return value

    def uint(self):
        return self.head(0)

    def bytes(self, length=None):
        said = self.head(2)
        need(length is None or said == length)
        return self.take(said)

    def key(self, expected):
        need(self.take(1)[0] == expected)

    def is_done(self):
        return self.at == len(self.data)

    def value(self, depth=16):
        """A value of a payload."""
        need(depth and not self.is_done())
        first = self.data[self.at]
        if first in (0xF4, 0xF5):
            return self.take(1) == b"\xf5"
        if first >> 5 == 0:
            return self.uint()
        if first >> 5 == 2:
            return self.bytes()
        if first >> 5 == 3:
            return self.text()
        if first >> 5 == 4:
            return [self.value(depth - 1) for _ in self.items(4)]
        members, last = {}, None
        for _ in self.items(5):
            key = self.text()
            order = (len(key.encode()), key.encode())
            need(last is None or last < order)
            last, members[key] = order, self.value(depth - 1)
        return members

    def items(self, kind):
        count = self.head(kind)
        need(count <= len(self.data))
        return range(count)

    def text(self):
        try:
            return self.take(self.head(3)).decode()
        except UnicodeDecodeError as error:
            raise Malformed from error

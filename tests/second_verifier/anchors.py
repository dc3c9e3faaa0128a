"""Time-stamps of others on checkpoints (RFC 3161): whether each is of the checkpoint that it should be of.

That is read here: the imprint, the digest that the signer names, and that the reply is the one the log tells of. Whose
signature it is, is not: the standard library has neither RSA, nor ECDSA, nor X.509. So no time-stamp is more than
pending here; `openssl ts -verify` or the gateway's verifier with the authority's root certificate tell the rest.
"""

import base64, hashlib

from cbor import Malformed, need
from tree import sha256

SEQUENCE, SET, INTEGER, OBJECT, OCTETS, CONTEXT = 0x30, 0x31, 0x02, 0x06, 0x04, 0xA0
SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
TOKEN_INFO = bytes.fromhex("2a864886f70d0109100104")
MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")
DIGESTS = {bytes.fromhex("60864801650304020" + digit): name
           for digit, name in (("1", "sha256"), ("2", "sha384"), ("3", "sha512"))}


class Anchors:
    def __init__(self, checkpoints, dated):
        self.texts, self.dated, self.replied, self.found = {}, dated, {}, []
        for checkpoint in checkpoints:
            root = base64.b64encode(checkpoint.root).decode()
            text = f"{checkpoint.origin}\n{checkpoint.size}\n{root}\n".encode()
            self.texts.setdefault(checkpoint.size, set()).add(text)

    def take(self, size, reply):
        """A reply, or None: an authority was asked and owes one."""
        if reply is None:
            self.found.append(("anchor_pending", "An authority was asked for a time-stamp and has not replied.", size))
            return
        self.replied.setdefault(size, set()).add(sha256(reply))
        try:
            imprint = imprint_of(reply)
            is_of = size in self.texts and all(sha256(text) == imprint for text in self.texts[size])
        except Malformed:
            is_of = False
        if is_of:
            self.found.append(("anchor_pending", "Whose signature the time-stamp is, is not checked here.", size))
        else:
            self.found.append(("anchor_invalid", "The time-stamp is not of the checkpoint of that size.", size))

    def report(self, report):
        for size, digests in self.dated.items():
            if size not in self.replied:
                self.found.append(("anchor_pending", "A time-stamp that the log tells of is not here.", size))
            elif not digests & self.replied[size]:
                self.found.append(("anchor_invalid", "The time-stamp is not the one that the log tells of.", size))
        for found in self.found:
            report.add(*found)


class Der:
    """The elements within an element."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def next(self, *tags):
        need(self.at + 2 <= len(self.data))
        tag, length, start = self.data[self.at], self.data[self.at + 1], self.at + 2
        if length > 127:
            count = length & 127
            need(0 < count < 4 and start + count <= len(self.data))
            length, start = int.from_bytes(self.data[start:start + count], "big"), start + count
            need(length > 127 and length.bit_length() > 8 * (count - 1))
        need(start + length <= len(self.data) and (not tags or tag in tags))
        self.at = start + length
        return tag, self.data[start:self.at]

    def within(self, tag):
        return Der(self.next(tag)[1])

    def is_done(self):
        return self.at == len(self.data)


def imprint_of(reply):
    """What a granted token dates: the SHA-256 of a text."""
    need(len(reply) <= 65536)
    outer = Der(reply)
    reply = outer.within(SEQUENCE)
    need(outer.is_done())
    need(reply.within(SEQUENCE).next(INTEGER)[1] in (b"\0", b"\1"))
    token = reply.within(SEQUENCE)
    need(reply.is_done() and token.next(OBJECT)[1] == SIGNED_DATA)
    signed = token.within(CONTEXT).within(SEQUENCE)
    signed.next(INTEGER), signed.next(SET)
    wrapped = signed.within(SEQUENCE)
    need(wrapped.next(OBJECT)[1] == TOKEN_INFO)
    content = wrapped.within(CONTEXT).next(OCTETS)[1]
    tag, signers = signed.next()
    while tag != SET:
        tag, signers = signed.next()
    need(signed.is_done() and is_named(Der(signers).within(SEQUENCE), content))

    whole = Der(content)
    info = whole.within(SEQUENCE)
    need(whole.is_done() and info.next(INTEGER)[1] == b"\1")
    info.next(OBJECT)
    imprint = info.within(SEQUENCE)
    need(DIGESTS.get(imprint.within(SEQUENCE).next(OBJECT)[1]) == "sha256")
    return imprint.next(OCTETS)[1]


def is_named(signer, content):
    """Whether the signer says the digest of the content."""
    signer.next(INTEGER), signer.next()
    name = DIGESTS.get(signer.within(SEQUENCE).next(OBJECT)[1])
    need(name)
    attributes = signer.within(CONTEXT)
    while not attributes.is_done():
        attribute = attributes.within(SEQUENCE)
        if attribute.next(OBJECT)[1] == MESSAGE_DIGEST:
            return attribute.within(SET).next(OCTETS)[1] == hashlib.new(name, content).digest()
    return False

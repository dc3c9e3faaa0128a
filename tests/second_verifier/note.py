"""Signed notes, checkpoints and trust policies of C2SP."""

import base64, re
from collections import namedtuple

from cbor import Malformed, need
from ed25519 import signature_holds
from finding import Finding
from tree import sha256

Key = namedtuple("Key", "name kind public")
Checkpoint = namedtuple("Checkpoint", "origin size root signed_by cosigned")


def strict_base64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Malformed from error
    need(base64.b64encode(data).decode() == text)
    return data


def decimal(text):
    need(re.fullmatch(r"0|[1-9][0-9]{0,18}", text) and int(text) < 2**63)
    return int(text)


def is_key_name(name):
    return name and "+" not in name and not any(c.isspace() or not c.isprintable() and ord(c) < 160 for c in name)


def key_id(key):
    return sha256(key.name.encode(), b"\n", bytes([key.kind]), key.public)[:4]


def read_vkey(text):
    pieces = text.split("+", 2)
    need(len(pieces) == 3 and is_key_name(pieces[0]))
    data = strict_base64(pieces[2])
    need(len(data) == 33 and data[0] in (1, 4))
    key = Key(pieces[0], data[0], data[1:])
    need(key_id(key).hex() == pieces[1])
    return key


def read_note(note):
    need(len(note) <= 65536)
    try:
        note = note.decode()
    except UnicodeDecodeError as error:
        raise Malformed from error
    need(not any(c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160) for c in note))
    text, parted, lines = note.rpartition("\n\n")
    need(parted and lines.endswith("\n"))
    signatures = []
    for line in lines[:-1].split("\n"):
        need(line.startswith("\u2014 ") and line.count(" ") == 2)
        _, name, data = line.split(" ")
        data = strict_base64(data)
        need(is_key_name(name) and len(data) > 4)
        signatures.append((name, data[:4], data[4:]))
    need(len(signatures) <= 32)
    text += "\n"
    lines = text.split("\n")
    need(len(lines) == 4 and lines[0] and lines[3] == "")
    root = strict_base64(lines[2])
    need(len(root) == 32)
    return text, lines[0], decimal(lines[1]), root, signatures


def open_checkpoint(note, log_keys, witness_keys=(), expected=None):
    """Note, text, origin, signatures, in that order. Unknown signers are ignored; a known one that fails
    rejects the note, and so does a note that no known key of the log has signed."""
    try:
        text, origin, size, root, signatures = read_note(note)
    except Malformed:
        raise Finding("malformed", "A checkpoint cannot be read.") from None
    if origin != expected if expected is not None else all(key.name != origin for key in log_keys):
        raise Finding("origin_mismatch", "A checkpoint is of another log.")
    signed_by, cosigned = set(), {}
    for name, identity, data in signatures:
        key = next((k for k in (*log_keys, *witness_keys) if (k.name, key_id(k)) == (name, identity)), None)
        if key is None:
            continue
        if key in log_keys:
            holds = key.kind == 1 and name == origin and signature_holds(key.public, text.encode(), data)
            signed_by.add(key)
        else:
            seconds = int.from_bytes(data[:8], "big")
            message = f"cosignature/v1\ntime {seconds}\n{text}".encode()
            holds = key.kind == 4 and signature_holds(key.public, message, data[8:])
            cosigned[key] = max(seconds, cosigned.get(key, 0))
        if not holds:
            raise Finding("checkpoint_signature", "A signature on a checkpoint does not hold.")
    if not signed_by:
        raise Finding("checkpoint_signature", "No known key of the log signed a checkpoint.")
    return Checkpoint(origin, size, root, frozenset(signed_by), cosigned)


class Trust:
    """A C2SP tlog-policy: whom to believe, and how many of them."""

    def __init__(self, text):
        self.logs, self.witnesses, self.groups, quorum = [], {}, {}, None
        for line in text.splitlines():
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if words[0] == "log" and len(words) in (2, 3):
                key = read_vkey(words[1])
                need(key.kind == 1 and key not in self.logs)
                self.logs.append(key)
            elif words[0] == "witness" and len(words) in (3, 4):
                key = read_vkey(words[2])
                need(key.kind == 4 and self.is_free(words[1]) and key not in self.witnesses.values())
                self.witnesses[words[1]] = key
            elif words[0] == "group" and len(words) > 3:
                members = words[3:]
                least = {"any": 1, "all": len(members)}.get(words[2]) or decimal(words[2])
                known = [m for m in members if m in self.witnesses or m in self.groups]
                taken = [m for _, others in self.groups.values() for m in others if m in members]
                need(0 < least <= len(members) == len(set(known)) and not taken and self.is_free(words[1]))
                self.groups[words[1]] = (least, members)
            elif words[0] == "quorum" and len(words) == 2 and quorum is None:
                quorum = words[1]
                need(quorum == "none" or quorum in self.witnesses or quorum in self.groups)
            else:
                raise Malformed
        need(self.logs and quorum is not None)
        self.quorum = None if quorum == "none" else quorum

    def is_free(self, name):
        return name not in ("none", "any", "all") and name not in self.witnesses and name not in self.groups

    def keys(self):
        return list(self.witnesses.values())

    def is_met(self, checkpoint):
        met = {name for name, key in self.witnesses.items() if key in checkpoint.cosigned}
        for name, (least, members) in self.groups.items():
            met |= {name} if len(met.intersection(members)) >= least else set()
        return self.quorum is None or self.quorum in met

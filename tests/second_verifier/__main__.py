#!/usr/bin/env python3
"""A second verifier of the audit log, which shares nothing with the gateway.

    python3 tests/second_verifier SOURCE [--checkpoint FILE]... [--trust FILE] [--against BUNDLE] [--max-age TIME]
                                         [--business] [--json]
    python3 tests/second_verifier --self-test VECTORS

SOURCE is a copy of a SQLite data file, an exported bundle (zip or folder), a .tlog-proof, an
*.amanat-receipt.json, or evidence of a fork (which needs --trust). Nothing but the standard library of Python, no
network, no key of the gateway; it reads as a stranger would, from the published formats: RFC 6962 (tree), RFC 8032
(signatures), RFC 8949 (leaves), and C2SP's signed-note, tlog-checkpoint, tlog-tiles, tlog-proof and tlog-policy. Of
RFC 3161 it reads what a time-stamp is of, and not who signed it (see anchors.py).

Exit codes: 0 intact; 10 intact, but nobody outside vouches for it; 20 incomplete; 30 forked or rolled
back; 40 invalid; 50 less attested than the trust policy asks for; 1 could not run; 2 wrong usage.
"""

import argparse, json, os, sqlite3, sys, time

import bundle, database, evidence, single
from cbor import Malformed
from finding import Finding, Report
from note import Trust


def main():
    wanted = arguments()
    if wanted.self_test:
        import self_test
        return self_test.run(wanted.self_test)
    try:
        report = verify(wanted)
    except (OSError, sqlite3.Error) as error:
        print(f"it could not run: {error}", file=sys.stderr)
        return 1
    except Malformed:
        print("it could not run: the trust policy cannot be read, or is needed", file=sys.stderr)
        return 1
    said = report.conclude()
    print(json.dumps(said, ensure_ascii=False) if wanted.json else as_text(said))
    return said["exit"]


def arguments():
    parser = argparse.ArgumentParser(description="Verifies an Amanat audit log, without Amanat.")
    parser.add_argument("source", nargs="?", help="a database, a bundle, a .tlog-proof or a receipt")
    parser.add_argument("--checkpoint", action="append", default=[], metavar="FILE", help="a checkpoint saved before")
    parser.add_argument("--trust", metavar="FILE", help="whom you trust, as a tlog-policy")
    parser.add_argument("--against", metavar="BUNDLE", help="another bundle of the same log")
    parser.add_argument("--max-age", type=age, metavar="TIME", help="how old the newest entry may be, such as 24h")
    parser.add_argument("--business", action="store_true", help="also asks whether every business row has its entry")
    parser.add_argument("--json", action="store_true", help="prints the report as JSON")
    parser.add_argument("--self-test", metavar="VECTORS", help="holds this verifier against known vectors")
    wanted = parser.parse_args()
    if not wanted.source and not wanted.self_test:
        parser.error("name a source")
    return wanted


def age(text):
    """Seconds."""
    number, unit = text[:-1], {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(text[-1:])
    if unit is None or not number.isdecimal():
        raise argparse.ArgumentTypeError("write a time such as 24h or 90m")
    return int(number) * unit


def verify(wanted):
    report, trust, saved = Report(), None, []
    if wanted.trust:
        trust = Trust(read(wanted.trust).decode("utf-8", "replace"))
    for path in wanted.checkpoint:
        saved.append(read(path))
    oldest = None if wanted.max_age is None else time.time() - wanted.max_age
    try:
        start = b"PK" if os.path.isdir(wanted.source) else read(wanted.source, 16)
        if start.startswith(b"PK"):
            bundle.verify(wanted.source, saved, trust, oldest, report, wanted.against)
        elif start == b"SQLite format 3\0":
            if wanted.against:
                saved += notes_of(wanted.against)
            database.verify(wanted.source, saved, trust, oldest, wanted.business, report)
        elif start.lstrip().startswith(b"{") and b'"amanat-evidence/1"' in read(wanted.source, 64):
            if trust is None:
                raise Malformed
            evidence.verify(read(wanted.source), trust, report)
        elif start.lstrip().startswith(b"{"):
            single.verify_receipt(read(wanted.source), trust, report)
        else:
            single.verify_proof(read(wanted.source), trust, oldest, report)
    except Finding as finding:
        report.found.append(finding)
    return report


def notes_of(path):
    try:
        return bundle.notes_of(path, Report())
    except Finding as finding:
        raise OSError(f"{path}: {finding}") from None


def read(path, limit=-1):
    with open(path, "rb") as file:
        return file.read(limit)


def as_text(said):
    lines = [f"{said['verdict']} (exit {said['exit']})", f"log        {said['origin']}",
             f"entries    {said['checked']} of {said['size']} hashed again"]
    for finding in said["findings"]:
        place = f" at {finding['seq']}" if "seq" in finding else ""
        place = f" from {finding['from']} to {finding['to']}" if "from" in finding else place
        lines.append(f"{finding['severity']:<13} {finding['code']}{place}: {finding['text']}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

"""What a person or an auditor holds in one file: a proof, or a receipt."""

from attest import attest
from cbor import Malformed, need
from finding import Finding
from leaf import read_leaf
from note import Trust, decimal, open_checkpoint, read_note, strict_base64
from opened import is_bound, payload_of, read_json, read_opened, same, shown
from tree import inclusion_holds


def read_proof(text):
    head, parted, note = text.partition("\n\n")
    need(parted)
    header, *lines = head.split("\n")
    need(header == "c2sp.org/tlog-proof@v1")
    leaf = strict_base64(lines.pop(0)[6:]) if lines and lines[0].startswith("extra ") else None
    need(lines and lines[0].startswith("index "))
    hashes = [strict_base64(line) for line in lines[1:]]
    need(len(hashes) < 64 and all(len(one) == 32 for one in hashes))
    return leaf, decimal(lines[0][6:]), hashes, note.encode()


def judge_leaf(data, index, hashes, size, root, report):
    """The leaf, if it is one of a known kind; raises a finding if it does not stand where the proof says."""
    leaf_hash, _, leaf, refusal = read_leaf(data)
    if refusal == "malformed":
        raise Finding("malformed", "The leaf breaks its format.", index)
    if refusal:
        report.add(refusal, "The leaf is of a kind that is not known here.", index)
    elif leaf.seq != index:
        raise Finding("leaf_altered", "The leaf says another position than its proof.", index)
    report.said["newest"] = leaf and leaf.time
    if not inclusion_holds(index, size, leaf_hash, hashes, root):
        raise Finding("root_mismatch", "The leaf is not in the tree that the checkpoint signs.", index)
    report.said["checked"] = 1
    return leaf


def verify_proof(data, trust, oldest, report):
    try:
        leaf, index, hashes, note = read_proof(data.decode())
        need(leaf is not None)
    except (Malformed, UnicodeDecodeError):
        raise Finding("malformed", "The proof cannot be read.") from None
    checkpoints = []
    if trust:
        checkpoints = [open_checkpoint(note, trust.logs, trust.keys())]
        origin, size, root = checkpoints[0][:3]
    else:
        try:
            _, origin, size, root, _ = read_note(note)
        except Malformed:
            raise Finding("malformed", "The checkpoint of the proof cannot be read.") from None
    report.said.update(origin=origin, size=size)
    judge_leaf(leaf, index, hashes, size, root, report)
    if trust:
        attest(report, checkpoints, trust, True, oldest)
    else:
        report.add("unwitnessed", "No trust policy says whose signature it must be; it was not checked.")


def verify_receipt(data, trust, report):
    try:
        receipt = read_json(data)
        need(isinstance(receipt, dict) and receipt.get("format") == "amanat-receipt/1")
        need(set(receipt) == {"format", "trust", "proof", "opened", "statement"})
        need(isinstance(receipt["trust"], str) and isinstance(receipt["proof"], str))
        need(isinstance(receipt["opened"], list))
        opened = [read_opened(part) for part in receipt["opened"]]
        claimed = trust or Trust(receipt["trust"])
        leaf, index, hashes, note = read_proof(receipt["proof"])
    except Malformed:
        raise Finding("malformed", "The receipt cannot be read.") from None
    checkpoint = open_checkpoint(note, claimed.logs, claimed.keys())
    report.said.update(origin=checkpoint.origin, size=checkpoint.size)
    if leaf is None:
        raise Finding("malformed", "The proof holds no leaf.")
    leaf = judge_leaf(leaf, index, hashes, checkpoint.size, checkpoint.root, report)
    if leaf is None:
        return
    judge_parts(opened, receipt["statement"], leaf, checkpoint.origin, report)
    met = claimed.is_met(checkpoint)
    if trust is None:
        report.add("unwitnessed", "The keys are the receipt's own claim; bring a trust policy of your own.")
    elif not met:
        report.add("downgrade", "Fewer witnesses vouch for the checkpoint than your trust policy asks for.")
    elif trust.quorum is None:
        report.add("unwitnessed", "Your trust policy asks for no witness.")
    if claimed.quorum and met:
        report.said["witnessed_to"] = checkpoint.size


def judge_parts(opened, statement, leaf, origin, report):
    for part in opened:
        if is_bound(part, leaf, origin):
            report.said["opened"] += 1
        else:
            report.add("part_unbound", "An opened part is not what the leaf commits to.", leaf.seq)
    if not opened:
        report.add("malformed", "The receipt opens no part.")
        return
    try:
        if not same(shown(payload_of(opened[-1]["plaintext"])), statement):
            report.add("statement_differs", "The statement does not say what was committed to.", leaf.seq)
    except Malformed:
        report.add("malformed", "The payload of an opened part cannot be read.")

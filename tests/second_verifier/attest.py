"""What was signed, and what others vouch for."""

from cbor import Malformed
from finding import Finding
from leaf import read_leaf
from note import Checkpoint, Key, open_checkpoint, read_note
from sense import KeySpans


class Known:
    """Every checkpoint that is known of one log, its signatures checked against the verifier's own trust or,
    without one, against the keys that the log itself names."""

    def __init__(self, origin, leaves, trust):
        self.trust, self.origin, self.checkpoints, self.keys = trust, origin, [], []
        if trust:
            self.keys = list(trust.logs)
            names = [key.name for key in trust.logs]
            self.origin = origin if origin in names else names[0]
            return
        spans = KeySpans()
        for data in leaves:
            leaf = read_leaf(data)[2]
            if leaf:
                spans.hear(leaf)
        self.keys += [Key(origin, 1, typed[1:]) for typed, _, _ in spans.spans if typed[0] == 1 and origin]

    def learn(self, handovers):
        """Both keys sign the checkpoint right behind the leaf at which one hands over to the other, so whoever
        believes one learns the other. `handovers` are such notes and leaves, the oldest first."""
        for note, data in [*handovers, *reversed(handovers)]:
            leaf = read_leaf(data)[2]
            try:
                opened = open_checkpoint(note, self.keys, (), self.origin)
            except Finding:
                continue
            if leaf and leaf.event == 104 and opened.size == leaf.seq + 1:
                both = [Key(self.origin, 1, leaf.facts[fact][1:]) for fact in (16, 9)]
                if opened.signed_by.intersection(both):
                    self.keys += [key for key in both if key not in self.keys]

    def take(self, note):
        """Raises a finding if the note is not to be believed."""
        if self.keys:
            witnesses = self.trust.keys() if self.trust else []
            self.checkpoints.append(open_checkpoint(note, self.keys, witnesses, self.origin))
            return
        try:
            _, origin, size, root, _ = read_note(note)
        except Malformed:
            raise Finding("malformed", "A checkpoint cannot be read.") from None
        self.checkpoints.append(Checkpoint(origin, size, root, frozenset(), {}))

    def take_all(self, notes, report):
        for note in notes:
            try:
                self.take(note)
            except Finding as finding:
                report.found.append(finding)


def attest(report, checkpoints, trust, is_own, oldest):
    """Quorum and age. `trust` None: nobody says whose signatures they should be."""
    newest = max((checkpoint.size for checkpoint in checkpoints), default=None)
    met = [c.size for c in checkpoints if trust and trust.quorum and trust.is_met(c)]
    witnessed = report.said["witnessed_to"] = max(met, default=None)
    if newest is None:
        report.add("unwitnessed", "There is no checkpoint, so nobody vouches for the log.")
    elif trust is None or trust.quorum is None:
        report.add("unwitnessed", "The trust policy asks for no witness.")
    elif witnessed is None and is_own:
        report.add("downgrade", "No checkpoint meets the quorum that your trust policy asks for.")
    elif witnessed != newest:
        report.add("unwitnessed", "The quorum vouches for an older checkpoint than the newest.")
    elif not is_own:
        report.add("unwitnessed", "The keys are the log's own claim; bring a trust policy of your own.")
    seconds = [(report.said["newest"] or 0) // 1_000_000]
    seconds += [at for checkpoint in checkpoints for at in checkpoint.cosigned.values()]
    if oldest is not None and max(seconds) < oldest:
        report.add("stale", "The newest thing the log shows is older than you accept.")

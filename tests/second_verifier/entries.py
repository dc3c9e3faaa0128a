"""Whether an entry id stands twice, in sixteen bytes a leaf."""

from array import array
from collections import defaultdict

# Leaves that are looked at together.
TOGETHER = 250_000


class Entries:
    def __init__(self):
        self.positions, self.high, self.low = array("Q"), array("Q"), array("Q")

    def note(self, entry, position):
        self.positions.append(position)
        self.high.append(int.from_bytes(entry[:8], "big"))
        self.low.append(int.from_bytes(entry[8:], "big"))

    def report(self, report):
        share = len(self.low) // TOGETHER + 1
        for turn in range(share):
            seen, twice = {}, defaultdict(set)
            for place, low in enumerate(self.low):
                if low % share != turn:
                    continue
                entry = low, self.high[place]
                first = seen.setdefault(entry, place)
                if first != place:
                    twice[entry] |= {first, place}
            for places in twice.values():
                positions = sorted(self.positions[place] for place in places)
                for one, other in zip(positions, positions[1:]):
                    report.add("entry_repeated", "Two leaves have one entry id.", one, other)

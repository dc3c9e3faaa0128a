"""Whether the log makes sense as a story: how it begins, who may sign it, what was deleted, and where it fell
silent. It hears one leaf after the other and remembers what they told, not the leaves."""

from collections import defaultdict


class KeySpans:
    """The sizes that each key of the log may sign: the one of leaf 0 from the first on; a rotation at position s has both
    sign size s + 1, and its new key alone what is larger."""

    def __init__(self):
        self.spans = []

    def hear(self, leaf):
        if leaf.event == 100 and not self.spans:
            self.spans.append((leaf.facts[9], 0, 2**64))
        elif leaf.event == 104 and self.spans and self.spans[-1][0] == leaf.facts[16]:
            replaced, begin, _ = self.spans[-1]
            self.spans[-1] = replaced, begin, leaf.seq + 1
            self.spans.append((leaf.facts[9], leaf.seq + 1, 2**64))

    def may_sign(self, typed, size):
        return any(typed == key and begin <= size <= end for key, begin, end in self.spans)


class Sense:
    def __init__(self, report, origin, first):
        self.report, self.origin, self.first = report, origin, first
        self.heartbeat, self.beats, self.silences, self.last, self.closed = None, 0, 0, None, None
        self.keys = KeySpans()
        self.gone, self.counted, self.last_gone = [0, 0, 0], [0, 0, 0], [None] * 3
        self.is_balanced, self.is_whole = False, True
        # The leaves that say that others were pruned, and the time-stamps that leaves say have arrived, by size.
        self.prunes, self.dated = [], defaultdict(set)

    def pass_over(self):
        """A leaf follows that the source does not show."""
        self.last, self.is_whole = None, False

    def hear(self, position, leaf, sealed, wrong=frozenset()):
        """`wrong` are the positions of leaves that are not what they were: nothing is made of what they say."""
        add = self.report.add
        if leaf.seq == position and (leaf.seq == 0) != (leaf.event == 100):
            add("malformed", "A log opens with log.opened, once.", leaf.seq)
        if self.closed is not None:
            add("leaf_inserted", "Leaves follow after the log was closed.", self.closed, leaf.seq)
        self.closed = leaf.seq if leaf.event == 199 else None
        if leaf.event == 100:
            if self.origin not in (None, leaf.facts[10]):
                add("origin_mismatch", "The log is another one than expected.", leaf.seq)
            self.origin, self.heartbeat = leaf.facts[10], leaf.facts[14] * 1_000_000
        self.keys.hear(leaf)
        if leaf.event == 105 and 2 in leaf.facts:
            self.dated[leaf.facts[7]].add(leaf.facts[2])
        if leaf.event == 102 and leaf.facts[4]:
            add("succeeded_with_loss", "The log before this one lost leaves.", leaf.seq)
        if leaf.event == 103:
            self.prunes.append(leaf)
        self.beats += leaf.event == 101
        self.listen(leaf, wrong)
        if sealed is not None:
            self.weigh(leaf, sealed)

    def listen(self, leaf, wrong):
        last, self.last = self.last, leaf
        if last is None or self.heartbeat is None or leaf.time - last.time <= 2 * self.heartbeat:
            return
        if last.event == 131 or leaf.event == 130 or wrong & {0, last.seq, leaf.seq - 1, leaf.seq}:
            return
        self.silences += 1
        self.report.add("silence", "Nothing for more than two heartbeats, and nothing says why.", last.seq, leaf.seq)

    def weigh(self, leaf, sealed):
        """Sealed rows are deleted only in a commit whose leaf counts them."""
        self.is_balanced = True
        class_, named = leaf.class_ - 1, {part.role: part for part in leaf.parts if part.role != 4}
        for role, part in named.items():
            if role not in sealed:
                self.gone[class_] += 1
                self.last_gone[class_] = leaf.seq
        if any(role not in named or named[role].sealed_hash != found for role, found in sealed.items()):
            self.report.add("sealed_altered", "A sealed row is not the one that its leaf names.", leaf.seq)
        counts = leaf.facts.get(3, [0, 0, 0])
        # What went with pruned leaves was counted when its rows went; here the leaves go.
        into = self.counted if leaf.event != 103 else self.gone if self.first else [0, 0, 0]
        for class_, count in enumerate(counts):
            into[class_] += count

    def conclude(self, checkpoints):
        if self.silences and not self.beats:
            self.report.add("downgrade", "Leaf 0 announces heartbeats, and there are none.")
        self.judge_keys(checkpoints)
        if self.is_balanced and self.is_whole:
            self.balance()
        self.report.said.update(origin=self.origin, erased=sum(self.gone))

    def balance(self):
        for gone, counted, last in zip(self.gone, self.counted, self.last_gone):
            if gone > counted:
                text = f"{gone - counted} sealed rows are gone, and no leaf counts them."
                self.report.add("sealed_missing", text, None if last is None else self.first, last)
            if gone < counted:
                text = f"{counted - gone} sealed rows are counted as deleted, and exist."
                self.report.add("false_erasure", text)

    def judge_keys(self, checkpoints):
        # Without leaf 0 nobody says which key the log began with.
        if not self.keys.spans or self.first:
            return
        for checkpoint in checkpoints:
            for key in checkpoint.signed_by:
                if not self.keys.may_sign(bytes([key.kind]) + key.public, checkpoint.size):
                    text = "A key signed a size that it is not valid for."
                    self.report.add("key_not_valid_here", text, checkpoint.size)

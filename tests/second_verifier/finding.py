"""What is found, and what it comes to."""

WEIGHT = {"warning": 0, "not_attested": 10, "incomplete": 20, "downgraded": 50, "invalid": 40, "forked": 30}
SEVERITY = {code: severity for severity, codes in {
    "warning": "tile_poisoned",
    "not_attested": "stale unwitnessed anchor_pending",
    "incomplete": "silence sealed_missing business_row_without_leaf leaf_without_business_row unknown_version "
                  "unknown_event succeeded_with_loss",
    "downgraded": "downgrade",
    "invalid": "leaf_altered leaf_missing leaf_inserted order_changed entry_repeated clock_backwards root_mismatch "
               "checkpoint_signature origin_mismatch key_not_valid_here sealed_altered part_unbound tag_mismatch "
               "statement_differs row_altered key_resurrected false_erasure prune_beyond_policy "
               "released_after_withdrawal anchor_invalid malformed",
    "forked": "fork rollback"}.items() for code in codes.split()}
ORDER = list(WEIGHT)  # from the lightest to the heaviest


class Finding(Exception):
    """One thing that was found. Raised where nothing behind it can be judged."""

    def __init__(self, code, text, at=None, to=None):
        super().__init__(text)
        self.code, self.text, self.at, self.to = code, text, at, to

    def place(self):
        return {} if self.at is None else {"seq": self.at} if self.to is None else {"from": self.at, "to": self.to}


class Report:
    def __init__(self):
        self.found = []
        self.said = dict(origin=None, size=0, checked=0, opened=0, erased=0, pruned=0, witnessed_to=None,
                         anchored_to=None, newest=None)

    def add(self, code, text, at=None, to=None):
        self.found.append(Finding(code, text, at, to))

    def conclude(self):
        unique = {(f.code, f.at, f.to): f for f in reversed(self.found)}.values()
        findings = sorted(unique, key=lambda f: (f.at is None, f.at or 0, f.code))
        worst = max((ORDER.index(SEVERITY[f.code]) for f in findings), default=0)
        verdict = ORDER[worst] if worst else "intact"
        listed = [{"code": f.code, "severity": SEVERITY[f.code], **f.place(), "text": f.text} for f in findings]
        return {"verdict": verdict, "exit": WEIGHT.get(verdict, 0), **self.said, "findings": listed}

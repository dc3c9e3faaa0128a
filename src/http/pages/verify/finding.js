// What is found, and the verdict that follows: the words and exit codes of `amanat audit verify`.

const SEVERITY = new Map(
  Object.entries({
    warning: ["tile_poisoned"],
    not_attested: ["unwitnessed", "stale", "anchor_pending"],
    incomplete: ["sealed_missing", "unknown_version", "unknown_event"],
    downgraded: ["downgrade"],
    invalid: [
      "leaf_altered", "leaf_missing", "entry_repeated", "clock_backwards", "root_mismatch", "checkpoint_signature",
      "origin_mismatch", "sealed_altered", "part_unbound", "tag_mismatch", "statement_differs", "malformed",
    ],
    forked: ["fork", "rollback"],
  }).flatMap(([severity, codes]) => codes.map((code) => [code, severity])),
);

/** From the lightest to the heaviest. */
const VERDICTS = ["intact", "not_attested", "incomplete", "downgraded", "invalid", "forked"];
const EXITS = { intact: 0, not_attested: 10, incomplete: 20, forked: 30, invalid: 40, downgraded: 50 };

/** One thing that was found; thrown where nothing behind it can be judged. `why` names its sentence. */
export class Finding extends Error {
  constructor(code, why, seq) {
    super(code);
    Object.assign(this, { code, why, seq, severity: SEVERITY.get(code) });
  }
}

/** No verdict, because nothing was there to judge. `why` names the sentence that is shown instead. */
export class NoVerdict extends Error {
  constructor(why) {
    super(why);
    this.why = why;
  }
}

export function verdictOf(findings) {
  const weights = findings.map((finding) => VERDICTS.indexOf(finding.severity));
  const verdict = VERDICTS[Math.max(0, ...weights)];
  return { verdict, exit: EXITS[verdict] };
}

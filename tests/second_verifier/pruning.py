"""Whether leaves went as the log and the policy of that time say."""

import re, tomllib, zoneinfo
from datetime import datetime, timedelta, timezone

from tree import sha256

CLASS = "audit_leaves"
PERIOD = re.compile(r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?")


def judge_pruning(prunes, policy_of, report):
    """`prunes` are leaves 103; `policy_of` gives the files of a policy by its hash, or nothing."""
    for leaf in prunes:
        if leaf.facts[4] % 256 or leaf.facts[4] + 256 > leaf.seq:
            report.add("prune_beyond_policy", "The log was pruned further than it may be.", leaf.seq)
        kept_until = end_of_keeping(policy_of(leaf.facts[1]), leaf.facts[1], leaf.facts[12])
        if kept_until is None or kept_until > instant(leaf.time):
            text = "Leaves were pruned that are younger than the policy of that time keeps them."
            report.add("prune_beyond_policy", text, leaf.seq)


def judge_declared(first, root, prunes, report):
    """Whether a leaf says that those below `first`, whose tree has this root, were pruned."""
    if first and (first, root) not in [(leaf.facts[4], leaf.facts[8]) for leaf in prunes]:
        report.add("prune_beyond_policy", "Leaves are gone that no leaf says were pruned.", 0, first - 1)


def end_of_keeping(files, name, micros):
    """Until when the policy keeps a leaf of this time; None if there is no such policy, or it does not say."""
    if not files or content_hash(files) != name:
        return None
    try:
        classes = tomllib.loads(files["retention.toml"].decode())["class"]
        zone = zoneinfo.ZoneInfo(tomllib.loads(files["controller.toml"].decode())["time_zone"])
        kept = next(each for each in classes if each["id"] == CLASS and each["starts"] == "collected")
        years, months, weeks, days = (int(part or 0) for part in PERIOD.fullmatch(kept["period"]).groups())
        return add(instant(micros).astimezone(zone), 12 * years + months, 7 * weeks + days)
    except (KeyError, ValueError, TypeError, AttributeError, StopIteration, OverflowError, zoneinfo.ZoneInfoNotFoundError):
        return None


def add(local, months, days):
    """By the calendar: the same time of the day, or the last day of a month that is shorter."""
    year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
    for day in range(local.day, 27, -1):
        try:
            return local.replace(year=year, month=month + 1, day=day) + timedelta(days=days)
        except ValueError:
            continue
    return local.replace(year=year, month=month + 1) + timedelta(days=days)


def instant(micros):
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=micros)


def content_hash(files):
    text = b"amanat-policy-v1\n"
    for path in sorted(files, key=str.encode):
        for part in (path.encode(), files[path]):
            text += len(part).to_bytes(8, "big") + part
    return sha256(text)

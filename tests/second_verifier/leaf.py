"""Leaves: what one entry of the log says, and what makes it malformed."""

from collections import namedtuple
from functools import lru_cache

from cbor import Malformed, Reader, need
from tree import sha256

# The closed list: number, class, parts (capitals must be there), outcomes, facts (in brackets optional).
EVENTS = """
100 S i d 1,9,10,14(7,8,13)|101 S - d -|102 S i d 4,7,8|103 S - d 1,3,4,8,12|104 S i d 6,9,16|105 S - df 7(2)
106 S i d 2|107 S - f 7,11|108 S - d 7,12|109 S - df 7,8(4)|110 S ai d 2,4,7|120 S - d 11,12|121 S - dr 11,12
122 S i d 6,11,12,13|130 S i d 1,2,6|131 S - d 6|199 S - d 7,8|200 O S d -|201 O si r -|202 E Sa d -|203 O S d 4
210 S i d 2|211 S i df 2,4|220 E Sa d -|221 E Sa d -|222 E Sa d -|223 E Sa d -|224 O sA dr -|225 S - df 4
300 E Sa d -|301 E Sa d -|302 E Sa d -|303 E S d -|304 E Sa d -|305 E S d -|306 E si r -|307 E Sa d -|310 E sai d -
311 E Sa d -|312 E sai d -|313 E Sa d -|320 E s d -|321 E s r -|331 E sr d -|400 O s d -|401 O s r -|410 E S d -
411 E s r -|420 O A d 2,4|500 E S d -|501 E S dfru -|502 E S r -|503 E S d -|504 E S f -|510 E si drfu -|511 S ai d -
512 S ai d -|513 S ai d -|514 E sAi d -|515 E sAi d -|516 S Ai d 2|517 S Ai d 2|600 E sai d -|601 E sai d -
602 E sai d -|603 E sai d -|604 E sai r -|605 E sAi d -|606 E sAi d -|607 E sai d -|608 E sAi r -|609 E sai d -
610 E si f -|611 E sai d 2|612 E sai d -|613 E sAi d -|614 E sAi d -|615 E sai d -|616 E sai d -|617 E sai d -
618 E sai d -|619 E sAi d -|620 E sAi d -|621 E si d -|622 E si d -|623 E si d -|624 E sai d -|630 E si d 2
631 S i r 2|700 E S d -|701 S - d 3|702 S R d 3,5(15)|703 S - d 3,5,6|704 E Sa r -|710 E Sa d -|711 E Sa d -
712 E Sa d -|713 E SA dr -|720 E SA d -|721 E SA d -|730 S - d 3(5)|800 S ai d 6|801 S ai d -|802 S ai df 4
803 S ai d -|804 S - d 4|805 S i f 4|806 S ai d 12|810 S ai d 1|811 S ai r 2|820 S i d 2|821 S i d 2|822 S ai df 7,8(2)
823 S ai d 2,7,8|824 S Ai d 4,7|825 S ai df 7|830 S ai d -|831 S ai d -|832 S ai d -|833 S ai d -|834 S ai d -
900 S Ai d -|901 S Ai d -|902 S Ai d -|903 S i d 3,5|910 O A d -|911 O A r -|912 O A d -|913 O A d -|914 O A r -
920 O SA d -|921 O sA dr -|922 O SA d -|923 O A d 4|930 O S d -|931 O S r -|932 O S d -|940 S i r 4,11,12|950 S Ai d 2
960 S ai d -|961 S ai d -|962 S Ai d 2|963 S ai d -"""
Rule = namedtuple("Rule", "class_ required allowed outcomes facts optional")
Leaf = namedtuple("Leaf", "seq previous entry time event class_ parts facts")
Part = namedtuple("Part", "role tag commitment sealed_hash")


def read_rule(row):
    number, class_, parts, outcomes, facts = row.split()
    must, _, may = facts.strip(")-").partition("(")
    roles = {letter: "SAIR".index(letter.upper()) + 1 for letter in parts.strip("-")}
    required = {role for letter, role in roles.items() if letter.isupper()}
    numbers = [{int(fact) for fact in column.split(",") if fact} for column in (must, may)]
    return int(number), Rule("OES".index(class_) + 1, required, set(roles.values()),
                             {"drfu".index(letter) for letter in outcomes}, *numbers)


RULES = dict(map(read_rule, EVENTS.replace("\n", "|").strip("|").split("|")))


def read_fact(number, reader):
    if number in (1, 2, 8):
        return reader.bytes(32)
    if number in (9, 16):
        return reader.bytes(33)
    if number == 3:
        need(reader.head(4) == 3)
        return [reader.uint() for _ in range(3)]
    if number == 5:
        return [reader.bytes(32) for _ in reader.items(4)]
    if number == 10:
        try:
            return reader.bytes().decode()
        except UnicodeDecodeError as error:
            raise Malformed from error
    need(number <= 16)
    value = reader.uint()
    need(number != 6 or 1 <= value <= 9)
    return value


def read_part(reader, above):
    need(reader.head(4) == 4)
    role = reader.uint()
    need(above < role <= 4)
    return Part(role, reader.bytes(16), reader.bytes(32), reader.bytes(0 if role == 4 else 32))


@lru_cache(1 << 10)
def read_leaf(data):
    """The hash of a leaf, what its place rests on (None where even that cannot be read), the whole of it
    (None where it is refused), and why it is refused."""
    leaf_hash = sha256(b"\0", data)
    reader, order = Reader(data), None
    try:
        keys = reader.head(5)
        reader.key(0)
        if reader.uint() != 1:
            return leaf_hash, None, None, "unknown_version"
        need(keys == 10)
        reader.key(1)
        seq = reader.uint()
        need(seq < 2**63)
        reader.key(2)
        previous = reader.bytes(32)
        reader.key(3)
        entry = reader.bytes(16)
        reader.key(4)
        order = Leaf(seq, previous, entry, reader.uint(), None, None, None, None)
        need(64 <= len(data) <= 4096)
        reader.key(5)
        event = reader.uint()
        reader.key(6)
        outcome = reader.uint()
        need(outcome <= 3)
        reader.key(7)
        class_ = reader.uint()
        need(class_ < 256)
        reader.key(8)
        parts = []
        count = reader.head(4)
        need(count <= 4)
        for _ in range(count):
            parts.append(read_part(reader, parts[-1].role if parts else 0))
        reader.key(9)
        if event not in RULES:
            return leaf_hash, order, None, "unknown_event"
        facts, last = {}, 0
        for _ in reader.items(5):
            number = reader.uint()
            need(number > last)
            last, facts[number] = number, read_fact(number, reader)
        rule, roles = RULES[event], {part.role for part in parts}
        need(reader.is_done() and class_ == rule.class_ and outcome in rule.outcomes)
        need(rule.required <= roles <= rule.allowed)
        need(rule.facts <= set(facts) <= rule.facts | rule.optional)
        return leaf_hash, order, order._replace(event=event, class_=class_, parts=parts, facts=facts), None
    except Malformed:
        return leaf_hash, order, None, "malformed"

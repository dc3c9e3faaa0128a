"""Holds every part of this verifier against known vectors, which others can hold theirs against."""

import json, unittest

import cbor, leaf as leaves, note, opened, single
from tile_files import tile_index
from ed25519 import L, signature_holds
from finding import Finding, Report
from log import Row, judge
from tree import Tree, consistency_holds, inclusion_holds, root_of, sha256

H = bytes.fromhex
VECTORS = {}


def run(path):
    with open(path, encoding="utf-8") as file:
        VECTORS.update(json.load(file))
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Vectors)
    return 0 if unittest.TextTestRunner().run(suite).wasSuccessful() else 1


class Vectors(unittest.TestCase):
    def test_trees(self):
        known = VECTORS["rfc6962"]
        hashes = [sha256(b"\0", H(data)) for data in known["leaves"]]
        self.assertEqual([one.hex() for one in hashes], known["leaf_hashes"])
        self.assertEqual([root_of(hashes[:n]).hex() for n in range(9)], known["roots"])
        for case in known["inclusion"]:
            proof, root = list(map(H, case["proof"])), H(known["roots"][case["size"]])
            self.assertTrue(inclusion_holds(case["index"], case["size"], hashes[case["index"]], proof, root), case)
        for case in known["consistency"]:
            one, two, proof = case["size1"], case["size2"], list(map(H, case["proof"]))
            self.assertTrue(consistency_holds(one, H(known["roots"][one]), two, H(known["roots"][two]), proof), case)
        for case in known["invalid"]:
            proof = list(map(H, case["proof"]))
            if case["kind"] == "inclusion":
                holds = inclusion_holds(case["index"], case["size"], H(case["leaf_hash"]), proof, H(case["root"]))
            else:
                roots = H(case["root1"]), H(case["root2"])
                holds = consistency_holds(case["size1"], roots[0], case["size2"], roots[1], proof)
            self.assertFalse(holds, case)
        for size, root in VECTORS["counter_trees"]["roots"].items():
            counted = root_of(sha256(b"\0", index.to_bytes(8, "big")) for index in range(int(size)))
            self.assertEqual(counted.hex(), root)

    def test_signed_notes(self):
        known = VECTORS["signed_note"]
        log, witness = note.read_vkey(known["log_vkey"]), note.read_vkey(known["witness_vkey"])
        checkpoint = note.open_checkpoint(known["checkpoint"].encode(), [log], [witness])
        self.assertEqual((checkpoint.size, checkpoint.cosigned), (7, {witness: 1767225600}))
        _, index, hashes, signed = single.read_proof(known["tlog_proof_leaf4_size7"])
        self.assertEqual(note.open_checkpoint(signed, [log], [witness]).root, checkpoint.root)
        leaf_hash = H(VECTORS["rfc6962"]["leaf_hashes"][4])
        self.assertTrue(inclusion_holds(index, 7, leaf_hash, hashes, checkpoint.root))
        for other in known["known_notes"]:
            key, (text, _, line) = note.read_vkey(other["vkey"]), other["note"].rpartition("\n\n")
            signature = note.strict_base64(line.split(" ")[2].strip())[4:]
            self.assertTrue(signature_holds(key.public, (text + "\n").encode(), signature))
            self.assertFalse(signature_holds(key.public, text.encode(), signature))
            malleable = (int.from_bytes(signature[32:], "little") + L).to_bytes(32, "little")
            self.assertFalse(signature_holds(key.public, (text + "\n").encode(), signature[:32] + malleable))

    def test_tile_paths(self):
        for what, path in VECTORS["tiles"]["paths"].items():
            number = path.split("/", 2)[2].split(".p/")[0]
            self.assertEqual(tile_index(number), int(what.split(" ")[0]))
        for wrong in ("x000/001", "1", "0001", "x001/x002"):
            self.assertRaises((cbor.Malformed, ValueError), tile_index, wrong)

    def test_the_log(self):
        known = VECTORS["amanat_log"]
        keys = [note.read_vkey(known["log_vkey"])], [note.read_vkey(known["witness_vkey"])]
        checkpoint = note.open_checkpoint(known["checkpoint"].encode(), *keys)
        rows = [Row(each["seq"], H(each["leaf"]), H(each["leaf_hash"]), None, None) for each in known["leaves"]]
        report = Report()
        hashes = []
        judge(rows, Tree(), [checkpoint], report, known["origin"], hashes.append)
        self.assertEqual([one.hex() for one in hashes], [each["leaf_hash"] for each in known["leaves"]])
        self.assertEqual(report.conclude()["findings"], [])
        for each in known["leaves"]:
            leaf = leaves.read_leaf(H(each["leaf"]))[2]
            for part, said in zip(leaf.parts, each["parts"]):
                shown = {"role": part.role, "commit_key": H(said["commitment_key"]), "plaintext": H(said["plaintext"])}
                self.assertTrue(opened.is_bound(shown, leaf, known["origin"]))
                self.assertFalse(opened.is_bound(shown, leaf, "another.example/log"))
                self.assertEqual(opened.tag_of(H(said["tag_key"]), part.role, leaf.entry), part.tag)
        for index, text in known["proofs"].items():
            data, at, proof, signed = single.read_proof(text)
            self.assertEqual((at, signed.decode()), (int(index), known["checkpoint"]))
            self.assertTrue(inclusion_holds(at, 6, sha256(b"\0", data), proof, checkpoint.root))

    def test_receipt(self):
        receipt = VECTORS["amanat_log"]["receipt_file"]
        trust = note.Trust(receipt["trust"])
        self.assertEqual(self.judged(receipt, None), (10, ["unwitnessed"]))
        self.assertEqual(self.judged(receipt, trust), (0, []))
        for key, wrong in (("person", "eve@example.com"), ("marks", True)):
            forged = {**receipt, "statement": {**receipt["statement"], key: wrong}}
            self.assertEqual(self.judged(forged, trust), (40, ["statement_differs"]))
        part = receipt["opened"][0]
        forged = {**receipt, "opened": [{**part, "commit_key": "A" * 43 + "="}]}
        self.assertEqual(self.judged(forged, trust), (40, ["part_unbound"]))

    def judged(self, receipt, trust):
        report = Report()
        try:
            single.verify_receipt(json.dumps(receipt).encode(), trust, report)
        except Finding as finding:
            report.found.append(finding)
        said = report.conclude()
        return said["exit"], [finding["code"] for finding in said["findings"]]

    def test_malformed_leaves(self):
        for case in VECTORS["malformed_leaves"]["cases"]:
            self.assertEqual(leaves.read_leaf(H(case["leaf"]))[3], case["finding"], case["why"])

    def test_malformed_checkpoints(self):
        known, keys = VECTORS["malformed_checkpoints"], VECTORS["amanat_log"]
        keys = [note.read_vkey(keys["log_vkey"])], [note.read_vkey(keys["witness_vkey"])]
        for case in known["refused"]:
            with self.assertRaises(Finding, msg=case["why"]) as raised:
                note.open_checkpoint(case["checkpoint"].encode(), *keys)
            self.assertEqual(raised.exception.code, case["finding"], case["why"])
        for case in known["accepted"]:
            self.assertEqual(note.open_checkpoint(case["checkpoint"].encode(), *keys).size, 6, case["why"])

    def test_two_keys_one_ciphertext(self):
        """The same sealed bytes open to two texts; the commitment is to one of them."""
        known, story = VECTORS["two_key_ciphertext"], VECTORS["amanat_log"]
        self.assertEqual(sha256(H(known["sealed"])).hex(), known["sealed_hash"])
        leaf = leaves.read_leaf(H(story["leaves"][1]["leaf"]))[2]
        one = {"role": 1, "commit_key": H(known["key_1"]), "plaintext": H(known["plaintext_1"])}
        leaf = leaf._replace(parts=[leaf.parts[0]._replace(
            sealed_hash=H(known["sealed_hash"]), commitment=opened.commitment_of(one, leaf, story["origin"]))])
        self.assertTrue(opened.is_bound(one, leaf, story["origin"]))
        for key, plaintext in (("key_2", "plaintext_2"), ("key_1", "plaintext_2"), ("key_2", "plaintext_1")):
            other = {"role": 1, "commit_key": H(known[key]), "plaintext": H(known[plaintext])}
            self.assertFalse(opened.is_bound(other, leaf, story["origin"]))

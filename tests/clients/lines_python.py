"""The log's lines as other systems read them: the published OCSF schema and a model of it, the
CloudEvents SDK, a CEF parser.

    python lines_python.py FOLDER

FOLDER holds a file for each form and the same entries in our own form, `ndjson`. What a reader finds in
a line must be what stands there.
"""

import json
import sys
from pathlib import Path

import jsonschema
import pycef
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from ocsf.v1_3_0.events import ApiActivity, EntityManagement
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

folder = Path(sys.argv[1])
plain = [json.loads(line) for line in (folder / "ndjson").read_text(encoding="utf-8").split("\n")]
faults = []


def lines(form):
    text = (folder / form).read_text(encoding="utf-8").split("\n")
    assert len(text) == len(plain), f"{form}: {len(text)} lines of {len(plain)}"
    return zip(plain, text)


def expect(form, entry, found, *members):
    wanted = [entry[member] for member in members]
    if list(found) != wanted:
        faults.append(f"{form} {entry['event']}: {found} is not {wanted}")


def ocsf():
    schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.3.0"))
    classes = {
        uid: (jsonschema.Draft202012Validator(schemas.get_class_schema(name)), model)
        for uid, name, model in [(3004, "entity_management", EntityManagement), (6003, "api_activity", ApiActivity)]
    }
    for entry, line in lines("ocsf"):
        event = json.loads(line)
        schema, model = classes[event["class_uid"]]
        faults.extend(f"OCSF {entry['event']}: {error.message}" for error in schema.iter_errors(event))
        try:
            model.model_validate(event)
        except ValueError as error:
            faults.append(f"OCSF {entry['event']}: {error}")
        metadata = event["metadata"]
        found = (metadata["uid"], metadata["sequence"], metadata["log_name"], event["unmapped"]["leaf_hash"])
        expect("OCSF", entry, found, "entry", "seq", "origin", "leaf_hash")


def cloudevents():
    form = JSONFormat()
    for entry, line in lines("cloudevents"):
        event = form.read(CloudEvent, line.encode())
        found = (event.get_id(), int(event.get_subject()), event.get_extension("amanatleaf"))
        expect("CloudEvents", entry, found, "entry", "seq", "leaf_hash")
        if event.get_data() != entry:
            faults.append(f"CloudEvents {entry['event']}: the data is another")


def cef():
    for entry, line in lines("cef"):
        event = pycef.parse(line) or {}
        found = (event.get("entry"), int(event.get("externalId", -1)), event.get("leaf"), event.get("Name"))
        expect("CEF", entry, found, "entry", "seq", "leaf_hash", "event")


for read in (ocsf, cloudevents, cef):
    read()
print(json.dumps({"lines": len(plain), "faults": faults[:10]}))
sys.exit(1 if faults or not plain else 0)

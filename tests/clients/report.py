"""What every driver is told, and what it says in the end: one line of JSON, and an exit code.

    python DRIVER.py HOST WRITE_KEY

HOST is the gateway, `http://127.0.0.1:8080`. Personal values come from the environment, so that the
tests can search for them: CANARY_USER_ID, CANARY_ANONYMOUS_ID, CANARY_EMAIL, CANARY_NAME.
"""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

if len(sys.argv) != 3:
    sys.exit("usage: python DRIVER.py HOST WRITE_KEY")

HOST = sys.argv[1].rstrip("/")
WRITE_KEY = sys.argv[2]
USER_ID = os.environ.get("CANARY_USER_ID", "canary-user-1")
ANONYMOUS_ID = os.environ.get("CANARY_ANONYMOUS_ID", "canary-anonymous-1")
EMAIL = os.environ.get("CANARY_EMAIL", "canary@example.org")
NAME = os.environ.get("CANARY_NAME", "Canary Example")


def events():
    """The events that every driver sends, with the person's values in their places."""
    text = Path(__file__).with_name("events.json").read_text(encoding="utf-8")
    filled = text.replace('"{email}"', json.dumps(EMAIL)).replace('"{name}"', json.dumps(NAME))
    return json.loads(filled)


def send_all(client):
    """Sends every event by the calls that Segment's and RudderStack's clients share."""
    of_whom = {"user_id": USER_ID, "anonymous_id": ANONYMOUS_ID}
    for event in events():
        match event["type"]:
            case "identify":
                client.identify(traits=event["traits"], **of_whom)
            case "track":
                client.track(event=event["event"], properties=event["properties"], **of_whom)
            case "page" | "screen" as kind:
                getattr(client, kind)(name=event["name"], properties=event["properties"], **of_whom)
            case "group":
                client.group(group_id=event["groupId"], traits=event["traits"], **of_whom)


def finish(client, sent, errors, failed):
    """Says what the SDK reported; the exit code is 0 only if it reported no failure."""
    report = {"client": client, "version": version(client), "sent": sent, "succeeded": sent - failed, "errors": errors}
    print(json.dumps(report), flush=True)
    # The SDKs' threads would be waited for, and have nothing left to do.
    os._exit(1 if errors or failed else 0)

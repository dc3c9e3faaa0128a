"""The CloudEvents SDK for Python, unmodified, in binary and structured mode. The SDK makes the
message, the application sends it and adds the key."""

from datetime import datetime, timezone
from uuid import uuid4

import report
import requests
from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

BODIES = {
    "shop.customer.updated": {"email": report.EMAIL, "name": report.NAME},
    "shop.order.placed": {"order_id": "o-1", "total": 19.9, "currency": "EUR"},
}

errors = []
sent = 0
for mode in (to_binary, to_structured):
    for kind, data in BODIES.items():
        attributes = {
            "id": str(uuid4()),
            "source": "/shop",
            "type": kind,
            "subject": report.USER_ID,
            "time": datetime.now(timezone.utc),
            "datacontenttype": "application/json",
            "specversion": "1.0",
        }
        message = mode(CloudEvent(attributes, data), JSONFormat())
        headers = {**message.headers, "authorization": f"Bearer {report.WRITE_KEY}"}
        sent += 1
        try:
            answer = requests.post(f"{report.HOST}/v1/events", data=message.body, headers=headers, timeout=30)
            if answer.status_code != 200 or answer.json().get("success") is not True:
                errors.append(f"{mode.__name__} {kind}: status {answer.status_code}")
        except (requests.RequestException, ValueError) as error:
            errors.append(f"{mode.__name__} {kind}: {type(error).__name__}")
report.finish("cloudevents", sent, errors, len(errors))

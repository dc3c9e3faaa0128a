"""RudderStack's Python SDK, unmodified; only the data plane's address is changed. It sends gzip and
takes nothing but 200 for success."""

import os

import report
from rudderstack.analytics.client import Client

errors = []
failed = []


def on_error(error, batch):
    errors.append(str(error))
    failed.extend(batch)


client = Client(
    report.WRITE_KEY,
    host=report.HOST,
    on_error=on_error,
    # Fewer tries than the SDK's own, for tests in which the gateway answers badly.
    max_retries=int(os.environ.get("CLIENT_RETRIES", Client.DefaultConfig.max_retries)),
)
report.send_all(client)
client.flush()
client.join()
report.finish("rudder-sdk-python", len(report.events()), errors, len(failed))

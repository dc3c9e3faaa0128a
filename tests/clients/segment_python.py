"""Segment's Python SDK, unmodified; only `host` is changed. GZIP=1 compresses the bodies."""

import os

import report
from segment.analytics.client import Client

errors = []
failed = []


def on_error(error, batch):
    errors.append(str(error))
    failed.extend(batch)


client = Client(
    report.WRITE_KEY,
    host=report.HOST,
    on_error=on_error,
    gzip=os.environ.get("GZIP") == "1",
    # Fewer tries than the SDK's own, for tests in which the gateway answers badly.
    max_retries=int(os.environ.get("CLIENT_RETRIES", Client.DefaultConfig.max_retries)),
)
report.send_all(client)
client.flush()
client.join()
report.finish("segment-analytics-python", len(report.events()), errors, len(failed))

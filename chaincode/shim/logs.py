"""Log lines of fields and a text, without payloads: for people, or as JSON lines."""

from __future__ import annotations

import datetime
import json
import logging


def event(logger: logging.Logger, level: int, text: str, **fields: object) -> None:
    """Log ``text`` with its fields."""
    if logger.isEnabledFor(level):
        shown = "".join(f"{name}={value} " for name, value in fields.items())
        logger.log(level, "%s%s", shown, text, extra={"fields": fields, "text": text})


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC, RFC 3339), level, logger, message, and the fields.

    Of an exception its kind alone is told: its text may hold what a caller sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": getattr(record, "text", None) or record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: str, *, as_json: bool) -> None:
    """Log to standard error, in one of the two forms.

    Raises:
        ValueError: no such level.
    """
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if as_json else text)
    logging.basicConfig(level=level, handlers=[handler], force=True)

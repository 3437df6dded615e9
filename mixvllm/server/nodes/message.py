"""What one program of a server tells another as it starts it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Message:
    """Values that are passed on as one line of text; sequences are tuples."""

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Return the message that `text` holds."""
        values = json.loads(text)
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    @property
    def text(self) -> str:
        """This, in one line."""
        return json.dumps(asdict(self))

"""Which model serves: the newest that was promoted, unless a person chose another one (`models/in_service.json`).

A choice holds until a model is promoted after it was made.  It names the newest model of its time, and every promoted
model with a later TIMESTAMP comes before it, so that no clock is needed to tell which was first: in a replay the
models bear the replay's time, and the choice was made by the wall's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pydantic import TypeAdapter, ValidationError

from trading.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAME: Final = "in_service.json"


@dataclass(frozen=True)
class Choice:
    """A model that a person put into service.

    Attributes:
        timestamp: TIMESTAMP of the model chosen.
        before: TIMESTAMP of the model that served until then; None if none did.
        newest: TIMESTAMP of the newest model when the choice was made: what is promoted later supersedes it.
        command: "use" or "rollback".
        time: when, ISO 8601 with the New York offset.
        who, why: as given.
    """

    timestamp: str
    before: str | None
    newest: str
    command: Literal["use", "rollback"]
    time: str
    who: str
    why: str


_SCHEMA: Final[TypeAdapter[Choice]] = TypeAdapter(Choice)


def read_choice(folder: Path) -> Choice | None:
    """The choice that `folder` holds; None where there is none.

    Raises:
        ModelError: the file is damaged, or others may write it.
    """
    from trading.models.checks import refuse_if_open

    path = folder / NAME
    if not path.exists():
        return None
    refuse_if_open(path)
    try:
        return _SCHEMA.validate_json(path.read_bytes())
    except ValidationError as error:
        raise ModelError(f"{path}: damaged ({error.errors(include_url=False)[0]['msg']})") from None


def choice_bytes(choice: Choice) -> bytes:
    """The content of `in_service.json`."""
    return _SCHEMA.dump_json(choice, indent=2) + b"\n"


def serving_order(timestamps: Sequence[str], choice: Choice | None) -> list[str]:
    """In which order models are tried for service.

    What came after the choice, then the chosen one, then those before it; last those that were chosen away from.

    Args:
        timestamps: of the models that exist, newest first.
        choice: None, or a choice of a model that may be missing among them.
    """
    if choice is None or choice.timestamp not in timestamps:
        return list(timestamps)
    later = [at for at in timestamps if at > choice.newest and at != choice.timestamp]
    others = [at for at in timestamps if at <= choice.newest and at != choice.timestamp]
    older = [at for at in others if at < choice.timestamp]
    left = [at for at in others if at > choice.timestamp]
    return [*later, choice.timestamp, *older, *left]

"""A person's choice of the model in service (`models/in_service.json`), and the order in which models are tried.

A choice holds until a model is promoted after it was made.  It names the newest model of its time, and every promoted
model with a later TIMESTAMP takes precedence over it.  So no clock is compared: in a replay, models carry the replay's
time, while the choice was made at wall time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pydantic import TypeAdapter, ValidationError

from trading.base.errors import ModelError
from trading.base.files import why_unusable
from trading.models.trust import refuse_untrusted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAME: Final = "in_service.json"

MOST_BYTES: Final = 1_000_000


@dataclass(frozen=True)
class Choice:
    """A model that a person put into service.

    Attributes:
        timestamp: TIMESTAMP of the model chosen.
        before: TIMESTAMP of the model that served until then; None if none did.
        newest: TIMESTAMP of the newest model when the choice was made; a model promoted later supersedes the choice.
        command: "use" or "rollback".
        time: when, ISO 8601 with the New York offset.
        who, why: the user, and the reason that was given.
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
    """The choice stored in `folder`; None if there is none.

    Raises:
        ModelError: the file is damaged.
        UntrustedError: others may change it.
    """
    path = folder / NAME
    if damage := why_unusable(path, MOST_BYTES):
        raise ModelError(f"{path}: damaged ({damage})")
    if not path.exists():
        return None
    refuse_untrusted(path)
    try:
        return _SCHEMA.validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        raise ModelError(f"{path}: damaged ({error.errors(include_url=False)[0]['msg']})") from None


def choice_bytes(choice: Choice) -> bytes:
    """The content of `in_service.json`."""
    return _SCHEMA.dump_json(choice, indent=2) + b"\n"


def serving_order(timestamps: Sequence[str], choice: Choice | None) -> list[str]:
    """The order in which models are tried for service.

    Models later than the choice come first, then the chosen one, then those older than it, and last those that were
    newer than it when the choice was made.

    Args:
        timestamps: of the existing models, newest first.
        choice: None, or a choice, possibly of a model that does not exist any more.
    """
    if choice is None or choice.timestamp not in timestamps:
        return list(timestamps)
    later = [at for at in timestamps if at > choice.newest and at != choice.timestamp]
    others = [at for at in timestamps if at <= choice.newest and at != choice.timestamp]
    older = [at for at in others if at < choice.timestamp]
    left = [at for at in others if at > choice.timestamp]
    return [*later, choice.timestamp, *older, *left]

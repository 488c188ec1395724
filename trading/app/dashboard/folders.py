"""The folders of a run, without its other settings: the dashboard never holds a key."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pydantic import ValidationError

from config import ENV_FILE, FolderSettings
from trading.base.env_file import read_env_file
from trading.base.errors import UserError
from trading.base.folders import check_folders

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def load_folders(
    env_file: Path | None = None, environment: Mapping[str, str] | None = None, **given: Path | None
) -> FolderSettings:
    """The folders, from the places and in the order of `config.load_settings`; every other line of the file is dropped.

    Raises:
        UserError: `env_file` does not exist or has a line that is no assignment, a value is no folder, or the
            folders overlap or are taken for each other.
    """
    file, environment = env_file or ENV_FILE, os.environ if environment is None else environment
    lines = read_env_file(file, may_be_missing=file == ENV_FILE)
    names = FolderSettings.model_fields
    values: dict[str, object] = {name: lines[name].value for name in names if name in lines and lines[name].value}
    values |= {name: environment[name] for name in names if environment.get(name)}
    values |= {name: folder for name, folder in given.items() if folder is not None}
    try:
        folders = FolderSettings.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise UserError(f"settings: {problem['loc'][0]}={problem['input']}: {problem['msg']}") from None
    check_folders(vars(folders), dict.fromkeys(given, "command line"))
    return folders

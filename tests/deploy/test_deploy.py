"""The files of deploy/: systemd takes the units, the scripts know their commands, and keys stay where they belong.

Docker is not asked: its files are read as it reads them.
"""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from config import PROJECT, SECRETS, load_settings

if TYPE_CHECKING:
    import argparse

DEPLOY = PROJECT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
DROP_IN = DEPLOY / "dashboard-control.conf"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
MOST_EXPOSED = 2.0
"""Of systemd's scale from 0 to 10; an ordinary service has 9."""


def lines_of(unit: Path) -> dict[str, list[str]]:
    """Directive -> its values."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def parsed(words: list[str]) -> argparse.Namespace | None:
    """The options of a command `.../script.py OPTIONS`; None if this version has no such script."""
    script = Path(words[0])
    if not (PROJECT / script.name).exists() and script.name == "dashboard.py":
        return None
    options: argparse.Namespace = importlib.import_module(script.stem).parser().parse_args(words[1:])
    return options


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_runs_a_command_that_exists_and_never_loops_on_bad_input(unit: Path) -> None:
    found = lines_of(unit)
    (command,) = found["ExecStart"]
    python, *words = shlex.split(command)
    assert python == "/opt/ml-day-trader/.venv/bin/python"
    options = parsed(words)
    if options is not None and "ReadWritePaths" in found:
        assert str(options.logs_dir).startswith(found["ReadWritePaths"][0])
    assert found["Restart"] == ["on-failure"] and found["RestartPreventExitStatus"] == ["2"]
    assert found["NoNewPrivileges"] == ["yes"] and found["ProtectSystem"] == ["strict"] and found["User"] != ["root"]
    keys = "--env-file" in words
    assert keys == (unit.stem != "ml-day-trader-dashboard")  # it shows pages, and never needs a key


def test_the_dashboard_looks_where_the_trader_obeys_with_and_without_the_page_control() -> None:
    trader, dashboard = (lines_of(DEPLOY / f"ml-day-trader{name}.service") for name in ("", "-dashboard"))
    obeyed = dict(word.split("=") for line in trader["Environment"] for word in line.split())["CONTROL_DIR"]
    empty, command = lines_of(DROP_IN)["ExecStart"]  # the empty one removes the command of the unit
    shown, controlled = parsed(shlex.split(dashboard["ExecStart"][0])[1:]), parsed(shlex.split(command)[1:])
    assert empty == "" and shown is not None and controlled is not None
    assert str(shown.control_dir) == obeyed and not shown.control and "ReadWritePaths" not in dashboard
    own = {"control": True, "token_file": Path("/var/lib/ml-day-trader/dashboard.token")}
    assert vars(controlled) == {**vars(shown), **own}
    # The files of Control, its log, the models and their lock all lie below the one folder that becomes writable.
    assert lines_of(DROP_IN)["ReadOnlyPaths"] == [""]
    assert lines_of(DROP_IN)["ReadWritePaths"] == dashboard["ReadOnlyPaths"] == [str(Path(obeyed).parent)]

    plain = COMPOSE["services"]["dashboard"]
    override = yaml.safe_load((DEPLOY / "compose.control.yaml").read_text())["services"]["dashboard"]
    assert override == {"command": [*plain["command"], "--control"], "volumes": ["state:/state"]}
    options = parsed(override["command"])
    assert options is not None and f"CONTROL_DIR={options.control_dir}" in DOCKERFILE.split()


def test_the_commands_that_the_page_gives_for_a_server_are_those_of_the_units() -> None:
    page = (PROJECT / "docs/operations.md").read_text()
    commands = re.findall(r"/opt/ml-day-trader/\.venv/bin/python (/opt/ml-day-trader/\w+\.py[^\n`]*)", page)
    assert len(commands) == 3
    folders = ("data_dir", "models_dir", "logs_dir", "env_file", "control_dir")
    for command in commands:
        words = shlex.split(command)
        options = vars(parsed(words) or {})
        if options.get("make_token"):
            assert options["token_file"] == Path("/var/lib/ml-day-trader/dashboard.token")
            continue
        unit = "ml-day-trader" if "live_trader" in words[0] else "ml-day-trader-dashboard"
        served = vars(parsed(shlex.split(lines_of(DEPLOY / f"{unit}.service")["ExecStart"][0])[1:]) or {})
        assert {name: options.get(name) for name in folders} == {name: served.get(name) for name in folders}
    for name in re.findall(r"deploy/([\w.-]+\.(?:conf|yaml|example))", page):
        assert (DEPLOY / name).is_file()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_a_unit_and_finds_it_hardened(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/ml-day-trader/.venv/bin/python", sys.executable))
    for other in UNITS:
        if other != unit:
            shutil.copy(other, tmp_path)
    if "dashboard" in unit.name:
        (tmp_path / f"{unit.name}.d").mkdir()
        (tmp_path / f"{unit.name}.d" / "control.conf").write_text(
            DROP_IN.read_text().replace("/opt/ml-day-trader/.venv/bin/python", sys.executable)
        )

    def said(*command: str) -> str:
        done = subprocess.run(["systemd-analyze", *command, str(copy)], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    assert unit.name not in said("verify")
    exposure = re.search(r"exposure level for .*: ([\d.]+)", said("security", "--offline=true"))
    if exposure is None:
        pytest.skip("this systemd judges no file")
    assert float(exposure[1]) < MOST_EXPOSED


def test_the_image_has_an_unprivileged_user_and_a_health_check_that_exists() -> None:
    words = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if line.strip() and not line.startswith("#")]
    names = [word[0] for word in words]
    assert [rest for name, rest in words if name == "FROM"] == ["python:3.11-slim AS packages", "python:3.11-slim"]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in ("COPY", "RUN"))
    assert dict(words)["USER"] not in ("root", "0")
    health = yaml.safe_load(next(rest for name, rest in words if name == "HEALTHCHECK").partition("CMD ")[2])
    assert parsed(health[1:]) is not None
    assert parsed(yaml.safe_load(next(rest for name, rest in words if name == "CMD"))) is not None
    assert "pip install -r requirements.txt" in DOCKERFILE and all(
        "==" in line for line in (PROJECT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"
    )
    environment = " ".join(rest for name, rest in words if name == "ENV")
    settings = dict(re.findall(r"(\w+_DIR)=(\S+)", environment))
    loaded = load_settings(Path("/dev/null"), {k: v for k, v in settings.items() if k in ("DATA_DIR", "LOGS_DIR")})
    assert str(loaded.folders.LOGS_DIR) == "/state/logs" and "VOLUME /state" in DOCKERFILE


def test_every_container_is_read_only_and_unprivileged_and_only_those_that_need_keys_have_them() -> None:
    services: dict[str, dict[str, Any]] = COMPOSE["services"]
    assert services.keys() == {"trader", "watchdog", "dashboard"}
    for service in services.values():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"] and "user" not in service
        if "command" in service:
            parsed(service["command"])
    assert "env_file" not in services["dashboard"] and services["dashboard"]["volumes"] == ["state:/state:ro"]
    assert all(port.startswith("127.0.0.1:") for port in services["dashboard"]["ports"])
    assert "--token-file" in services["dashboard"]["command"]
    assert services["trader"]["restart"].startswith("on-failure:")  # bad input does not loop for ever
    assert (DEPLOY / services["trader"]["build"]["dockerfile"]).parent.name == "deploy"


def test_the_image_holds_no_key_and_the_example_of_settings_is_one() -> None:
    ignored = (PROJECT / ".dockerignore").read_text().split()
    assert {".*", "*.env", "**/.env", "data*", "models*", "logs*", "dashboard.token"} <= set(ignored)
    assert "/deploy/trader.env" in (PROJECT / ".gitignore").read_text().split()
    example = load_settings(DEPLOY / "trader.env.example", {}).by_name()
    assert all(example[name] is None for name in SECRETS)

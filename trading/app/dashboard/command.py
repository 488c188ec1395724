"""The command of `dashboard.py`: put the dashboard together, and serve it."""

from __future__ import annotations

import gc
import re
import socket
import subprocess
import sys
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvicorn

from config import PROJECT, Settings
from trading.app.dashboard.folders import load_folders
from trading.app.recorded_settings import recorded_settings
from trading.base.errors import UserError
from trading.base.progress import standard_output
from trading.dashboard.control import Control
from trading.dashboard.state.exchange_calendar import ExchangeCalendar
from trading.dashboard.state.live import Live, Places
from trading.dashboard.views.status import NO_LOGS
from trading.dashboard.web.app import application
from trading.dashboard.web.connections import MOST_CONNECTIONS, WHOLE_SECONDS, LimitedProtocol
from trading.dashboard.web.guard import Access
from trading.dashboard.web.site import Site
from trading.dashboard.web.token import TokenCheck, make_token
from trading.execution.control_files import ControlFiles

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from datetime import date
    from types import FrameType

    from config import FolderSettings
    from trading.records.log_reader import LogReader

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
TOKEN_FILE: Final = PROJECT / "dashboard.token"
CHOICE_SECONDS: Final = 120
"""How long a model may take to be loaded and checked before it is put into service."""

TIMESTAMP: Final = re.compile(r"\d{8}_\d{6}")


def run(options: argparse.Namespace) -> int:
    """Run the command line; returns the exit code."""
    token_file = options.token_file or TOKEN_FILE
    if options.make_token:
        made = make_token(token_file)
        print(f"{made}\nThis token is shown only now; {token_file} holds its hash. Give it to the page, or send it as "
              "Authorization: Bearer TOKEN.")  # fmt: skip
        return 0
    folders = load_folders(
        options.env_file, DATA_DIR=options.data_dir, MODELS_DIR=options.models_dir, LOGS_DIR=options.logs_dir,
        CONTROL_DIR=options.control_dir,
    )  # fmt: skip
    is_local = _is_loopback(options.host)
    token = None
    if options.token_file is not None or not is_local:
        if not is_local and not token_file.exists():
            raise UserError(
                f"--host {options.host}: other machines can reach it, so it needs a token: run python dashboard.py "
                "--make-token first, or leave --host out"
            )
        token = TokenCheck.of(token_file)
    listening = _listen(options.host, options.port)
    host, port = listening.getsockname()[:2]
    access = Access(_hosts(options.host, port, options.allowed_host), _is_any(host), token)
    calendar = ExchangeCalendar()
    places = Places(folders.DATA_DIR, folders.MODELS_DIR, folders.LOGS_DIR, folders.CONTROL_DIR)
    control = _control(folders, options.env_file) if options.control else None
    site = Site(Live(places, calendar.if_known), access, _settings_of, control, calendar)
    _serve(site, listening, options.host, port)
    return 0


def _serve(site: Site, listening: socket.socket, host: str, port: int) -> None:
    console = standard_output()
    shown = f"[{host}]" if ":" in host else host
    console.print(f"http://{shown}:{port}/", highlight=False, markup=False, soft_wrap=True)
    if not _is_loopback(host):
        if _is_any(listening.getsockname()[0]):
            own = _own_address()
            where = f"http://{own}:{port}/" if own else "an address of this machine"
            console.print(f"From a phone in the same network: {where} (in a container: the address of its host).",
                          highlight=False, markup=False, soft_wrap=True)  # fmt: skip
        console.print(
            "Other machines can reach this page, and what they send is not encrypted: use it in a network that you "
            "trust, or through a tunnel (ssh -L, WireGuard). A token is needed.",
            style="bold red", highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    if site.control is not None:
        console.print("The page Control is on: it can stop the trader and sell everything.", style="bold red",
                      highlight=False, markup=False, soft_wrap=True)  # fmt: skip
    if not site.live.has_logs:
        console.print(f"{site.live.places.logs} {NO_LOGS}.", highlight=False, markup=False, soft_wrap=True)
    gc.freeze()
    config = uvicorn.Config(
        application(site), log_level="error", access_log=False, lifespan="off", server_header=False,
        proxy_headers=False, ws="none", http=LimitedProtocol, timeout_keep_alive=WHOLE_SECONDS,
        timeout_graceful_shutdown=5,
    )  # fmt: skip
    _Server(config, site).run(sockets=[listening])


class _Server(uvicorn.Server):
    """A server that ends its open event streams when a signal ends it."""

    def __init__(self, config: uvicorn.Config, site: Site) -> None:
        super().__init__(config)
        self._site = site

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._site.closing = True
        super().handle_exit(sig, frame)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.

    Raises:
        UserError: the address is not one of this machine, or the port is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise UserError(f"--host {host}: is no address of this machine; use 127.0.0.1") from None
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(MOST_CONNECTIONS)  # a client may connect as soon as the address is printed
    except OSError as error:
        listening.close()
        raise UserError(f"--host {host} --port {port}: {error.strerror}; choose another one") from None
    listening.set_inheritable(False)
    return listening


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _own_address() -> str:
    """The IPv4 address by which this machine reaches others; empty if it has none.  Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))  # an address for documentation: only the route is looked up
        except OSError:
            return ""
        return str(asking.getsockname()[0])


def _is_any(host: str) -> bool:
    return ip_address(host.partition("%")[0]).is_unspecified


def _hosts(host: str, port: int, allowed: Sequence[str]) -> frozenset[str]:
    """The values of the Host header that are answered: what was bound, and what was allowed by name."""
    names = {f"[{host}]" if ":" in host else host, *(LOOPBACK if _is_loopback(host) else ())}
    with_port = {f"{name.lower()}:{port}" for name in names}
    if port == 80:
        with_port |= names
    for name in allowed:
        with_port |= {name.lower(), name.lower() if ":" in name else f"{name.lower()}:{port}"}
    return frozenset(with_port)


def _settings_of(reader: LogReader, day: date) -> Settings:
    """The settings that were in force on a day, over the defaults; no file of settings is read."""
    return recorded_settings(Settings(), reader, day)[0]


def _control(folders: FolderSettings, env_file: Path | None) -> Control:
    return Control(ControlFiles(folders.CONTROL_DIR), folders.LOGS_DIR, partial(_choose, folders, env_file))


def _choose(folders: FolderSettings, env_file: Path | None, model: str) -> str:
    """Put a model into service as `ml_trainer.py --use` does, in a process of its own: loading one takes memory.

    Raises:
        UserError: it cannot be put into service, and why.
    """
    if not TIMESTAMP.fullmatch(model):
        raise UserError(f"{model[:40]!r} is no model; choose one of the list")
    command = [sys.executable, "-m", "ml_trainer", "--use", model, "--why", "chosen on the dashboard"]
    for name, folder in (("data", folders.DATA_DIR), ("models", folders.MODELS_DIR), ("logs", folders.LOGS_DIR)):
        command += [f"--{name}-dir", str(folder)]
    if env_file is not None:
        command += ["--env-file", str(env_file.absolute())]
    try:
        done = subprocess.run(
            command, cwd=PROJECT, capture_output=True, text=True, errors="replace", timeout=CHOICE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"whether {model} serves is not known: its check took over {CHOICE_SECONDS} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise UserError(lines[-1].removeprefix("error: ") if lines else "ml_trainer.py --use failed")
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else f"{model} is chosen"

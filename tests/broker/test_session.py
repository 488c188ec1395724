"""The HTTP session of the clients prepares each read as `requests` does, whether it was prepared before or not."""

from __future__ import annotations

from typing import Any

import requests
from hypothesis import given
from hypothesis import strategies as st

from trading.broker import network
from trading.broker.network import KeepingSession

URLS = ("http://127.0.0.1:8765/v2/orders", "http://127.0.0.1:8765/v2/account")
VALUES = (1, True, 1.0, "1", "a b,c", None, ["x", "y"], "é")
asked = st.builds(
    requests.Request,
    method=st.sampled_from(["GET", "get", "POST", "DELETE"]),
    url=st.sampled_from(URLS),
    params=st.dictionaries(st.sampled_from(["limit", "after"]), st.sampled_from(VALUES)),
    headers=st.dictionaries(st.sampled_from(["APCA-API-KEY-ID", "User-Agent"]), st.sampled_from(["k", "K", None])),
    json=st.sampled_from([None, {"qty": 1}]),
    cookies=st.sampled_from([None, {"c": "1"}]),
    auth=st.sampled_from([None, ("name", "word")]),
)


def shown(prepared: requests.PreparedRequest) -> tuple[Any, ...]:
    return prepared.method, prepared.url, dict(prepared.headers), prepared.body, prepared.hooks


@given(st.lists(asked, min_size=2, max_size=8), st.booleans(), st.integers(0, 8))
def test_what_is_kept_is_what_requests_prepares(asked: list[requests.Request], trusts: bool, cookie_at: int) -> None:
    keeping, plain = KeepingSession(), requests.Session()
    keeping.trust_env = plain.trust_env = trusts
    for number, request in enumerate([*asked, *asked]):
        if number == cookie_at:
            for one in (keeping, plain):
                one.cookies.set("route", "7")
        request.method = request.method.upper()
        ours = keeping.prepare_request(request)
        assert shown(ours) == shown(plain.prepare_request(request))
        ours.headers["Changed"] = "by an adapter"  # a copy: the next one is not changed


def test_a_request_is_prepared_once_and_few_are_kept(monkeypatch: Any) -> None:
    monkeypatch.setattr(network, "MOST_KEPT", 2)
    session = KeepingSession()
    session.trust_env = False
    for number in (0, 1, 2, 2, 1):
        session.prepare_request(requests.Request("GET", URLS[0], params={"limit": number}))
        assert 1 <= len(session._kept) <= 2


@given(st.sampled_from([None, True, False]), st.sampled_from([None, {}, {"http": "http://127.0.0.1:9"}]))
def test_settings_of_the_environment_are_those_of_requests(value: bool | None, proxies: Any) -> None:
    keeping, plain = KeepingSession(), requests.Session()
    keeping.trust_env = plain.trust_env = False
    ours, theirs = (
        one.merge_environment_settings(URLS[0], proxies and dict(proxies), value, value, None)
        for one in (keeping, plain)
    )
    assert {**ours, "proxies": dict(ours["proxies"] or {})} == {**theirs, "proxies": dict(theirs["proxies"] or {})}

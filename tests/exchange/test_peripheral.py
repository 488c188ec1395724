"""Watchlists, corporate actions, locates and logos, and the one refusal of what is not a US stock."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.requests import CorporateActionsRequest
from alpaca.trading.enums import CorporateActionType
from alpaca.trading.requests import CreateWatchlistRequest, GetCorporateAnnouncementsRequest, UpdateWatchlistRequest

from paper_exchange.market.interface import Listing
from tests.exchange.exchange_world import MONDAY, ORIGIN, HandMade, Venue, ny

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [("10:31", 10.0, 10.1, 9.9, 10.0)]
MARKET = HandMade({"AAA": {MONDAY: ROWS}, "BBB": {MONDAY: ROWS}}, [Listing("HARD", "Hard to borrow", shortable=False)])
KEYS = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}


@pytest.fixture
def here() -> Venue:
    return Venue(MARKET, ny(MONDAY, "10:31"))


def call(here: Venue, method: str, path: str, **more: Any) -> requests.Response:
    return here.trading._session.request(method, ORIGIN + path, headers=KEYS, **more)


def symbols(watchlist: Any) -> list[str]:
    return [asset.symbol for asset in watchlist.assets]


def test_watchlists_through_the_real_client(here: Venue) -> None:
    client = here.trading
    made = client.create_watchlist(CreateWatchlistRequest(name="mine", symbols=["BBB", "AAA", "BBB"]))
    assert (made.name, symbols(made), made.account_id) == ("mine", ["BBB", "AAA"], client.get_account().id)
    here.later(60)
    added = client.add_asset_to_watchlist_by_id(made.id, "HARD")
    assert symbols(added) == ["BBB", "AAA", "HARD"] and added.updated_at > added.created_at == made.created_at
    assert symbols(client.remove_asset_from_watchlist_by_id(made.id, "AAA")) == ["BBB", "HARD"]
    renamed = client.update_watchlist_by_id(made.id, UpdateWatchlistRequest(name="yours", symbols=["AAA"]))
    assert (renamed.name, symbols(renamed)) == ("yours", ["AAA"])
    other = client.create_watchlist(CreateWatchlistRequest(name="mine", symbols=[]))
    assert [one.name for one in client.get_watchlists()] == ["yours", "mine"]
    assert client.get_watchlist_by_id(other.id).id == other.id != made.id
    client.delete_watchlist_by_id(made.id)
    assert [one.name for one in client.get_watchlists()] == ["mine"]
    with pytest.raises(APIError) as caught:
        client.get_watchlist_by_id(made.id)
    assert caught.value.status_code == 404


def test_watchlists_by_name(here: Venue) -> None:
    by_name = "/v2/watchlists:by_name?name=my%20list"
    assert call(here, "GET", by_name).status_code == 404
    call(here, "POST", "/v2/watchlists", json={"name": "my list"})
    assert call(here, "POST", by_name, json={"symbol": "AAA"}).json()["assets"][0]["symbol"] == "AAA"
    assert call(here, "PUT", by_name, json={"name": "my list", "symbols": ["BBB"]}).status_code == 200
    assert [one["symbol"] for one in call(here, "GET", by_name).json()["assets"]] == ["BBB"]
    assert call(here, "DELETE", by_name).status_code == 204
    assert call(here, "DELETE", by_name).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "taken"}, 422),
        ({"name": ""}, 422),
        ({"name": "x" * 65}, 422),
        ({"symbols": ["AAA"]}, 422),
        ({"name": "new", "symbols": "AAA"}, 422),
        ({"name": "new", "symbols": [7]}, 422),
        ({"name": "new", "symbols": ["ZZZ"]}, 404),
        (["new"], 400),
    ],
)
def test_bad_watchlists_are_refused_and_change_nothing(here: Venue, body: Any, status: int) -> None:
    taken = call(here, "POST", "/v2/watchlists", json={"name": "taken", "symbols": ["AAA"]}).json()
    assert call(here, "POST", "/v2/watchlists", json=body).status_code == status
    assert [one["name"] for one in call(here, "GET", "/v2/watchlists").json()] == ["taken"]
    assert call(here, "GET", f"/v2/watchlists/{taken['id']}").json() == taken


def test_watchlists_survive_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite"
    before = Venue(MARKET, ny(MONDAY, "10:31"), state)
    made = [call(before, "POST", "/v2/watchlists", json={"name": name, "symbols": ["BBB", "AAA"]}) for name in "ab"]
    call(before, "DELETE", f"/v2/watchlists/{made[1].json()['id']}")
    before.exchange.close()
    after = Venue(MARKET, ny(MONDAY, "10:31"), state)
    assert call(after, "GET", f"/v2/watchlists/{made[0].json()['id']}").json() == made[0].json()
    new = call(after, "POST", "/v2/watchlists", json={"name": "c"}).json()
    assert new["id"] not in {one.json()["id"] for one in made}


def test_there_are_no_corporate_actions(here: Venue) -> None:
    request = GetCorporateAnnouncementsRequest(
        ca_types=[CorporateActionType.SPLIT, CorporateActionType.DIVIDEND], since=date(2018, 1, 1), until=MONDAY
    )
    assert here.trading.get_corporate_announcements(request) == []
    data = here.client(CorporateActionsClient)
    asked = CorporateActionsRequest(symbols=["AAA"], start=date(2018, 1, 1), end=MONDAY)
    assert data.get_corporate_actions(asked).data == {}
    announcements = "/v2/corporate_actions/announcements"
    for query in ("", "?ca_types=Split&since=2018-01-01", "?ca_types=Split&since=2018-01-01&until=2018-12-31"):
        assert call(here, "GET", announcements + query).status_code == 422
    assert call(here, "GET", f"{announcements}/7").status_code == 404
    assert call(here, "GET", "/v1/corporate-actions?types=party").status_code == 400


def test_locates_are_needed_for_hard_stocks_only_and_find_none(here: Venue) -> None:
    def locate(**body: Any) -> tuple[int, str]:
        got = call(here, "POST", "/v1/locates", json=body)
        return got.status_code, got.json().get("code", got.json().get("status"))

    assert locate(symbol="HARD", qty=100) == (201, "rejected")
    assert locate(symbol="AAA", qty=100) == (422, "easy_to_borrow")
    assert locate(symbol="ZZZ", qty=100) == (422, "symbol_not_found")
    assert locate(symbol="HARD", qty=150) == (400, "invalid_input")
    assert locate(symbol="HARD", qty=100, limit_price="-1") == (400, "invalid_limit_price")
    made = call(here, "GET", "/v1/locates").json()["locates"]
    assert [(one["symbol"], one["rejection_reason"]) for one in made] == [("HARD", "inventory_unavailable")]
    assert call(here, "GET", f"/v1/locates/{made[0]['id']}").json() == made[0]
    assert call(here, "GET", "/v1/locates/7").status_code == 404
    quotes = call(here, "GET", "/v1/locates/quotes?symbols=HARD,AAA,ZZZ").json()
    assert [(one["symbol"], one["available_qty"]) for one in quotes["quotes"]] == [("HARD", 0)]
    assert [one["code"] for one in quotes["errors"]] == ["easy_to_borrow", "symbol_not_found"]


def test_a_logo_is_a_placeholder(here: Venue) -> None:
    got = call(here, "GET", "/v1beta1/logos/AAA")
    assert (got.status_code, got.headers["Content-Type"], got.content[:4]) == (200, "image/png", b"\x89PNG")
    assert call(here, "GET", "/v1beta1/logos/AAA?placeholder=false").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v2/options/contracts",
        "/v2/positions/AAA/exercise",
        "/v2/assets/fixed_income/us_treasuries",
        "/v2/wallets",
        "/v1beta1/options/snapshots/AAA",
        "/v1beta1/news",
        "/v1beta3/crypto/us/latest/bars",
        "/v1beta1/forex/latest/rates",
    ],
)
def test_everything_but_stocks_is_refused_alike(here: Venue, path: str) -> None:
    for method in ("GET", "POST"):
        got = call(here, method, path)
        refused = {"code": 40310000, "message": "this exchange has US stocks only"}
        assert (got.status_code, got.json()) == (403, refused)

"""Every call of the broker client, through alpaca-py, and its failures."""

from __future__ import annotations

import json
import logging
from decimal import Decimal as D
from typing import TYPE_CHECKING, Any

import pytest

from config import BrokerSettings
from paper_exchange import PaperExchange, WsgiAdapter
from paper_exchange.market.interface import Listing
from tests.exchange.exchange_world import HALF_DAY, MONDAY, TUESDAY, HandMade, ny
from tests.execution.trading_world import (
    KEY,
    ORIGIN,
    SECRET,
    Fault,
    Faulty,
    cut_short,
    edited,
    flat,
    lost_after,
    lost_before,
    page,
)
from trading.base.clock import SimulatedClock
from trading.base.errors import BrokerError, UserError
from trading.broker.client import Bracket, Broker, OrderRefused, Unclear, connect, market_data
from trading.broker.messages import Order

if TYPE_CHECKING:
    from collections.abc import Callable

NO_ID = "61e69015-8549-4bfd-b9c3-01e75843f47d"
BRACKET = Bracket("AAA", 5, D("9.80"), D("10.40"), "mlt-20180326-AAA-1031-entry")


class Setup:
    """A broker at 10:31:02 on an exchange with flat bars."""

    def __init__(self, **options: Any) -> None:
        self.clock = SimulatedClock(ny(MONDAY, "10:31:02"))
        market = HandMade(
            {"AAA": {MONDAY: flat("10:25", "11:30")}, "BBB": {MONDAY: flat("10:25", "11:30", 0.5)}},
            listings=[Listing("CCC", "halted", tradable=False)],
        )
        plain = {"spread_ticks": 0, "fractionable": False}  # prices are those of the bars
        self.exchange = PaperExchange(market, self.clock.now, **(plain | options))
        self.wire = Faulty(WsgiAdapter(self.exchange.app))
        self.broker = Broker(connect(BrokerSettings(APCA_API_BASE_URL=ORIGIN), (KEY, SECRET), self.clock, self.wire))

    def at(self, clock: str) -> None:
        self.clock.sleep_until(ny(MONDAY, clock))

    def bought(self) -> Order:
        self.broker.buy(BRACKET)
        self.at("10:32:02")
        found = self.broker.order_by_client_id(BRACKET.client_order_id)
        assert found is not None and found.status == "filled"
        nested = self.broker.order(found.id)
        assert nested is not None
        return nested


def test_account_positions_and_orders_are_parsed() -> None:
    here = Setup(cash=D("1234.5"))
    account = here.broker.account()
    assert (account.equity, account.cash, account.buying_power, account.blocked) == (D("1234.5"),) * 3 + (None,)
    assert here.broker.positions() == {} and here.broker.orders() == [] and here.broker.position("AAA") is None
    entry = here.bought()
    assert [(p.symbol, p.qty, p.avg_entry_price) for p in here.broker.positions().values()] == [("AAA", 5, 10)]
    position = here.broker.position("AAA")
    assert position is not None and position.qty == 5 and position.current_price == 10
    assert (entry.symbol, entry.qty, entry.filled_qty, entry.filled_avg_price) == ("AAA", 5, 5, D(10))
    assert entry.created_at == ny(MONDAY, "10:31:02") < entry.filled_at < ny(MONDAY, "10:31:03")
    legs = {leg.type: (leg.status, leg.stop_price or leg.limit_price, leg.qty) for leg in entry.legs}
    assert legs == {"stop": ("held", D("9.8"), 5), "limit": ("new", D("10.4"), 5)}
    assert [order.id for order in here.broker.orders()] == [entry.id]
    assert {order.id for order in here.broker.orders(open_only=True)} == {leg.id for leg in entry.legs}
    assert here.broker.orders(after=ny(MONDAY, "10:31:02")) == []


def test_the_request_bodies_of_entries_and_exits() -> None:
    here = Setup()
    entry = here.bought()
    assert here.wire.bodies[0] == {
        "symbol": "AAA",
        "qty": 5.0,
        "side": "buy",
        "type": "market",
        "time_in_force": "day",
        "order_class": "bracket",
        "take_profit": {"limit_price": 10.4},
        "stop_loss": {"stop_price": 9.8},
        "client_order_id": "mlt-20180326-AAA-1031-entry",
    }
    assert here.broker.cancel(entry.legs[0].id) and not here.broker.cancel(entry.legs[0].id)
    assert here.broker.sell_stop("AAA", 2, D("9.81"), "a").type == "stop"
    assert here.broker.sell_limit("AAA", 2, D("9.9"), "b").limit_price == D("9.9")
    assert here.broker.sell("AAA", 1, "c").type == "market"
    bodies = [body for body in here.wire.bodies[1:] if body]
    assert all(body["side"] == "sell" and body["time_in_force"] == "day" for body in bodies)
    assert [body.get("extended_hours", False) for body in bodies] == [False, True, False]


def test_a_replaced_leg_has_a_new_price_and_id() -> None:
    here = Setup()
    stop, target = sorted(here.bought().legs, key=lambda leg: leg.type, reverse=True)
    replacement = here.broker.replace(stop, stop=D("9.85"))
    assert replacement.id != stop.id and replacement.stop_price == D("9.85")
    assert here.broker.replace(target, limit=D("10.46")).limit_price == D("10.46")
    old = here.broker.order(stop.id)
    assert old is not None and old.replaced_by == replacement.id and old.is_final


def test_an_unknown_order_is_none_and_cannot_be_cancelled() -> None:
    here = Setup()
    assert here.broker.order(NO_ID) is None and here.broker.order_by_client_id("mlt-never") is None
    assert here.broker.cancel(NO_ID) is False


@pytest.mark.parametrize("call", ["order", "order_by_client_id", "position"])
def test_a_404_without_alpacas_code_is_unclear(call: str) -> None:
    here = Setup()
    here.wire.faults = [Fault("GET", page(404, "<html>no such route</html>"), times=None)]
    with pytest.raises(Unclear, match="404"):
        getattr(here.broker, call)(NO_ID if call == "order" else "AAA")


def test_the_brokers_calendar() -> None:
    here = Setup()
    assert [here.broker.session_close(day) for day in (TUESDAY, HALF_DAY)] == ["16:00", "13:00"]
    assert here.broker.session_close(MONDAY.replace(day=25)) is None  # a Sunday
    here.wire.faults = [Fault("calendar", page(200, '[{"open": "09:30"}]'), times=2)]
    with pytest.raises(Unclear, match="calendar"):
        here.broker.session_close(MONDAY)


# -- refused or unclear ------------------------------------------------------------------------------------------------

A_LEG = Order(NO_ID, "x", "AAA", "sell", "stop", "new", 5, 0, None, None, D("9.7"), None, None, None, None, ())
CALLS: dict[str, Callable[[Broker], Any]] = {
    "account": lambda broker: broker.account(),
    "positions": lambda broker: broker.positions(),
    "position": lambda broker: broker.position("AAA"),
    "orders": lambda broker: broker.orders(),
    "order": lambda broker: broker.order(NO_ID),
    "order_by_client_id": lambda broker: broker.order_by_client_id("mlt-x"),
    "session_close": lambda broker: broker.session_close(MONDAY),
    "buy": lambda broker: broker.buy(BRACKET),
    "sell": lambda broker: broker.sell("AAA", 1, "mlt-x"),
    "sell_limit": lambda broker: broker.sell_limit("AAA", 1, D("9.9"), "mlt-x"),
    "sell_stop": lambda broker: broker.sell_stop("AAA", 1, D("9.8"), "mlt-x"),
    "replace": lambda broker: broker.replace(A_LEG, stop=D("9.8")),
    "cancel": lambda broker: broker.cancel(NO_ID),
}
ORDERS = ("buy", "sell", "sell_limit", "sell_stop", "replace")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("body", ['{"message": "unauthorized."}', "<html>401 Authorization Required</html>", ""])
def test_refused_keys_are_reported_without_showing_them(call: str, body: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    here = Setup()
    here.wire.faults = [Fault("", page(401, body), times=None)]
    with pytest.raises(BrokerError) as caught:
        CALLS[call](here.broker)
    assert isinstance(caught.value, Unclear)  # contained in mid-run
    chain = f"{caught.value!r} {caught.value.__cause__!r} {caplog.text}"
    assert "APCA_API_KEY_ID" in str(caught.value) and "\n" not in str(caught.value)
    assert KEY not in chain and SECRET not in chain


@pytest.mark.parametrize("body", ['{"message": "forbidden."}', "<html><h1>403 Forbidden</h1><hr>nginx</html>", ""])
def test_keys_are_also_refused_with_403(body: str) -> None:
    here = Setup()
    here.wire.faults = [Fault("GET", page(403, body), times=None)]
    for call in (here.broker.account, lambda: market_data(lambda: here.broker.clients.data.get("/stocks/bars"))):
        with pytest.raises(BrokerError, match=r"refuses the keys \(403\): check APCA_API_KEY_ID"):
            call()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "act",
    [
        lost_before,
        lost_after,
        page(500, '{"message": "internal server error occurred"}'),
        page(504, "<html>gateway</html>"),
        page(408, "{}"),
        page(200, "<html>maintenance</html>"),
        page(302, ""),
        page(200, '{"id": "x"'),
    ],
    ids=["lost-before", "lost-after", "500", "504", "408", "html", "redirect", "truncated"],
)
def test_no_readable_answer_is_unclear(call: str, act: Any) -> None:
    here = Setup()
    here.wire.faults = [Fault("", act, times=None)]
    if call == "cancel" and act is not lost_before and act is not lost_after:
        here.wire.faults = [Fault("", page(500, ""), times=None)]  # the body of a cancellation's reply is not read
    with pytest.raises(Unclear) as caught:
        CALLS[call](here.broker)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("call", [name for name in CALLS if name not in ("cancel",)])
@pytest.mark.parametrize("body", ["null", "[null]", '"text"', "7", '{"orders": null}', '[["a"]]', "[{}]", "{}"])
def test_a_reply_of_the_wrong_shape_is_unclear(call: str, body: str) -> None:
    here = Setup()
    here.wire.faults = [Fault("", page(200, body), times=None)]
    if call in ("orders", "positions") and body in ("[null]", '[["a"]]', "[{}]"):
        found = CALLS[call](here.broker)
        assert len(found) == 0 and len(found.refused) == 1  # it must not hide the others
        return
    with pytest.raises(Unclear):
        CALLS[call](here.broker)


@pytest.mark.parametrize("call", ORDERS)
@pytest.mark.parametrize(("status", "code"), [(403, 40310000), (422, 42210000), (429, 42910000), (400, 40010000)])
def test_a_refused_order_gives_the_reason(call: str, status: int, code: int) -> None:
    here = Setup()
    here.wire.faults = [Fault("", page(status, json.dumps({"code": code, "message": "because"})), times=None)]
    with pytest.raises(OrderRefused) as caught:
        CALLS[call](here.broker)
    assert (caught.value.status, caught.value.code, str(caught.value)) == (status, code, "because")


@pytest.mark.parametrize("call", [*ORDERS, "cancel"])
@pytest.mark.parametrize("status", [400, 402, 403, 404, 405, 407, 409, 413, 418, 422, 425, 429, 451, 499])
@pytest.mark.parametrize(
    "body",
    [
        *("<html>forbidden</html>", "", "[]", "null", '{"code": 40310000}', '{"message": null, "code": 40310000}'),
        *('{"message": "no Route matched with those values"}', '{"message": "", "code": 40310000}'),
    ],
)
def test_a_page_of_a_proxy_refuses_no_order(call: str, status: int, body: str) -> None:
    """The order may have been taken behind the proxy, so it is looked up."""
    here = Setup()
    here.wire.faults = [Fault("(POST|PATCH|DELETE)", page(status, body))]
    with pytest.raises(Unclear) as caught:
        CALLS[call](here.broker)
    assert caught.value.status == status and not isinstance(caught.value, BrokerError)


@pytest.mark.parametrize("status", [402, 405, 409, 425, 451, 499])
def test_alpacas_own_words_refuse_only_with_a_status_of_alpacas(status: int) -> None:
    here = Setup()
    here.wire.faults = [Fault("POST", page(status, '{"code": 40310000, "message": "because"}'))]
    with pytest.raises(Unclear):
        here.broker.buy(BRACKET)


def test_refusals_of_the_embedded_exchange() -> None:
    here = Setup(cash=D("20"))
    with pytest.raises(OrderRefused, match="insufficient buying power") as caught:
        here.broker.buy(BRACKET)
    assert caught.value.status == 403
    with pytest.raises(OrderRefused, match="position intent mismatch"):  # a sale without shares opens no short
        here.broker.sell("AAA", 1, "mlt-x")
    with pytest.raises(OrderRefused, match="base_price"):
        here.broker.buy(Bracket("AAA", 1, D("10"), D("10.4"), "mlt-y"))


def test_a_client_order_id_is_accepted_once_and_then_a_duplicate() -> None:
    here = Setup()
    here.broker.buy(BRACKET)
    with pytest.raises(OrderRefused) as caught:
        here.broker.buy(BRACKET)
    assert caught.value.is_duplicate and not caught.value.is_unknown


def test_an_order_whose_reply_was_lost_is_found_by_its_name() -> None:
    here = Setup()
    here.wire.faults = [Fault("POST", lost_after)]
    with pytest.raises(Unclear):
        here.broker.buy(BRACKET)
    found = here.broker.order_by_client_id(BRACKET.client_order_id)
    assert found is not None and found.qty == 5 and here.wire.count("POST") == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("qty", "x"), ("qty", "0.5"), ("qty", "Infinity"), ("qty", "NaN"), ("limit_price", "NaN"), ("id", ...)],
)
def test_an_order_with_a_malformed_field_is_unclear(field: str, value: Any) -> None:
    here = Setup()

    def change(order: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in (order | {field: value}).items() if v is not ...}

    here.wire.faults = [Fault("POST", edited(change))]
    with pytest.raises(Unclear, match="order reply not understood"):
        here.broker.buy(BRACKET)


@pytest.mark.parametrize("text", ["5", "5.0", "5.000000000", 5])
def test_whole_shares_are_parsed_in_every_notation(text: Any) -> None:
    here = Setup()
    here.wire.faults = [Fault("POST", edited(lambda order: order | {"qty": text}))]
    assert here.broker.buy(BRACKET).qty == 5


def test_an_unknown_status_is_not_final() -> None:
    here = Setup()
    here.wire.faults = [Fault("POST", edited(lambda order: order | {"status": "in_the_post"}))]
    assert not here.broker.buy(BRACKET).is_final


def test_external_fractions_hide_neither_positions_nor_orders() -> None:
    here = Setup()
    here.bought()
    external = {"symbol": "ZZZ", "qty": "0.5", "avg_entry_price": "3.1", "current_price": None}
    here.wire.faults = [
        Fault("GET /v2/positions", edited(lambda rows: [external, *rows])),
        Fault("GET /v2/orders", edited(lambda rows: [rows[0] | {"id": NO_ID, "qty": "0.5"}, *rows])),
    ]
    positions, orders = here.broker.positions(), here.broker.orders()
    assert {name: one.qty for name, one in positions.items()} == {"ZZZ": D("0.5"), "AAA": 5}
    assert len(orders) == 1 and [one.client_order_id for one in orders.refused] == [BRACKET.client_order_id]
    assert positions.refused == ()


def test_more_orders_than_a_reply_holds_are_all_read() -> None:
    here = Setup(cash=D(10**9))
    for number in range(1_003):
        here.broker.buy(Bracket("AAA", 1, D("9.8"), D("10.4"), f"mlt-{number}"))
    assert len({order.id for order in here.broker.orders()}) == 1_003


@pytest.mark.parametrize("field", ["equity", "cash", "buying_power"])
@pytest.mark.parametrize("value", [None, "NaN", "Infinity", "much"])
def test_an_account_with_a_missing_balance_is_unclear(field: str, value: Any) -> None:
    here = Setup()
    here.wire.faults = [Fault("account", edited(lambda body: body | {field: value}), times=2)]
    with pytest.raises(Unclear, match="account reply"):
        here.broker.account()


@pytest.mark.parametrize(
    ("field", "value", "blocked"),
    [
        ("trading_blocked", True, "trading_blocked"),
        ("account_blocked", True, "account_blocked"),
        ("trade_suspended_by_user", True, "trade_suspended_by_user"),
        ("status", "ACCOUNT_CLOSED", "status ACCOUNT_CLOSED"),
        ("status", "LIMITED", "status LIMITED"),
        ("status", None, "status None"),
        ("status", "PAPER_ONLY", None),
    ],
)
def test_a_blocked_account_is_recognised(field: str, value: Any, blocked: str | None) -> None:
    here = Setup()
    here.wire.faults = [Fault("account", edited(lambda body: body | {field: value}))]
    assert here.broker.account().blocked == blocked


def test_a_truncated_reply_is_unclear() -> None:
    here = Setup()
    here.wire.faults = [Fault("POST", cut_short)]
    with pytest.raises(Unclear):
        here.broker.buy(BRACKET)
    assert here.broker.order_by_client_id(BRACKET.client_order_id) is not None


def test_a_failed_market_data_request_is_reported_in_one_line() -> None:
    here = Setup()
    for act, kind, words in (
        (page(401, "<html>"), BrokerError, "APCA_API_SECRET_KEY"),
        (page(403, '{"message": "subscription does not permit"}'), UserError, "subscription does not permit"),
        (lost_before, UserError, "check the network"),
    ):
        here.wire.faults = [Fault("GET", act, times=None)]
        with pytest.raises(kind, match=words):
            market_data(lambda: here.broker.clients.data.get("/stocks/bars"))

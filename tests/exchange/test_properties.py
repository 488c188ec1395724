"""Invariants that hold after every request, over random sequences of requests and random bars."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal as D
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paper_exchange import Behaviour
from paper_exchange.base.wire import MINUTE, Shares, magnitude, number, to_ns
from paper_exchange.orders.behaviour import PRESETS
from tests.exchange.exchange_world import MONDAY, TUESDAY, HandMade, Venue, ny

if TYPE_CHECKING:
    from paper_exchange import AccountSnapshot
    from paper_exchange.books.registry import OrderRegistry

SYMBOLS = ("AAA", "BBB")
START = 15 * 60 + 30  # minutes: the last half hour of Monday, and the first of Tuesday
LASTING = ["day"] * 6 + ["gtc", "gtc", "ioc", "fok", "opg", "cls"]
BEHAVIOURS = [
    Behaviour(),
    Behaviour(partial_fills=0.4),
    Behaviour(latency=2.5),
    Behaviour(partial_fills=0.6, latency=20, seed=3),
    Behaviour(table=PRESETS["mild"]),
    Behaviour(partial_fills=0.6, table=PRESETS["drill"], seed=5),
]
KINDS = ["wait"] * 8 + ["order"] * 8 + ["cancel", "replace", "replace", "replace", "close", "close all", "night"]

CASH: dict[str, Any] = {}
MARGIN: dict[str, Any] = {"margin": True, "fractionable": True}

# Hypothesis chooses (and shrinks) the steps; the details of a step come from a generator seeded with its number,
# because the small numbers that Hypothesis prefers would make nearly every order a refused one.
seeds = st.integers(0, 2**32)
plans = st.lists(st.tuples(st.sampled_from(KINDS), seeds), min_size=25, max_size=50)


def bars_of(seed: int) -> HandMade:
    """Half an hour of bars at each end of a night for both stocks, in cents (BBB in hundredths of one, below $1)."""
    random = Random(seed)
    found: dict = {}
    for symbol, unit in (("AAA", 100), ("BBB", 10_000)):
        found[symbol] = {}
        last = random.randint(900, 1100)
        for day, first in ((MONDAY, START), (TUESDAY, 9 * 60 + 30)):
            rows = []
            for minute in range(30):
                if random.random() < 0.2:
                    continue  # no trade
                prices = [max(100, last + round(random.gauss(0, 12))) for _ in range(4)]
                last = prices[3]
                clock = f"{(first + minute) // 60:02d}:{(first + minute) % 60:02d}"
                rows.append((clock, prices[0] / unit, max(prices) / unit, min(prices) / unit, prices[3] / unit))
            found[symbol][day] = rows
            last = max(200, last + random.randint(-200, 200))
    return HandMade(found)


class Actor:
    """Turns drawn actions into requests; the exchange may refuse any of them, but never with a 500."""

    def __init__(self, here: Venue, short: bool = False) -> None:
        self.here = here
        self.short = short
        self.statuses: list[int] = []

    def request(self, method: str, path: str, **more: Any) -> Any:
        headers = {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}
        url = f"http://127.0.0.1:8765/v2{path}"
        got = self.here.trading._session.request(method, url, headers=headers, **more)
        assert got.status_code < 500, got.text
        self.statuses.append(got.status_code)
        return got.json() if got.text else None

    def unit(self, symbol: str) -> float:
        return 0.01 if symbol == "AAA" else 0.0001

    def base(self, symbol: str) -> float:
        got = self.here.raw_data.get("/stocks/trades/latest", {"symbols": symbol})["trades"]
        return got[symbol]["p"] if got else 10 * self.unit(symbol) * 100

    def price(self, symbol: str, ticks_off: int) -> float:
        return max(0.0001, round(self.base(symbol) + ticks_off * self.unit(symbol), 4))

    def do(self, name: str, seed: int) -> None:
        random = Random(seed)
        if name == "wait":
            self.here.later(random.choice([1, 20, 45, 60, 61, 120, 300]))
        elif name == "night":
            self.here.time = max(self.here.time, ny(TUESDAY, random.choice(["04:00", "09:29", "09:29:59"])))
        elif name == "order":
            self.request("POST", "/orders", json=self.order(random))
        elif name == "close":
            part = {"percentage": random.randint(1, 100)} if random.random() < 0.5 else {}
            self.request("DELETE", f"/positions/{random.choice(SYMBOLS)}", params=part)
        elif name == "close all":
            self.request("DELETE", "/positions", params={"cancel_orders": random.random() < 0.7})
        else:
            self.change(name, random)

    def change(self, name: str, random: Random) -> None:
        orders = self.request("GET", "/orders", params={"status": "open", "limit": 500})
        if not orders:
            return
        order = random.choice(orders)
        if name == "cancel":
            self.request("DELETE", f"/orders/{order['id']}")
            return
        if order["type"] == "trailing_stop" and random.random() < 0.7:
            trail = round(random.randint(1, 60) * self.unit(order["symbol"]), 4)
            self.request("PATCH", f"/orders/{order['id']}", json={"trail": trail})
            return
        body: dict[str, Any] = {"qty": random.randint(1, 20)} if random.random() < 0.5 else {}
        body |= {
            field: self.price(order["symbol"], random.randint(-40, 40))
            for field in ("limit_price", "stop_price")
            if order[field] is not None
        }
        self.request("PATCH", f"/orders/{order['id']}", json=body)

    def order(self, random: Random) -> dict:
        symbol, side = random.choice(SYMBOLS), random.choice(["buy", "sell"] if self.short else ["buy", "buy", "sell"])
        exits, entries = ["", "", "oco"], ["", "", "bracket", "bracket", "oto"]
        shape = random.choice(exits + entries if self.short else exits if side == "sell" else entries)
        kinds = ["market", "limit", "limit", "stop", "stop_limit", "trailing_stop"]
        kind = "limit" if shape == "oco" else random.choice(kinds)
        body: dict[str, Any] = {
            "symbol": symbol,
            "qty": random.randint(1, 20),
            "side": side,
            "type": kind,
            "time_in_force": random.choice(["day", "day", "gtc"] if shape else LASTING),
            "extended_hours": kind == "limit" and not shape and random.random() < 0.3,
            "order_class": shape,
        }
        if "limit" in kind:
            body["limit_price"] = self.price(symbol, random.randint(-30, 30))
        if kind == "trailing_stop":
            if random.random() < 0.5:
                body["trail_percent"] = random.choice([0.1, 0.5, 1, 2.25])
            else:
                body["trail_price"] = round(random.randint(1, 60) * self.unit(symbol), 4)
        if kind.startswith("stop"):
            body["stop_price"] = self.price(symbol, random.randint(-30, 30))
        below = -1 if (side == "buy") != (shape == "oco" and self.short) else 1
        if shape:
            body["stop_loss"] = {"stop_price": self.price(symbol, below * random.randint(20, 80))}
        if shape in ("bracket", "oco"):
            body["take_profit"] = {"limit_price": self.price(symbol, -below * random.randint(20, 80))}
        return self.in_parts(body, random) if self.short and not shape else body

    def in_parts(self, body: dict[str, Any], random: Random) -> dict[str, Any]:
        """Sometimes turn the order into a fractional or notional one."""
        chance = random.random()
        if chance < 0.2:
            body |= {"qty": round(random.uniform(0.001, 5), random.randint(1, 9)), "time_in_force": "day"}
        elif chance < 0.35:
            del body["qty"]
            body |= {"notional": round(random.uniform(1, 60), 2), "time_in_force": "day"}
        return body


def check(state: AccountSnapshot, market: HandMade, short: bool = False) -> None:
    """Check all invariants between two requests."""
    cost = sum((one.cost for one in state.positions.values()), D(0))
    assert state.start + state.realised == state.cash + cost
    assert state.buying_power >= 0
    held: dict[str, Shares] = defaultdict(int)
    filled: dict[str, Shares] = defaultdict(int)
    cash = state.start
    orders = {order.id: order for order in state.orders}
    for fill in state.fills:
        order = orders[fill.order_id]
        sign = 1 if fill.side == "buy" else -1
        before = held[fill.symbol]
        held[fill.symbol] += sign * fill.qty
        filled[fill.order_id] += fill.qty
        cash -= sign * fill.qty * fill.price
        if order.opening:
            assert sign * before >= 0, "opened against what was held"
            assert sign > 0 or short, "sold short in a cash account"
        else:
            assert sign * before < 0, "closed what was not held"
            assert sign * held[fill.symbol] <= 0, "closed more than was held"
        assert order.notional is None or not order.opening or fill.qty * fill.price <= order.notional
        assert filled[fill.order_id] <= order.qty, "filled beyond its quantity"
        check_price(fill, market)
        assert fill.bar <= fill.at <= to_ns(state.at), "traded before it happened"
        replaces_fired_stop = order.role == "stop" and order.type == "market"  # sent by the exchange as it fires
        assert fill.at > order.submitted_at or (replaces_fired_stop and fill.at == order.submitted_at)
    assert cash == state.cash
    assert short or state.cash >= 0
    assert {name: qty for name, qty in held.items() if qty} == {one.symbol: one.qty for one in state.positions.values()}
    assert all(order.filled_qty == filled.get(order.id, 0) for order in state.orders)
    check_statuses(state)
    check_holds(state)
    check_trails(state)
    waking: dict[str, list[str]] = defaultdict(list)
    for order in state.orders:
        if order.parent and order.status == "filled":
            waking[order.parent].append(order.id)
    assert all(len(legs) <= 1 for legs in waking.values()), "both legs of a bracket filled"


def check_replies(here: Venue) -> None:
    """The replies add up: equity = start + realised + unrealised, to the cent."""
    state = here.exchange.snapshot()
    account, positions = here.raw.get_account(), here.raw.get_all_positions()
    assert account["cash"] == number(state.cash, 2)
    if here.time < ny(TUESDAY, "20:00") and here.exchange._engine.behaviour.longest_lag:
        shown, held = {one["symbol"]: one["qty"] for one in positions}, state.positions.values()
        if shown != {one.symbol: number(one.qty) for one in held}:
            return  # the positions lag the books; at the end of the run they may not
    unrealised = sum((D(one["unrealized_pl"]) for one in positions), D(0))
    assert abs(D(account["equity"]) - (state.start + state.realised + unrealised)) <= D("0.01")
    value = sum((D(one["market_value"]) for one in positions), D(0))
    assert abs(D(account["cash"]) + value - D(account["equity"])) <= D("0.01")
    assert D(account["buying_power"]) >= 0
    for one in positions:
        qty, available = D(one["qty"]), D(one["qty_available"])
        assert 0 <= available <= qty if one["side"] == "long" else qty <= available <= 0
        assert (qty > 0) == (one["side"] == "long")
    long = sum((D(one["market_value"]) for one in positions if one["side"] == "long"), D(0))
    assert abs(D(account["long_market_value"]) - long) <= D("0.01")
    assert abs(D(account["short_market_value"]) - (value - long)) <= D("0.01")
    if account["multiplier"] == "2":
        power = (D(account["equity"]) - D(account["initial_margin"])) * 2
        assert D(account["buying_power"]) <= max(power, D(0)) + D("0.03")


def check_statuses(state: AccountSnapshot) -> None:
    """An order's status agrees with its shares."""
    for order in state.orders:
        assert order.qty > 0 or order.status in ("rejected", "canceled"), "an order for nothing"
        assert order.qty >= 1 or order.time_in_force == "day" or not order.is_open, "a part of a share that lasts"
        assert (order.status == "filled") == (order.filled_qty == order.qty > 0)
        assert order.status != "partially_filled" or 0 < order.filled_qty < order.qty
        assert order.awake or not order.filled_qty, "a sleeping leg traded"
        assert bool(order.pending_until) == (order.status.startswith("pending_") and not order.waits_for)


def check_trails(state: AccountSnapshot) -> None:
    """A trailing stop lies at its distance from its mark, on the right side."""
    for order in state.orders:
        assert (order.type == "trailing_stop") == (order.hwm is not None)
        if order.hwm is not None and order.stop_price is not None:
            assert order.stop_price == order.trail.stop(order.hwm)
            assert (order.stop_price > order.hwm) == order.buy or order.stop_price == order.hwm


def check_holds(state: AccountSnapshot) -> None:
    """Open closing orders never reserve more than is held; a stop and a target for the same shares count once."""
    most: dict[tuple[str, str], Shares] = defaultdict(int)
    groups = {order.id: order.group for order in state.orders}
    for order in state.orders:
        if order.is_open and order.awake and not order.opening:
            group = groups[order.waits_for or order.id]  # a pending replacement is for the same shares
            most[order.symbol, group] = max(most[order.symbol, group], order.remaining)
    for symbol in SYMBOLS:
        held = sum(qty for (name, _), qty in most.items() if name == symbol)
        assert held <= (magnitude(state.positions[symbol].qty) if symbol in state.positions else 0), "held back twice"


def check_totals(registry: OrderRegistry) -> None:
    """Running totals and the next due instant equal those computed from all orders."""
    orders = list(registry.orders.values())
    live = [one for one in orders if one.is_open]
    assert list(registry.open.values()) == live
    reserved = {
        one.id: max(one.reserved_amount, registry.orders[one.successor or one.id].reserved_amount)
        for one in live
        if one.opening and not one.waits_for
    }
    assert registry.reserved() == sum(reserved.values(), D(0))
    assert all(registry.reserved(without=one.id) == sum(reserved.values()) - reserved.get(one.id, 0) for one in orders)
    held: dict[tuple[str, str], Shares] = defaultdict(int)
    for one in live:
        if not one.opening and one.awake and not one.waits_for:
            most = max(one.remaining, registry.orders[one.successor or one.id].remaining)
            held[one.symbol, one.group] = max(held[one.symbol, one.group], most)
    for symbol in SYMBOLS:
        assert registry.open_in(symbol) == [one for one in live if one.symbol == symbol]
        for group in {None, *(one.group for one in orders)}:
            assert registry.held_qty(symbol, without=group) == sum(
                qty for (name, head), qty in held.items() if name == symbol and head != group
            )


def check_due(registry: OrderRegistry, now: int) -> None:
    """The next due instant is that of all open orders."""
    instants = [at for one in registry.open.values() for at in one.due_instants if at > now]
    assert registry.next_due(now, 2**63) == min(instants, default=None)


def check_price(fill: Any, market: HandMade) -> None:
    """A fill of the core session lies in its minute's bar, or at the last close; at night between close and open."""
    monday, tuesday = (market.session_bars(fill.symbol, day) for day in (MONDAY, TUESDAY))
    known = [bar for bars in (monday, tuesday) for bar in zip(bars.start, bars.low, bars.high, bars.close, strict=True)]
    if to_ns(ny(MONDAY, "16:00")) <= fill.at < to_ns(ny(TUESDAY, "09:30")):
        ends = (monday.close[-1], tuesday.open[0])
        assert 0.9 * min(ends) < float(fill.price) < 1.1 * max(ends), "a price far from the market"
        return
    start, low, high, close = [bar for bar in known if bar[0] < fill.at or bar[0] == fill.bar][-1]
    if start != fill.bar and fill.at != start + MINUTE:
        low = high = close
    assert low <= float(fill.price) <= high, "a price that the bar did not show"


@settings(max_examples=60, deadline=None)
@given(bars=seeds, plan=plans, cash=st.sampled_from([60, 300, 3000]), behaviour=st.sampled_from(BEHAVIOURS))
def test_invariants_hold_after_any_requests(bars: int, plan: list, cash: int, behaviour: Behaviour) -> None:
    market = bars_of(bars)
    here = Venue(market, ny(MONDAY, "15:30"), cash=D(cash), behaviour=behaviour)
    actor = Actor(here)
    for count, step in enumerate(plan):
        actor.do(*step)
        check(here.exchange.snapshot(), market)
        check_totals(here.exchange._engine.registry)
        check_due(here.exchange._engine.registry, here.exchange.advance())
        if count % 4 == 0:
            check_replies(here)
    here.time = ny(TUESDAY, "20:00")
    check(here.exchange.snapshot(), market)
    check_replies(here)


REPLACED_STOP = [
    *[("wait", seed) for seed in (232, 0, 0, 0)],
    *[("order", 0), ("wait", 0), ("wait", 17), ("order", 652), ("wait", 1), ("replace", 1), ("wait", 1)],
]
"""A target fills in part while the replacement of its stop is pending."""


@settings(max_examples=90, deadline=None)
@example(bars=0, plan=REPLACED_STOP, cash=2050, behaviour=BEHAVIOURS[3])
@given(bars=seeds, plan=plans, cash=st.sampled_from([300, 2050, 3000]), behaviour=st.sampled_from(BEHAVIOURS))
def test_invariants_hold_on_margin(bars: int, plan: list, cash: int, behaviour: Behaviour) -> None:
    """Short sales, fractional, notional and trailing-stop orders: the same invariants."""
    market = bars_of(bars)
    here = Venue(market, ny(MONDAY, "15:30"), cash=D(cash), behaviour=behaviour, margin=True, fractionable=True)
    actor = Actor(here, short=True)
    for count, step in enumerate(plan):
        actor.do(*step)
        check(here.exchange.snapshot(), market, short=True)
        check_totals(here.exchange._engine.registry)
        check_due(here.exchange._engine.registry, here.exchange.advance())
        if count % 4 == 0:
            check_replies(here)
    here.time = ny(TUESDAY, "20:00")
    check(here.exchange.snapshot(), market, short=True)
    check_replies(here)


@settings(max_examples=25, deadline=None)
@given(bars=seeds, plan=plans, behaviour=st.sampled_from(BEHAVIOURS), account=st.sampled_from([CASH, MARGIN]))
def test_the_frequency_of_requests_changes_nothing(
    bars: int, plan: list, behaviour: Behaviour, account: dict[str, Any]
) -> None:
    """Advancing in one leap or in steps of any length gives the same fills and orders, to the byte."""
    market = bars_of(bars)

    def run(steps: Random | None) -> str:
        here = Venue(market, ny(MONDAY, "15:30"), behaviour=behaviour, spread_ticks=1, **account)
        actor = Actor(here, short=bool(account))
        for name, seed in plan:
            before = here.time
            actor.do(name, seed)
            after, here.time = here.time, before
            while steps and here.time < after and here.time < ny(MONDAY, "16:02"):
                here.later(steps.choice([0.004, 0.13, 1.7, 7.0, 31.0]))
                here.time = min(here.time, after)
                here.exchange.advance()
            here.time = after
        here.time = ny(TUESDAY, "10:30")
        state = here.exchange.snapshot()
        return repr((state.fills, state.cash, state.orders))

    assert run(Random(bars)) == run(None)


def test_the_invariants_can_fail() -> None:
    """A fill outside its bar is detected, so the invariants can fail."""
    market = HandMade({"AAA": {MONDAY: [("15:30", 10.0, 10.0, 10.0, 10.0)], TUESDAY: []}})
    here = Venue(market, ny(MONDAY, "15:30"))
    Actor(here).request(
        "POST", "/orders", json={"symbol": "AAA", "qty": 1, "side": "buy", "type": "market", "time_in_force": "day"}
    )
    here.later(60)
    other = HandMade({"AAA": {MONDAY: [("15:30", 11.0, 11.0, 11.0, 11.0)], TUESDAY: []}})
    check(here.exchange.snapshot(), market)
    with pytest.raises(AssertionError, match="did not show"):
        check(here.exchange.snapshot(), other)

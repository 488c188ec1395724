"""The table of behaviours: each one as a client sees it, what the books hold meanwhile, and the presets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from alpaca.trading.enums import QueryOrderStatus
from alpaca.trading.requests import GetOrdersRequest, ReplaceOrderRequest
from hypothesis import given
from hypothesis import strategies as st

from paper_exchange import Behaviour
from paper_exchange.__main__ import main
from paper_exchange.base.wire import MINUTE
from paper_exchange.market.path import TICK, moves_of
from paper_exchange.market.quotes import Kind, Stretch
from paper_exchange.orders.behaviour import BEHAVIOURS, PRESETS, Chance, table_of
from paper_exchange.orders.matching import price_beyond, side_price
from tests.exchange.exchange_world import TUESDAY, Venue, killed
from tests.exchange.order_requests import FLAT, bracket, held, limit, market, nested, refusal, stop, venue

if TYPE_CHECKING:
    from pathlib import Path

UP, DOWN = (10.0, 10.5, 10.0, 10.2), (10.0, 10.0, 9.7, 9.9)
CALM_MINUTES = tuple((f"10:{minute}", *FLAT) for minute in range(31, 50))


def only(*, seed: int = 0, **rows: Chance) -> Behaviour:
    """An exchange with some behaviours and nothing else."""
    return Behaviour(seed=seed, table=rows)


def statuses(here: Venue, *orders: Any) -> list[str]:
    return [here.trading.get_order_by_id(one.id).status.value for one in orders]


def test_an_order_is_pending_new_then_new_with_an_execution_id_then_filled() -> None:
    here = venue(*CALM_MINUTES, behaviour=only(pending_new=Chance(1.0, 0.4, 0.2)))
    found: list = []
    here.exchange.listen(found.append)
    sent, resting = (here.trading.submit_order(one) for one in (market(), limit(9.0)))
    assert (sent.status, resting.status) == ("pending_new", "pending_new")
    here.later(0.1)
    assert statuses(here, sent, resting) == ["pending_new", "pending_new"]
    here.later(0.4)
    assert statuses(here, sent, resting) == ["filled", "new"]
    mine = [one for one in found if one.order["id"] == str(sent.id)]
    assert [one.event for one in mine] == ["pending_new", "new", "fill"]
    ids = [one.data().get("execution_id") for one in mine]
    assert ids[0] is None and len({*ids[1:]} - {None}) == 2
    assert mine[0].at < mine[1].at <= mine[2].at


def test_a_cancel_is_pending_for_a_drawn_time_which_is_the_same_for_a_group() -> None:
    here = held(*CALM_MINUTES, behaviour=only(pending_cancel=Chance(1.0, 20.0, 5.0)))
    entry = here.trading.submit_order(bracket())
    here.at("10:33:00")
    target, loss = nested(here, entry).legs
    here.trading.cancel_order_by_id(target.id)
    here.later(4.9)
    assert statuses(here, target, loss) == ["pending_cancel", "held"]
    assert refusal(here.trading.submit_order, market("sell", 10))[1]["held_for_orders"] == "5"
    here.later(15.2)
    assert statuses(here, target, loss) == ["canceled", "canceled"]
    assert here.trading.submit_order(market("sell", 10)).status == "new"


def test_a_replacement_is_pending_for_a_drawn_time() -> None:
    here = venue(*CALM_MINUTES, behaviour=only(pending_replace=Chance(1.0, 20.0, 5.0)))
    sent = here.trading.submit_order(limit(9.0))
    new = here.trading.replace_order_by_id(sent.id, ReplaceOrderRequest(limit_price=9.1))
    here.later(4.9)
    assert statuses(here, sent, new) == ["pending_replace", "pending_new"]
    here.later(15.2)
    assert statuses(here, sent, new) == ["replaced", "new"]


@pytest.mark.parametrize("extended", [False, True])
def test_a_cancel_outside_the_session_is_pending_until_the_open_and_then_comes_first(extended: bool) -> None:
    opening = [("09:30", *FLAT), ("09:31", *FLAT)]
    here = venue(behaviour=only(cancel_until_open=Chance(1.0)), at="15:00", tuesday=tuple(opening))
    resting = here.trading.submit_order(limit(9.0, tif="gtc"))
    here.at("20:30")
    if extended:
        resting = here.trading.submit_order(limit(10.0, extended_hours=True))
    here.trading.cancel_order_by_id(resting.id)
    here.at("03:59", TUESDAY)
    assert statuses(here, resting) == ["pending_cancel"]
    here.at("04:00", TUESDAY)
    assert statuses(here, resting) == ["canceled" if extended else "pending_cancel"]
    market_order = here.trading.submit_order(market())  # it waits for 09:30
    here.trading.cancel_order_by_id(market_order.id)
    here.at("09:29:59", TUESDAY)
    assert statuses(here, market_order) == ["pending_cancel"]
    here.at("09:35", TUESDAY)
    assert statuses(here, resting, market_order) == ["canceled", "canceled"]
    assert here.exchange.snapshot().fills == ()
    inside = here.trading.submit_order(limit(9.0))
    here.trading.cancel_order_by_id(inside.id)
    assert statuses(here, inside) == ["canceled"]


def test_a_cancel_pending_until_the_open_comes_before_a_stop_that_the_open_has_passed() -> None:
    gap = ("09:30", 9.0, 9.0, 9.0, 9.0), ("09:31", 9.0, 9.0, 9.0, 9.0)
    here = venue(*CALM_MINUTES, behaviour=only(cancel_until_open=Chance(1.0)), tuesday=gap)
    sent = here.trading.submit_order(bracket(tif="gtc"))
    here.at("20:30")
    target, loss = nested(here, sent).legs
    here.trading.cancel_order_by_id(target.id)
    here.at("09:30:30", TUESDAY)
    assert statuses(here, target, loss) == ["canceled", "canceled"]
    assert here.trading.get_open_position("AAA").qty == "5"


def test_positions_lag_a_fill_and_the_books_do_not() -> None:
    here = venue(*CALM_MINUTES, behaviour=only(position_lag=Chance(1.0, 8.0, 4.0)))
    entry = here.trading.submit_order(market())
    here.later(1)
    assert statuses(here, entry) == ["filled"]
    assert here.trading.get_all_positions() == []
    assert refusal(here.trading.get_open_position, "AAA")[0] == 404
    assert here.trading.get_account().long_market_value == "50"
    assert here.exchange.snapshot().positions["AAA"].qty == 5
    here.later(8)
    assert here.trading.get_open_position("AAA").qty == "5"
    here.trading.submit_order(market("sell", 2))  # checked against the books
    here.later(1)
    shown = here.trading.get_open_position("AAA")
    assert (shown.qty, shown.qty_available, here.exchange.snapshot().positions["AAA"].qty) == ("5", "5", 3)
    assert refusal(here.trading.submit_order, market("sell", 4))[1]["available"] == "3"
    here.later(8)
    assert here.trading.get_open_position("AAA").qty == "3"
    here.trading.close_position("AAA")
    here.later(1)
    assert [one.qty for one in here.trading.get_all_positions()] == ["3"]
    assert here.exchange.snapshot().positions == {}


def test_positions_lag_a_fill_after_the_exchange_was_killed_as_they_did_before(tmp_path: Path) -> None:
    behaviour = only(position_lag=Chance(1.0, 8.0, 4.0))
    here = venue(*CALM_MINUTES, behaviour=behaviour, state=tmp_path / "state.sqlite")

    def is_the_same_after_a_kill() -> list[str]:
        shown = here.raw.get_all_positions()
        again = venue(*CALM_MINUTES, behaviour=behaviour, state=killed(tmp_path / "state.sqlite"))
        again.time = here.time
        assert again.raw.get_all_positions() == shown
        again.later(8)  # and the lag ends there
        books = again.exchange.snapshot().positions.values()
        assert [one["qty"] for one in again.raw.get_all_positions()] == [str(one.qty) for one in books]
        return [one["qty"] for one in shown]

    here.trading.submit_order(market())
    here.later(1)
    assert is_the_same_after_a_kill() == []
    here.later(8)
    here.trading.submit_order(market("sell", 2))
    here.later(1)
    assert is_the_same_after_a_kill() == ["5"]
    here.later(8)
    assert is_the_same_after_a_kill() == ["3"]
    here.trading.close_position("AAA")
    here.later(1)
    assert is_the_same_after_a_kill() == ["3"]


def stopped(behaviour: Behaviour, qty: int = 5) -> tuple[Venue, Any, list]:
    """A bracket whose stop fires in the bar of 10:40."""
    rows = [row if row[0] != "10:40" else ("10:40", *DOWN) for row in CALM_MINUTES]
    here = venue(*rows, behaviour=behaviour)
    entry = here.trading.submit_order(bracket(qty=qty))
    here.at("10:39")
    legs = nested(here, entry).legs
    found: list = []
    here.exchange.listen(found.append)
    here.at("10:41")
    here.trading.get_clock()
    return here, legs, found


def test_a_stop_that_fires_is_replaced_by_a_market_order_that_fills() -> None:
    here, (target, loss), found = stopped(only(stop_replaced=Chance(1.0)))
    old = here.trading.get_order_by_id(loss.id)
    new = here.trading.get_order_by_id(old.replaced_by)
    assert (old.status, old.filled_qty, new.status, new.type) == ("replaced", "0", "filled", "market")
    assert (new.replaces, new.filled_avg_price, new.stop_price) == (loss.id, "9.8", None)
    assert statuses(here, target) == ["canceled"]
    assert [one.event for one in found] == ["replaced", "new", "fill", "canceled"]
    assert here.exchange.snapshot().positions == {}


def test_the_rest_of_a_partly_filled_replacement_trades_and_is_not_replaced_again() -> None:
    behaviour = only(stop_replaced=Chance(1.0), partial_fill=Chance(1.0, 1.0))
    here, (_, loss), _ = stopped(behaviour, qty=9)
    here.at("10:49")
    state = here.exchange.snapshot()
    assert state.positions == {}
    assert [one.replaces for one in state.orders if one.side == "sell" and one.replaces] == [str(loss.id)]
    assert sum(fill.qty for fill in state.fills if fill.side == "sell") == 9


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_stop_slips_until_the_market_order_that_it_becomes_trades(interrupted: bool, tmp_path: Path) -> None:
    """The bar falls from 10.00 at second 10 to 9.70 at second 25, through the stop of 9.80 at second 20."""
    rows = [row if row[0] != "10:40" else ("10:40", *DOWN) for row in CALM_MINUTES]
    behaviour = only(stop_slippage=Chance(1.0, 2.0))
    here = venue(*rows, behaviour=behaviour, state=tmp_path / "state.sqlite")
    entry = here.trading.submit_order(bracket())
    here.at("10:40:21")
    target, loss = nested(here, entry).legs
    assert statuses(here, target, loss) == ["new", "held"]
    if interrupted:
        here = venue(*rows, at="10:40:21", behaviour=behaviour, state=killed(tmp_path / "state.sqlite"))
    here.at("10:40:23")
    fill = here.exchange.snapshot().fills[-1]
    assert (fill.order_id, str(fill.price), fill.at % (60 * 10**9)) == (str(loss.id), "9.76", 22 * 10**9)
    assert statuses(here, target, loss) == ["canceled", "filled"]
    shown = here.trading.get_order_by_id(loss.id)
    assert (shown.stop_price, shown.filled_avg_price) == ("9.8", "9.76")


@pytest.mark.parametrize(("seconds", "price"), [(3.0, "9.74"), (60.0, "9.7")])
def test_a_stop_that_fires_in_a_fast_move_fills_ticks_beyond_and_within_the_bar(seconds: float, price: str) -> None:
    """The price falls by two cents a second; the stop of 9.80 is reached at second 20, the low of 9.70 at second 25."""
    here, (_, loss), _ = stopped(only(stop_beyond=Chance(1.0, seconds)))
    assert here.trading.get_order_by_id(loss.id).filled_avg_price == price
    calm, (_, loss), _ = stopped(only())
    assert calm.trading.get_order_by_id(loss.id).filled_avg_price == "9.8"
    gap = [row if row[0] != "10:40" else ("10:40", 9.5, 9.6, 9.3, 9.4) for row in CALM_MINUTES]
    there = venue(*gap, behaviour=only(stop_beyond=Chance(1.0, seconds)))
    entry = there.trading.submit_order(bracket())
    there.at("10:41")
    assert nested(there, entry).legs[1].filled_avg_price == "9.5", "the price stood still when the stop fired"


@given(
    prices=st.lists(st.integers(200, 240), min_size=4, max_size=4).map(sorted),
    order=st.booleans(),
    instant=st.integers(0, MINUTE - 1),
    span=st.integers(0, MINUTE),
)
def test_what_a_stop_fills_beyond_is_never_better_than_the_quote_nor_outside_the_bar(
    prices: list[int], order: bool, instant: int, span: int
) -> None:
    low, opened, close, high = (price * TICK for price in prices)
    opened, close = (opened, close) if order else (close, opened)
    stretch = Stretch(Kind.BAR, 0, MINUTE, moves_of(0, opened, low, high, close), ticks=2, trades=True)
    sale, buy = (price_beyond(stretch, instant, span, buy=buy) for buy in (False, True))
    assert low <= sale <= side_price(stretch, instant, buy=False)
    assert side_price(stretch, instant, buy=True) <= buy <= high + 2 * TICK
    assert sale % TICK == 0 == buy % TICK


def test_the_target_ends_replaced_when_the_stop_fills() -> None:
    here, (target, loss), found = stopped(only(target_replaced=Chance(1.0)))
    assert statuses(here, target, loss) == ["replaced", "filled"]
    assert here.trading.get_order_by_id(target.id).replaced_by == loss.id
    assert [one.event for one in found] == ["fill", "replaced"]
    assert here.trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN)) == []


def test_neither_leg_fires_again_after_a_partly_filled_target() -> None:
    """As a real paper account was seen to: the target filled 6 of 10, the price fell below the stop, nothing sold."""
    late = [(f"10:{minute}", 9.5, 9.6, 9.4, 9.5) for minute in range(43, 50)]
    bars = [*CALM_MINUTES[:9], ("10:40", *UP), ("10:41", *UP), ("10:42", *DOWN), *late]

    def run(**more: Chance) -> tuple[Venue, Any]:
        here = venue(*bars, behaviour=Behaviour(table={"partial_fill": Chance(1.0, 1.0), **more}))
        entry = here.trading.submit_order(bracket(qty=9))
        here.at("10:45")
        return here, nested(here, entry).legs

    here, (target, loss) = run(legs_abandoned=Chance(1.0))
    left = 9 - int(target.filled_qty)
    assert (target.status, loss.status) == ("partially_filled", "held")
    assert 0 < left < 9 and here.exchange.snapshot().positions["AAA"].qty == left
    assert refusal(here.trading.submit_order, market("sell", left))[1]["held_for_orders"] == str(left)
    moved = here.trading.replace_order_by_id(loss.id, ReplaceOrderRequest(stop_price=9.75))
    here.at("10:48")
    assert statuses(here, moved, target) == ["filled", "canceled"]  # a new order is executed again
    here, (target, loss) = run(legs_abandoned=Chance(1.0))
    here.trading.cancel_order_by_id(target.id)
    here.trading.submit_order(market("sell", left))
    here.at("10:49")
    assert here.exchange.snapshot().positions == {}
    here, (target, loss) = run()
    assert here.exchange.snapshot().positions == {}


def test_a_sale_without_shares_opens_a_short_unless_its_intent_is_to_close() -> None:
    here = venue(*CALM_MINUTES, margin=True, fractionable=True)
    closing = {"symbol": "AAA", "qty": 5, "side": "sell", "type": "stop", "stop_price": 9.8, "time_in_force": "day"}
    headers = {"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"}
    got = here.trading._session.post(
        "http://127.0.0.1:8765/v2/orders", json=closing | {"position_intent": "sell_to_close"}, headers=headers
    )
    assert (got.status_code, got.json()["code"]) == (422, 42210000)
    rested = here.trading.submit_order(stop(9.99))
    assert rested.position_intent == "sell_to_open"
    here.trading.submit_order(market("sell"))
    here.at("10:33")
    assert here.trading.get_open_position("AAA").qty == "-5"


def test_the_same_seed_draws_the_same_whatever_is_asked_in_between() -> None:
    def run(seed: int, polls: int) -> list:
        here = venue(*CALM_MINUTES, behaviour=Behaviour(seed=seed, table=PRESETS["drill"]))
        here.trading.submit_order(bracket(qty=7))
        for step in range(12):
            for _ in range(polls):
                here.later(1)
                here.trading.get_all_positions()
            here.later(20 - polls)
            if step == 5:
                here.trading.cancel_orders()
                here.trading.submit_order(bracket(qty=3))
        state = here.exchange.snapshot()
        return [(one.id, one.status, one.updated_at) for one in state.orders] + [state.cash]

    assert run(1, polls=0) == run(1, polls=9)
    assert len({str(run(seed, polls=0)) for seed in range(4)}) > 1


def test_the_books_survive_a_kill_with_every_behaviour_on(tmp_path: Any) -> None:
    """What a killed exchange saved goes on as if it had not been killed: pending cancels, idle legs, replacements."""
    table = {name: Chance(1.0, row.most, row.least) for name, row in PRESETS["drill"].items()}
    rows = [
        row if row[0] not in ("10:36", "10:40") else (row[0], *(UP if row[0] == "10:36" else DOWN))
        for row in CALM_MINUTES
    ]
    options: dict[str, Any] = {"behaviour": Behaviour(seed=3, table=table), "margin": True}
    for kill in ("10:34:01", "10:37:05", "10:41:03"):
        here = venue(*rows, state=tmp_path / f"{kill[3:5]}.sqlite", **options)
        entry = here.trading.submit_order(bracket(qty=9))
        here.at(kill)
        here.trading.cancel_order_by_id(entry.legs[0].id)
        again = venue(*rows, at=kill, state=killed(tmp_path / f"{kill[3:5]}.sqlite"), **options)
        for one in (here, again):
            one.at("10:49:30")
        before, after = here.exchange.snapshot(), again.exchange.snapshot()
        assert before.fills == after.fills and before.cash == after.cash
        assert before.orders == after.orders
        assert before.start + before.realised == before.cash + sum(one.cost for one in before.positions.values())


# -- the table ---------------------------------------------------------------------------------------------------------


def test_every_preset_has_a_row_for_every_behaviour_and_calm_has_none_that_occurs() -> None:
    for preset in PRESETS.values():
        assert set(preset) == set(BEHAVIOURS)
        assert Behaviour(table=preset).table == preset
    assert not any(row.probability for row in PRESETS["calm"].values())
    assert all(row.probability for name in ("mild", "drill") for row in PRESETS[name].values())
    assert all(PRESETS["drill"][name].probability >= row.probability for name, row in PRESETS["mild"].items())


def test_a_table_is_a_preset_with_rows_in_place_of_its_own() -> None:
    table = table_of("mild, position_lag=0.5:8,pending_new=0")
    assert table["position_lag"] == Chance(0.5, 8.0)
    assert table["pending_new"].probability == 0
    assert table["partial_fill"] == PRESETS["mild"]["partial_fill"]
    assert Behaviour(latency=2.0, table=table).delay("pending_new", 1) == 2 * 10**9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wild", "'wild' is no preset; choose calm, mild, drill"),
        ("mild,lag=1", "'lag' is no behaviour; choose from partial_fill"),
        ("mild,position_lag", "'position_lag': write NAME=PROBABILITY"),
        ("mild,position_lag=often", "write NAME=PROBABILITY"),
        ("calm,position_lag=2", "position_lag=2.0 is not a probability"),
        ("calm,position_lag=nan", "'position_lag=nan': write NAME=PROBABILITY"),
        ("calm,position_lag=1:61", "position_lag: size 61 to 61 is outside 0 to 60"),
        ("calm,partial_fill=1:2", "partial_fill: size 2 to 2 is outside 0 to 1"),
    ],
)
def test_a_bad_table_is_one_line_and_exit_code_2(text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--behaviour", text]) == 2
    got = capsys.readouterr().err
    assert message in got and f"--behaviour {text}" in got and got.count("\n") == 1


def test_sizes_are_drawn_within_their_bounds_and_reach_from_milliseconds_to_seconds() -> None:
    behaviour = only(pending_cancel=Chance(0.5, 20.0, 0.02))
    drawn = [behaviour.draw("pending_cancel", sequence) for sequence in range(400)]
    sizes = [one for one in drawn if one is not None]
    assert 150 < len(sizes) < 250
    assert all(0.02 <= one <= 20.0 for one in sizes)
    assert sum(one < 1 for one in sizes) > 50 < sum(one > 1 for one in sizes)

"""The path of a minute, and when and at which price an order trades on it: every case, and invariants."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper_exchange.market.interface import Bar
from paper_exchange.market.path import DOLLAR, SECOND, Move, changes, dollars, first_reached, millionths, moves_of
from paper_exchange.market.quotes import Kind, Spread, Stretch, ask_of, bid_under
from paper_exchange.orders.matching import Terms, side_price

MINUTE = 60 * SECOND
BAR = Bar(0, D("10.00"), D("10.50"), D("9.50"), D("10.20"))


def stretch(bar: Bar = BAR, ticks: int = 0) -> Stretch:
    moves = moves_of(bar.start, *(millionths(price) for price in (bar.open, bar.low, bar.high, bar.close)))
    return Stretch(Kind.BAR, bar.start, bar.start + MINUTE, moves, ticks, trades=True)


def traded(terms: Terms, here: Stretch, after: int = 0) -> tuple[float, str] | None:
    """The second and the price of a trade."""
    at = terms.next_instant(here, after)
    return None if at is None else (round(at / SECOND, 1), str(dollars(side_price(here, at, buy=terms.buy))))


@pytest.mark.parametrize(
    ("kind", "side", "limit", "stop", "expected"),
    [
        ("market", "buy", None, None, (0, "10.01")),
        ("market", "sell", None, None, (0, "10.0")),
        ("limit", "buy", "10.10", None, (0, "10.01")),  # the ask is better
        ("limit", "buy", "10.01", None, (0, "10.01")),
        ("limit", "buy", "10.00", None, (10.3, "10.0")),  # the first fall of a cent brings the ask there
        ("limit", "buy", "9.81", None, (16, "9.81")),
        ("limit", "buy", "9.51", None, (25, "9.51")),  # the ask at the low is enough
        ("limit", "buy", "9.50", None, None),
        ("limit", "sell", "9.90", None, (0, "10.0")),
        ("limit", "sell", "10.30", None, (38.6, "10.3")),
        ("limit", "sell", "10.50", None, (42, "10.5")),
        ("limit", "sell", "10.51", None, None),
        ("stop", "sell", None, "10.10", (0, "10.0")),  # the market starts beyond it
        ("stop", "sell", None, "9.60", (22, "9.6")),
        ("stop", "sell", None, "9.50", (25, "9.5")),
        ("stop", "sell", None, "9.49", None),
        ("stop", "buy", None, "9.90", (0, "10.01")),
        ("stop", "buy", None, "10.40", (40.1, "10.4")),
        ("stop", "buy", None, "10.51", (42, "10.51")),
        ("stop", "buy", None, "10.52", None),
    ],
)
def test_each_kind_at_a_spread_of_a_tick(
    kind: str, side: str, limit: str | None, stop: str | None, expected: tuple[float, str] | None
) -> None:
    terms = Terms(kind, side == "buy", D(limit) if limit else None, D(stop) if stop else None)
    assert traded(terms, stretch(ticks=1)) == expected


def test_the_low_comes_before_the_high_and_both_in_their_seconds() -> None:
    assert [first_reached(BAR, D(price), rising=False) for price in ("10", "9.5", "9.49")] == [0, 25 * SECOND, None]
    assert [first_reached(BAR, D(price), rising=True) for price in ("10", "10.5", "10.51")] == [0, 42 * SECOND, None]
    assert first_reached(BAR, D("9.75"), rising=False) == 17.5 * SECOND


def test_a_gap_below_the_stop_fills_at_the_open_and_one_above_the_target_too() -> None:
    stop, target = Terms("stop", buy=False, stop=D("9.60")), Terms("limit", buy=False, limit=D("10.40"))
    assert traded(stop, stretch(Bar(0, D("9.4"), D("10.7"), D("9.3"), D(10)))) == (0, "9.4")
    assert traded(target, stretch(Bar(0, D("10.6"), D("10.7"), D("9.5"), D(10)))) == (0, "10.6")
    # An order that arrives inside the minute sees only the rest of its path.
    assert traded(stop, stretch(), after=30 * SECOND) is None
    assert traded(target, stretch(), after=45 * SECOND) == (45, "10.45")


def test_the_ask_at_one_dollar_where_the_tick_changes() -> None:
    assert [ask_of(bid, 2) for bid in (999_900, DOLLAR)] == [1_000_100, 1_020_000]
    assert bid_under(1_000_100, 2, at_most=True) == bid_under(1_000_100, 2, at_most=False) == 999_900
    # No bid has the ask 1.01: the highest that is at most that, and the lowest that is at least.
    assert (bid_under(1_010_000, 2, at_most=True), bid_under(1_010_000, 2, at_most=False)) == (999_900, DOLLAR)


@pytest.mark.parametrize("options", [{"ticks": -1}, {"ticks": 1001}, {"of_range": 1.5}])
def test_a_spread_out_of_range_is_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="spread_"):
        Spread(**options)


def test_a_spread_of_the_range_widens_with_it() -> None:
    spread = Spread(1, of_range=0.1)
    assert (spread.core(10 * DOLLAR, 9_900_000, 10_100_000), spread.core(10 * DOLLAR, 10_000_000, 10_000_000)) == (2, 1)
    assert (Spread().outside(10 * DOLLAR), Spread().outside(2 * DOLLAR), Spread(0).outside(DOLLAR)) == (5, 5, 0)


cents = st.integers(50, 2000).map(lambda n: D(n) / 100)


@st.composite
def bars(draw: st.DrawFn) -> Bar:
    low, high = sorted((draw(cents), draw(cents)))
    inside = st.integers(int(low * 100), int(high * 100)).map(lambda n: D(n) / 100)
    return Bar(0, draw(inside), high, low, draw(inside))


@given(bars(), st.integers(0, 59_999), st.integers(0, 59_999))
def test_the_path_stays_in_its_bar_and_on_the_grid(bar: Bar, one: int, other: int) -> None:
    here = stretch(bar)
    for milli in (one, other):
        price = dollars(here.price(milli * 10**6))
        assert bar.low <= price <= bar.high
        assert not price % (D("0.01") if price >= 1 else D("0.0001"))
    shown = [trade.price for trade in here.prints]
    assert shown == [millionths(price) for price in (bar.open, bar.low, bar.high, bar.close)]


@given(bars(), st.integers(0, 59_999))
def test_the_quotes_shown_are_the_prices_of_the_path(bar: Bar, milli: int) -> None:
    here, at = stretch(bar, ticks=1), milli * 10**6
    in_force = [quote for quote in here.quotes if quote.at <= at][-1]
    assert (in_force.bid, in_force.ask) == (here.price(at), ask_of(here.price(at), 1))
    assert [quote.at for quote in here.quotes] == sorted({quote.at for quote in here.quotes})


@given(
    bars(),
    st.sampled_from(["limit", "stop", "stop_limit"]),
    st.booleans(),
    cents,
    cents,
    st.integers(0, 3),
    st.lists(st.integers(0, 59), max_size=4),
)
def test_a_trade_comes_at_its_level_whatever_the_cuts(
    bar: Bar, kind: str, buy: bool, limit: D, stop: D, ticks: int, cuts: list[int]
) -> None:
    """Looked at in parts, the path gives the same instant; before it no price met the terms, and at it one does."""
    here = stretch(bar, ticks)
    terms = Terms(kind, buy, limit if "limit" in kind else None, stop if "stop" in kind else None)
    at = terms.next_instant(here, 0)
    edges = sorted({0, *(cut * SECOND for cut in cuts)})
    found = [terms.next_instant(here, edge) for edge in edges]
    assert at == min((one for one in found if one is not None), default=None)
    assert all(one == at for edge, one in zip(edges, found, strict=True) if at is None or edge <= at)
    if at is None:
        assert not any(terms.meets(side_price(here, second * SECOND, buy=buy)) for second in range(60))
    else:
        assert terms.meets(side_price(here, at, buy=buy))
        assert at == 0 or not terms.meets(side_price(here, at - 1000, buy=buy))


@given(st.integers(9_000_000, 11_000_000), st.integers(9_000_000, 11_000_000))
def test_prices_off_the_grid_are_kept_at_the_ends_only(first: int, last: int) -> None:
    """Recorded bars hold fractions of a cent."""
    prices = [price for _, price in changes((Move(0, SECOND, first, last), Move(SECOND, 2 * SECOND, last, last)))]
    assert (prices[0], prices[-1]) == (first, last)
    assert all(price % 10_000 == 0 for price in prices[1:-1])
    assert prices == sorted(prices, reverse=last < first)

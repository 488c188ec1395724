"""The cost of a round trip that labels and outcomes assume is the one that the exchange takes, to the cent."""

from __future__ import annotations

import numpy as np
import pytest

from config import Settings
from tests.exchange.exchange_world import MONDAY, HandMade, Venue, ny
from tests.exchange.order_requests import market
from trading.rules.costs import round_trip_cost_pct
from trading.rules.labels import LabelRules


@pytest.mark.parametrize("price", [0.85, 0.9999, 1.0, 1.37, 9.99, 250.0])
def test_buying_and_selling_costs_what_is_assumed(price: float) -> None:
    bars = [(f"10:{minute:02d}", price, price, price, price) for minute in range(30, 40)]
    here = Venue(HandMade({"AAA": {MONDAY: bars}}), ny(MONDAY, "10:31:02"), spread_ticks=1)
    rules = LabelRules.of(Settings().exits)
    bought = here.trading.submit_order(market())
    here.later(1)
    paid = float(here.trading.get_order_by_id(bought.id).filled_avg_price)
    assert paid == pytest.approx(rules.paid(price), abs=1e-9)
    sold = here.trading.submit_order(market("sell"))
    here.later(1)
    assert here.trading.get_order_by_id(sold.id).filled_at is not None
    lost = 100_000 - float(here.exchange.snapshot().cash)
    assumed = round_trip_cost_pct(np.array([price]), 0.0, rules.spread_ticks)[0] / 100 * price
    assert lost / 5 == pytest.approx(assumed, abs=1e-9)

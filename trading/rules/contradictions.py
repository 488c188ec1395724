"""Settings of the exits, the label and the cost that contradict each other, so that no trade could win."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trading.base.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config import ExitSettings, Settings


def check_label(exits: ExitSettings, sources: Mapping[str, str]) -> None:
    """Check that trades with these exits can reach the label.

    Args:
        sources: setting -> where its value is from, for the message.

    Raises:
        UserError: none could.
    """
    needed = exits.ROUND_TRIP_COST + exits.LABEL_MIN_PROFIT
    if exits.LABEL_MIN_PROFIT and needed >= exits.TAKE_PROFIT_PCT:
        source = sources.get("LABEL_MIN_PROFIT") or sources.get("TAKE_PROFIT_PCT", "settings")
        raise UserError(
            f"{source}: LABEL_MIN_PROFIT={exits.LABEL_MIN_PROFIT:g}: with ROUND_TRIP_COST="
            f"{exits.ROUND_TRIP_COST:g} it is not below TAKE_PROFIT_PCT={exits.TAKE_PROFIT_PCT:g}, so no trade "
            "could win; it is a fraction, 0.002 for 0.2 per cent"
        )
    if exits.LABEL == "target_first" and exits.LABEL_TARGET_PCT > exits.TAKE_PROFIT_PCT:
        low, high = "TAKE_PROFIT_PCT", "LABEL_TARGET_PCT"
        profit, target = f"{low}={exits.TAKE_PROFIT_PCT:g}", f"{high}={exits.LABEL_TARGET_PCT:g}"
        unit = "it is a fraction, 0.005 for 0.5 per cent"
        if low in sources and high not in sources:
            raise UserError(
                f"{sources[low]}: {profit}: a position is sold there, below {target}, which the label asks for; lower "
                f"{high} too; {unit}"
            )
        raise UserError(
            f"{sources.get(high, 'settings')}: {target}: it is above {profit}, at which a position is sold; {unit}"
        )


def check_spread(settings: Settings, sources: Mapping[str, str]) -> None:
    """Check that a trade in the price band can make up for the spread, which weighs least at MAX_PRICE.

    Args:
        sources: setting -> where its value is from, for the message.

    Raises:
        UserError: none could.
    """
    from trading.rules.costs import step  # NumPy takes a tenth of a second to import

    exits, price = settings.exits, settings.data.MAX_PRICE
    spread = exits.SPREAD_TICKS * step(price)
    cost = max(exits.ROUND_TRIP_COST, spread / price) + exits.LABEL_MIN_PROFIT
    if exits.LABEL == "target_first" and (price + spread) * (1.0 - exits.STOP_LOSS_PCT) >= price:
        problem = f"it alone loses STOP_LOSS_PCT={exits.STOP_LOSS_PCT:g} at the entry, before the target can be reached"
    elif exits.LABEL == "profit" and cost >= exits.TAKE_PROFIT_PCT:
        problem = f"a trade costs as much as it gains at TAKE_PROFIT_PCT={exits.TAKE_PROFIT_PCT:g}"
    else:
        return
    names = ("SPREAD_TICKS", "ROUND_TRIP_COST", "MAX_PRICE", "STOP_LOSS_PCT", "TAKE_PROFIT_PCT")
    name = next((name for name in names if name in sources), names[0])
    raise UserError(
        f"{sources.get(name, 'settings')}: {name}={settings.by_name()[name]:g}: with a spread of "
        f"SPREAD_TICKS={exits.SPREAD_TICKS:g} no trade up to MAX_PRICE={price:g} could win: {problem}; at $1 and over, "
        "a tick is a cent"
    )

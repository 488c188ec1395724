"""JSON objects of the account, positions, assets and activities."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from paper_exchange.account.checks import account_state
from paper_exchange.base.calendar import day_of
from paper_exchange.base.wire import JsonObject, from_ns, magnitude, number, price_of, rfc3339

if TYPE_CHECKING:
    from paper_exchange.account.engine import Engine
    from paper_exchange.books.ledger import Holding
    from paper_exchange.market.interface import Listing
    from paper_exchange.orders.order import Fill

CENTS = 2


def account(engine: Engine, now: int) -> JsonObject:
    """The body of `/v2/account`."""
    ledger, state = engine.ledger, account_state(engine, now)
    equity = engine.valuation.equity(now)
    power = engine.valuation.buying_power(now)
    multiplier = engine.valuation.multiplier(now)
    last = engine.last_equity(now)
    long, short = engine.valuation.values(now)
    money = {
        "buying_power": power,
        "regt_buying_power": power,
        "non_marginable_buying_power": power / multiplier,
        "options_buying_power": Decimal(0),
        "cash": ledger.cash,
        "accrued_fees": Decimal(0),
        "pending_transfer_in": Decimal(0),
        "pending_transfer_out": Decimal(0),
        "portfolio_value": equity,
        "equity": equity,
        "last_equity": last,
        "long_market_value": long,
        "short_market_value": short,
        "position_market_value": long - short,
        "initial_margin": engine.valuation.initial_margin(now),
        "maintenance_margin": engine.valuation.maintenance_margin(now),
        "last_maintenance_margin": Decimal(0),
        "sma": Decimal(0),
        "intraday_adjustments": Decimal(0),
        "pending_reg_taf_fees": Decimal(0),
    }
    return {
        "id": engine.account_id,
        "account_number": "PA" + engine.account_id.replace("-", "")[:10].upper(),
        "status": state.status,
        "crypto_status": "INACTIVE",
        "currency": "USD",
        "created_at": rfc3339(engine.created_at),
        "balance_asof": _last_day(engine, now),
        "multiplier": str(multiplier),
        "shorting_enabled": engine.may_short and multiplier > 1,
        "trading_blocked": state.trading_blocked,
        "transfers_blocked": False,
        "account_blocked": state.account_blocked,
        "trade_suspended_by_user": engine.configurations["suspend_trade"],
        "options_approved_level": 0,
        "options_trading_level": 0,
    } | {name: number(amount, CENTS) for name, amount in money.items()}


def _last_day(engine: Engine, now: int) -> str:
    today = day_of(now)
    newest = engine.calendar.closing_after(now).index
    sessions = engine.calendar.sessions[max(0, newest - 3) : newest + 1]
    return max((session.day for session in sessions if session.day < today), default=today).isoformat()


def shown_positions(engine: Engine, now: int, lag: float = 0.0) -> dict[str, Holding]:
    """The positions that GET shows, by symbol: some fills are shown late (`position_lag`), or all by `lag` seconds.

    The books have every fill at once, and orders are checked against the books.
    """
    hidden, longest = round(lag * 10**9), engine.behaviour.longest_lag

    def is_hidden(fill: Fill) -> bool:
        sequence = engine.registry.orders[fill.order_id].sequence
        return now < fill.at + hidden or not engine.behaviour.is_shown(fill, sequence, now)

    if not max(hidden, longest):
        return engine.ledger.holdings
    return engine.ledger.shown(is_hidden, now - max(hidden, longest))


def position(engine: Engine, holding: Holding, now: int) -> JsonObject:
    """One entry of `/v2/positions`; the price is the close of the latest finished bar."""
    price = engine.valuation.price(holding.symbol, now)
    before = _lastday_price(engine, holding, now)
    value = holding.qty * price
    gain = value - holding.cost
    today = holding.overnight * (price - before) + (holding.qty - holding.overnight) * (price - holding.average)
    basis = magnitude(holding.overnight) * before + magnitude(holding.qty - holding.overnight) * holding.average
    free = max(magnitude(holding.qty) - engine.registry.held_qty(holding.symbol), Decimal(0))
    listing = engine.tape.listings[holding.symbol]
    return {
        "asset_id": engine.asset_id(holding.symbol),
        "symbol": holding.symbol,
        "exchange": listing.exchange,
        "asset_class": "us_equity",
        "asset_marginable": engine.ledger.margin,
        "qty": number(holding.qty),
        "qty_available": number(free if holding.qty > 0 else -free),
        "avg_entry_price": number(holding.average, 6),
        "side": "long" if holding.qty > 0 else "short",
        "market_value": number(value, 6),
        "cost_basis": number(holding.cost, 6),
        "unrealized_pl": number(gain, 6),
        "unrealized_plpc": number(gain / abs(holding.cost), 12),
        "unrealized_intraday_pl": number(today, 6),
        "unrealized_intraday_plpc": number(today / basis, 12),
        "current_price": number(price),
        "lastday_price": number(before),
        "change_today": number(price / before - 1, 12),
    }


def _lastday_price(engine: Engine, holding: Holding, now: int) -> Decimal:
    """Close of the last session before today with a trade; the entry price if there is none."""
    today = day_of(now)
    for session in engine.tape.recent_sessions(now):
        if session.day < today:
            bars = engine.tape.session_bars(holding.symbol, session)
            if len(bars):
                return price_of(bars.close[-1])
    return holding.average


def asset(engine: Engine, listing: Listing, now: int) -> JsonObject:
    """One entry of `/v2/assets`."""
    halted = engine.tape.halted(listing.symbol, now)
    return {
        "id": engine.asset_id(listing.symbol),
        "class": "us_equity",
        "exchange": listing.exchange,
        "symbol": listing.symbol,
        "name": listing.name,
        "status": "active" if listing.active else "inactive",
        "tradable": listing.tradable and listing.active and not halted,
        "marginable": engine.ledger.margin,
        "shortable": listing.shortable,
        "easy_to_borrow": listing.shortable,
        "borrow_status": "easy_to_borrow" if listing.shortable else "hard_to_borrow",
        "fractionable": listing.fractionable,
        "maintenance_margin_requirement": 30 if engine.ledger.margin else 100,
        "margin_requirement_long": "30" if engine.ledger.margin else "100",
        "margin_requirement_short": "30" if engine.ledger.margin else "100",
        "attributes": [],
    }


def activity(engine: Engine, fill: Fill) -> JsonObject:
    """One FILL of `/v2/account/activities`."""
    stamp = from_ns(fill.at).strftime("%Y%m%d%H%M%S") + f"{fill.sequence % 1000:03d}"
    return {
        "id": f"{stamp}::{fill.order_id}",
        "account_id": engine.account_id,
        "activity_type": "FILL",
        "transaction_time": rfc3339(fill.at),
        "type": "partial_fill" if fill.leaves else "fill",
        "price": number(fill.price),
        "qty": number(fill.qty),
        "side": fill.side,
        "symbol": fill.symbol,
        "leaves_qty": number(fill.leaves),
        "order_id": fill.order_id,
        "cum_qty": number(fill.cumulative or fill.qty),
        "order_status": "partially_filled" if fill.leaves else "filled",
    }

"""Routes of the market-data half: bars, trades, quotes, auctions, snapshots, screener, code lists."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, request

from paper_exchange.base.replies import reply, with_now
from paper_exchange.base.wire import ApiError, JsonObject
from paper_exchange.market.tape import Tape
from paper_exchange.market_data import ticks
from paper_exchange.market_data.minutes import EncodedMinutes
from paper_exchange.market_data.pages import RowSource, day_json, page, to_rows
from paper_exchange.market_data.query import check_latest, choice, page_request, symbols_of, whole
from paper_exchange.market_data.screener import most_actives, movers

ROW_SOURCES: dict[str, RowSource | None] = {
    "bars": None,
    "trades": ticks.trades,
    "quotes": ticks.quotes,
    "auctions": ticks.auctions,
}
Latest = Callable[[Tape, str, int], JsonObject | None]


def data_routes(tape: Tape) -> Blueprint:
    """All market-data routes over one tape."""
    routes = Blueprint("data", __name__)
    _page_routes(routes, tape)
    _latest_routes(routes, tape)
    _snapshot_routes(routes, tape)
    _screener_routes(routes, tape)
    _code_routes(routes)
    return routes


def _page_routes(routes: Blueprint, tape: Tape) -> None:
    minutes = EncodedMinutes()

    @routes.get("/v2/stocks/<any(bars, trades, quotes, auctions):what>")
    @with_now
    def many(now: int, what: str) -> Response:
        query = page_request(request.args, symbols_of(request.args.get("symbols")), now, bars=what == "bars")
        found, token = page(_of_feed(tape, what, "sip"), query, ROW_SOURCES[what], minutes)
        return reply({what: found, "next_page_token": token} | _currency())

    @routes.get("/v2/stocks/<symbol>/<any(bars, trades, quotes, auctions):what>")
    @with_now
    def one(now: int, symbol: str, what: str) -> Response:
        query = page_request(request.args, _one(symbol), now, bars=what == "bars")
        found, token = page(_of_feed(tape, what, "sip"), query, ROW_SOURCES[what], minutes)
        return reply({what: found.get(symbol, []), "symbol": symbol, "next_page_token": token} | _currency())


def _latest_routes(routes: Blueprint, tape: Tape) -> None:
    makers: dict[str, Latest] = {"bars": _bar, "trades": _trade, "quotes": _quote}

    @routes.get("/v2/stocks/<any(bars, trades, quotes):what>/latest")
    @with_now
    def latest(now: int, what: str) -> Response:
        check_latest(request.args)
        of_feed = _of_feed(tape, what, "iex")
        found = {name: makers[what](of_feed, name, now) for name in symbols_of(request.args.get("symbols"))}
        return reply({what: {name: one for name, one in found.items() if one is not None}} | _currency())

    @routes.get("/v2/stocks/<symbol>/<any(bars, trades, quotes):what>/latest")
    @with_now
    def latest_of_one(now: int, symbol: str, what: str) -> Response:
        check_latest(request.args)
        found = makers[what](_of_feed(tape, what, "iex"), _one(symbol)[0], now)
        if found is None:
            raise ApiError(404, f"no {what[:-1]} found for {symbol}")
        return reply({"symbol": symbol, what[:-1]: found} | _currency())


def _snapshot_routes(routes: Blueprint, tape: Tape) -> None:
    @routes.get("/v2/stocks/snapshots")
    @with_now
    def snapshots(now: int) -> Response:
        check_latest(request.args)
        found = {name: _snapshot(tape, name, now) for name in symbols_of(request.args.get("symbols"))}
        return reply({name: one for name, one in found.items() if one is not None})

    @routes.get("/v2/stocks/<symbol>/snapshot")
    @with_now
    def snapshot_of_one(now: int, symbol: str) -> Response:
        check_latest(request.args)
        found = _snapshot(tape, _one(symbol)[0], now)
        if found is None:
            raise ApiError(404, f"no snapshot found for {symbol}")
        return reply({"symbol": symbol} | found | _currency())


def _screener_routes(routes: Blueprint, tape: Tape) -> None:
    @routes.get("/v1beta1/screener/stocks/most-actives")
    @with_now
    def actives(now: int) -> Response:
        by = choice(request.args, "by", ("volume", "trades")) or "volume"
        return reply(most_actives(tape, by, whole(request.args, "top", 10, 100), now))

    @routes.get("/v1beta1/screener/<market_type>/movers")
    @with_now
    def moves(now: int, market_type: str) -> Response:
        if market_type != "stocks":
            raise ApiError(400, f"invalid market_type: {market_type}; this exchange has stocks")
        return reply(movers(tape, whole(request.args, "top", 10, 50), now))


def _code_routes(routes: Blueprint) -> None:
    @routes.get("/v2/stocks/meta/exchanges")
    @with_now
    def exchanges(now: int) -> Response:
        return reply(ticks.EXCHANGES)

    @routes.get("/v2/stocks/meta/conditions/<ticktype>")
    @with_now
    def conditions(now: int, ticktype: str) -> Response:
        if ticktype not in ticks.CONDITIONS:
            raise ApiError(400, f"invalid ticktype: {ticktype}")
        if not choice(request.args, "tape", ("A", "B", "C")):
            raise ApiError(400, "tape is required: A, B or C")
        return reply(ticks.CONDITIONS[ticktype])


def _of_feed(tape: Tape, what: str, default: str) -> Tape:
    """The tape of the requested feed; coverage thins its bars, not its trades and quotes."""
    return tape.iex if what == "bars" and (request.args.get("feed") or default) == "iex" else tape


def _one(symbol: str) -> list[str]:
    names = symbols_of(symbol)
    if names != [symbol]:
        raise ApiError(400, f"invalid symbol: {symbol}")
    return names


def _currency() -> dict[str, str]:
    """The reply names the currency only if the request does."""
    return {"currency": "USD"} if request.args.get("currency") else {}


def _bar(tape: Tape, symbol: str, now: int) -> JsonObject | None:
    if symbol not in tape.listings:
        return None
    for session in tape.recent_sessions(now):
        bars = tape.day.published(symbol, session, now)
        if len(bars):
            return to_rows(bars, len(bars) - 1, len(bars))[0][1]
    return None


def _trade(tape: Tape, symbol: str, now: int) -> JsonObject | None:
    return ticks.latest_trade(tape, symbol, now) if symbol in tape.listings else None


def _quote(tape: Tape, symbol: str, now: int) -> JsonObject | None:
    return ticks.latest_quote(tape, symbol, now) if symbol in tape.listings else None


def _snapshot(tape: Tape, symbol: str, now: int) -> JsonObject | None:
    bars = _of_feed(tape, "bars", "iex")
    bar = _bar(bars, symbol, now)
    if bar is None:
        return None
    days = [found for session in bars.recent_sessions(now, 5) if (found := bars.day_bar(symbol, session, now))]
    body = {
        "latestTrade": _trade(tape, symbol, now),
        "latestQuote": _quote(tape, symbol, now),
        "minuteBar": bar,
    }
    for field, day in zip(("dailyBar", "prevDailyBar"), days, strict=False):
        body[field] = day_json(day)
    return body

"""Generated stocks under symbols of one's choice, for bots that ask for SPY or AAPL.

Price levels and volumes of well-known stocks and funds are invented, of the size that they had in 2025; the course of
their prices is generated as for all others, and has nothing to do with that of the real stock.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paper_exchange.market.generator.stocks import Stocks

BUSY: Final = 14.0  # mean number of trades a minute: every minute has a bar
MIDDAY: Final = 0.6  # volume of a median midday minute, of the day's average
MINUTES: Final = 390
FUND_VOLATILITY: Final = 0.004  # of a fund's own returns over a session: it mostly moves with the market
CALMER: Final = 0.4  # own volatility of a well-known stock, as a fraction of the one drawn for a small stock
BAND: Final = 2.0  # beyond so many times its first price, or below that part of it, a price is drawn back


class Level(NamedTuple):
    """A first price in dollars, and the shares of an average day in millions."""

    price: float
    millions: float


FUNDS: Final = (
    "ARKK 60 15,DIA 440 4,EEM 45 25,EFA 80 15,GLD 300 10,HYG 80 35,IVV 600 5,IWM 230 30,LQD 110 25,QQQ 540 45,"
    "SLV 34 20,SMH 260 7,SOXL 24 60,SPY 610 65,SQQQ 24 90,TLT 88 40,TQQQ 75 60,UVXY 20 25,VOO 560 6,VTI 300 4,"
    "VXX 50 8,XLE 90 15,XLF 51 40,XLK 235 6,XLV 140 9"
)
STOCKS: Final = (
    "AAL 13 45,AAPL 230 50,ABBV 190 6,ABNB 130 5,ADBE 420 4,AMC 3.2 15,AMD 140 45,AMZN 215 40,AVGO 230 25,"
    "BA 190 8,BABA 120 18,BAC 45 40,BRK.B 490 4,C 80 15,CCL 24 25,COIN 280 12,COST 960 2,CRM 270 7,CSCO 64 20,"
    "CVX 150 9,DIS 112 10,F 10.8 80,GE 230 5,GM 52 12,GME 25 12,GOOG 182 20,GOOGL 180 30,HD 370 4,HOOD 70 35,"
    "IBM 260 4,INTC 22 80,JNJ 155 8,JPM 265 9,KO 70 15,LCID 2.4 90,LLY 780 4,LOW 235 3,MA 550 3,MARA 16 45,"
    "META 640 13,MRK 82 14,MSFT 450 22,MU 105 22,NFLX 1100 4,NIO 4.2 50,NKE 68 14,NVDA 140 220,ORCL 180 12,"
    "PEP 135 8,PFE 25 40,PG 165 8,PLTR 115 85,PLUG 1.6 90,PYPL 72 11,QCOM 155 8,RIOT 10 30,RIVN 13.5 35,"
    "SBUX 90 10,SMCI 42 45,SNAP 8.6 40,SOFI 14 55,T 28 35,TSLA 330 95,TSM 200 15,UBER 85 20,UNH 320 10,"
    "V 350 6,VZ 42 18,WFC 75 14,WMT 97 16,XOM 108 15"
)


def _levels(text: str) -> dict[str, Level]:
    rows = (row.split() for row in text.split(","))
    return {symbol: Level(float(price), float(millions)) for symbol, price, millions in rows}


FUND_LEVELS: Final = _levels(FUNDS)
LEVELS: Final = FUND_LEVELS | _levels(STOCKS)


def named(stocks: Stocks, symbols: Iterable[str]) -> Stocks:
    """The stocks under other symbols; well-known symbols get their usual price, volume and calm.

    All of them are active, tradable and easy to borrow.
    """
    names = sorted(symbols)
    listings = tuple(
        replace(one, symbol=name, name=f"{name} (generated prices)", tradable=True, active=True, shortable=True)
        for name, one in zip(names, stocks.listings, strict=True)
    )
    known = [i for i, name in enumerate(names) if name in LEVELS]
    funds = [i for i, name in enumerate(names) if name in FUND_LEVELS]
    found = replace(
        stocks,
        listings=listings,
        **{field: getattr(stocks, field).copy() for field in ("price", "volatility", "beta", "volume", "activity")},
        floor=stocks.floor.copy(),
        ceiling=stocks.ceiling.copy(),
    )
    _set_levels(found, names, known)
    found.volatility[known] *= CALMER
    found.volatility[funds], found.beta[funds] = FUND_VOLATILITY, 1.0
    return found


def _set_levels(stocks: Stocks, names: Sequence[str], known: list[int]) -> None:
    levels = np.array([LEVELS[names[i]] for i in known]).reshape(len(known), len(Level._fields))
    stocks.price[known] = levels[:, 0]
    stocks.volume[known] = levels[:, 1] * 1e6 / MINUTES * MIDDAY
    stocks.activity[known] = BUSY
    stocks.floor[known], stocks.ceiling[known] = levels[:, 0] / BAND, levels[:, 0] * BAND

"""The words that a page explains when they are pressed."""

from __future__ import annotations

import re
from typing import Final

from markupsafe import Markup, escape

GLOSSARY: Final[dict[str, str]] = {
    "95% interval": "The range that the true figure lies in, in 95 of 100 cases. Whole sessions are drawn again and "
    "again from those that were traded (bootstrap), because trades of one day depend on each other.",
    "Sharpe ratio": "Mean daily return divided by its standard deviation, times the square root of 252. Above 1 is "
    "good if it lasts; a few weeks say little.",
    "Sortino ratio": "Like the Sharpe ratio, but only losses count as risk.",
    "Calmar ratio": "Return a year divided by the deepest drawdown, seen at the close of each session.",
    "drawdown": "How far the equity fell below an earlier peak.",
    "profit factor": "Dollars gained divided by dollars lost. Below 1 the trades lose.",
    "expectancy": "What a trade brought on average.",
    "exposure": "Share of the trading time in which at least one position was held.",
    "turnover": "Dollars bought per session, as a share of the equity.",
    "win rate": "Share of the trades that gained. Many small gains and a few large losses still lose.",
    "slippage": "The difference between the price at the decision and the price of the fill.",
    "spread": "Ask minus bid: buying at the ask and selling at the bid costs it.",
    "assumed cost": "What buying and selling again costs: the larger of ROUND_TRIP_COST and SPREAD_TICKS price steps. "
    "The prices of the fills contain the spread already, so only the part beyond it is deducted from the results.",
    "cost beyond the spread": "The part of the assumed cost that is deducted from the booked result: ROUND_TRIP_COST "
    "less SPREAD_TICKS price steps, at least 0. The spread itself is in the prices of the fills.",
    "confidence": "The probability that the prediction comes true that MIN_CONFIDENCE is compared with, by default the "
    "model's own, before calibration.",
    "win probability": "The model's own probability after calibration: corrected by how often such came true on other "
    "sessions. It is not the probability of a profit.",
    "came true": "The price reached the target of the prediction before it lost the stop. It is not a profit.",
    "equity": "What the account is worth: cash and positions.",
    "quote": "Bid and ask: the highest price that a buyer offers, and the lowest that a seller asks.",
    "bar": "Open, high, low, close and volume of a stock over one minute.",
    "median": "Half of the values lie below it.",
    "probability of overfitting": "The sessions are cut into blocks. Of every half of the blocks the best setting is "
    "chosen; this is how often it is not above the median on the other half.",
    "deflated Sharpe ratio": "The probability that the best setting's true Sharpe ratio is above what the best of so "
    "many settings reaches by luck.",
    "coin-flipped": "Every minute's move is turned round by a coin, one coin for all stocks: volatility stays, and "
    "nothing can be known about direction.",
    "log loss": "How far probabilities are from what happened: 0 is perfect, always saying 50% gives 0.69. Confident "
    "mistakes count most.",
    "Brier score": "The mean squared distance between the probability and what happened, 1 or 0. Lower is better.",
    "ROC-AUC": "How often a row that came true was ranked above one that did not. 0.5 is a coin.",
    "base rate": "The share of rows that came true in the history before. Always saying it needs no model.",
    "calibrated": "A probability that was corrected by how often such probabilities came true on other sessions.",
    "best tenth": "Of the stocks of a minute, the tenth with the highest confidence.",
    "against its minute": "The outcome minus the mean outcome of all stocks in the same minute: what the choice of the "
    "stock was worth, without the luck of the day.",
    "precision": "Of the signals, the share that came true.",
    "recall": "Of all rows that came true, the share that was a signal.",
    "accuracy": "The share of rows on which the probability lay on the right side of 50%.",
    "signal": "A prediction that reaches the threshold, MIN_CONFIDENCE.",
    "walk-forward": "Every session is scored by a model that was trained on the sessions before it alone.",
    "bp": "Basis point: a hundredth of a per cent.",
    "80% power": "In 80 of 100 cases an effect of that size would be seen.",
    "permutation importance": "How much worse the model gets when one feature is taken from another row.",
    "universe": "The stocks that were considered on a day.",
}
"""Term -> its meaning; the first letter may also be written in upper case."""

_BY_LOWER: Final = {term.lower(): term for term in GLOSSARY}
_TERMS: Final = re.compile(
    r"\b(" + "|".join(re.escape(term) for term in sorted(GLOSSARY, key=len, reverse=True)) + r")(?!\w)", re.IGNORECASE
)
_OPTION: Final = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def anchor(term: str) -> str:
    """The HTML id of a term's explanation."""
    return "term-" + re.sub(r"\W+", "-", term.lower())


def with_terms(text: str) -> Markup:
    """A text for HTML in which each term of the glossary opens its meaning, at its first occurrence.

    The name of an option, such as `--why`, is not broken at its hyphens.
    """
    seen: set[str] = set()

    def button(found: re.Match[str]) -> str:
        term = _BY_LOWER[found[0].lower()]
        if term in seen:
            return found[0]
        seen.add(term)
        return f'<button type="button" class="term" popovertarget="{anchor(term)}">{found[0]}</button>'

    whole = _OPTION.sub(r'<span class="option">\g<0></span>', str(escape(text)))
    return Markup(_TERMS.sub(button, whole))

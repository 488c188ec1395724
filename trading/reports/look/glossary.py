"""The words that a page explains when they are pressed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from trading.reports.page import Method

GLOSSARY: Final[dict[str, str]] = {
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
    "bootstrap": "Whole sessions are drawn again and again from those that were traded, as many as there are. The "
    "figure of each draw shows how far it depends on the sessions that happened to be traded.",
    "jackknife": "The figure is computed again without each session in turn. How much it changes shows how far it "
    "depends on single sessions.",
    "Student's t": "The distribution by which the mean of a few values is judged: with few sessions its intervals are "
    "wider than those of the normal distribution.",
    "Clopper-Pearson": "The exact interval of a share, from the binomial distribution.",
    "p, corrected": "The probability of a difference at least as large if there were none, corrected for the number of "
    "comparisons on the page (Holm). Below 0.05 a difference counts as shown.",
    "Holm": "A correction for many comparisons: the more there are, the larger a difference must be to count.",
    "random split": "Rows are drawn at random for training and testing, so both have minutes of the same hours. It "
    "promises more than the future holds.",
    "reliability": "Whether predictions of 60% come true in 60 of 100 cases, those of 70% in 70, and so on.",
    "calibration": "The correction of probabilities by how often such probabilities came true on other sessions.",
    "ROC": "A curve: for every threshold, the share of hits (true positive rate) against the share of false alarms "
    "(false positive rate).",
    "precision-recall": "A curve: for every threshold, precision against recall.",
    "true positive rate": "Of the rows that came true, the share that was a signal: the same as recall.",
    "false positive rate": "Of the rows that did not come true, the share that was a signal.",
    "5% below": "5% of the values lie below it (the 5th percentile).",
    "5% above": "5% of the values lie above it (the 95th percentile).",
}
"""Term -> its meaning; the first letter may also be written in upper case."""

_MEANS: Final = "The range that the true figure lies in, in 95 of 100 cases (a 99% interval: in 99)."

INTERVALS: Final[dict[str, str]] = {
    "95% interval": f"{_MEANS} How it was computed is not told here.",
    "95% interval (bootstrap)": f"{_MEANS} Whole sessions are drawn again and again from those that were traded "
    "(bootstrap), because trades of one day depend on each other; the middle 95% of the draws are the interval.",
    "95% interval (jackknife)": f"{_MEANS} The figure is computed again without each session in turn (jackknife); from "
    "how much it changes follows the interval, by Student's t for so few sessions.",
    "95% interval (Student's t)": f"{_MEANS} Each session gives one value, and the interval is that of their mean by "
    "Student's t: from how much the sessions differ and how few they are.",
    "95% interval (jackknife or Student's t)": f"{_MEANS} Scores by session and log losses are means of one value a "
    "session, with the interval of Student's t. Shares, outcomes and scores within the minute are means over rows: "
    "they are computed again without each session in turn (jackknife).",
    "95% interval (Clopper-Pearson)": f"{_MEANS} The exact interval of a share (Clopper-Pearson, from the binomial "
    "distribution). It takes trades as independent; those of one day are not, so it is too narrow.",
}
"""What the word interval opens, by the method that the words beside it have (`Section.method`)."""

_BY_LOWER: Final = {str(escape(term)).lower(): term for term in GLOSSARY}
"""Term as it is written in HTML, in lower case -> the term."""

_INTERVAL: Final = r"(?:9[59]% )?intervals?"
_TERMS: Final = re.compile(
    rf"\b({_INTERVAL}|{'|'.join(re.escape(term) for term in sorted(_BY_LOWER, key=len, reverse=True))})(?!\w)",
    re.IGNORECASE,
)
_OPTION: Final = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def anchor(term: str) -> str:
    """The HTML id of a term's explanation."""
    return "term-" + re.sub(r"\W+", "-", term.lower()).strip("-")


def with_terms(text: str, method: Method | None = None) -> Markup:
    """A text for HTML in which each term of the glossary opens its meaning, at its first occurrence.

    The name of an option, such as `--why`, is not broken at its hyphens.

    Args:
        method: how the intervals of the text were computed.
    """
    seen: set[str] = set()
    interval = f"95% interval ({method})" if method else "95% interval"

    def button(found: re.Match[str]) -> str:
        term = _BY_LOWER.get(found[0].lower(), interval)
        if term in seen:
            return found[0]
        seen.add(term)
        return f'<button type="button" class="term" popovertarget="{anchor(term)}">{found[0]}</button>'

    whole = _OPTION.sub(r'<span class="option">\g<0></span>', str(escape(text)))
    return Markup(_TERMS.sub(button, whole))

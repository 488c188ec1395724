"""The verdict on a backtest in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trading.performance.figures import SESSIONS_A_YEAR
from trading.performance.intervals import MIN_SESSIONS
from trading.performance.overfitting import MIN_COMBINATIONS, MOST_OVERFIT, SURE, compounded
from trading.performance.universe import against_universe
from trading.reports.live import DIRECTION
from trading.reports.page import GENERATED, counted, fine, share
from trading.reports.traded.words import dollars, luck, universe_in_words

if TYPE_CHECKING:
    from trading.reports.backtested.material import Fall, Held, Run, Sweep

MOST_SYMBOLS: Final = 5
"""Stocks that are named of those still held."""

FEW_FOR_A_RATIO: Final = f" The best of {MIN_SESSIONS} sessions or more is chosen by its Sharpe ratio."

NOT_FLIPPED: Final = "No coin-flipped copies of the bars were traded (--flipped 0, or --walk-forward)."


def percent(fraction: float) -> str:
    """`+1.25%` of a fraction, and `+0.0123%` of a small one."""
    return fine(fraction, sign=True)


def fall_in_words(fall: Fall) -> str:
    """`-$12.30 (0.0123%)`, or `$0.00` without a fall."""
    return f"{dollars(-fall.dollars)} ({fine(fall.fraction)})" if round(fall.dollars, 2) else "$0.00"


def still_held(held: Held, counted_in: str) -> str:
    """What is held after the last session, what it is worth, and which figures count it; empty if nothing is held."""
    count, gain = len(held.symbols), round(held.gain, 2)
    if not count:
        return ""
    names = ", ".join([*held.symbols[:MOST_SYMBOLS], *(["..."] if count > MOST_SYMBOLS else [])])
    against = (
        f"{dollars(abs(gain), sign=False)} {'more' if gain > 0 else 'less'} than paid" if gain else "as much as paid"
    )
    return (
        f" {counted(count, 'position')} ({names}) {'is' if count == 1 else 'are'} still held at the end, worth "
        f"{dollars(held.value, sign=False)}, {against}; {counted_in}."
    )


def of_seen(seen: int, sessions: int) -> str:
    """That the model was trained on `seen` of the sessions that are traded again."""
    which = f"{seen} of these {sessions} sessions"
    if seen == sessions:
        which = "The only session" if sessions == 1 else f"All {sessions} sessions"
    return f"{which} trained the model: what it earned on {'it' if seen == 1 else 'them'} says nothing."


def of_sweep(sweep: Sweep) -> list[str]:
    """Whether the best combination is more than luck, and what says so."""
    if not sweep.traded:
        nothing = f"No setting traded: none of the {len(sweep.settings):,} made a trade, so there is no best one."
        return [nothing, *_ending(sweep)]
    found, count = sweep.choice, len(sweep.settings)
    best = float(compounded(sweep.returns)[found.best])
    lines = [_headline(sweep)]
    lines.append(
        f"The best by its {measure_in_words(sweep)} is {sweep.named(found.best)}: {percent(best)} over "
        f"{counted(len(sweep.about.days), 'session')}, after the assumed cost."
        f"{'' if sweep.by_ratio else FEW_FOR_A_RATIO}"
        f"{still_held(sweep.settings[found.best].held, 'its result counts that')}"
    )
    if found.overfitting is not None and found.deflated is not None and found.expected_best is not None:
        year = SESSIONS_A_YEAR**0.5  # both are None below MIN_SESSIONS, so the measure is the Sharpe ratio
        lines += [
            f"Probability of overfitting {share(found.overfitting, 0)}: the share of the ways to halve the sessions in "
            "which the best setting of one half is not above the median on the other half. Luck alone gives about 50%, "
            "and somewhat more among few settings; "
            f"up to {share(MOST_OVERFIT, 0)} counts as more than luck.",
            f"Deflated Sharpe ratio {_probability(found.deflated)}: the probability that its Sharpe ratio, "
            f"{year * sweep.measured[found.best]:.2f}, is above the {year * found.expected_best:.2f} that luck gives "
            f"to the best of {found.distinct:,}. From {SURE} on it counts as more than luck.",
        ]
    if sweep.flipped:
        copies = "copy" if len(sweep.flipped) == 1 else "copies"
        lines.append(
            f"On {len(sweep.flipped)} coin-flipped {copies} of the bars, where "
            f"nothing can be known, the best of the same {count:,} settings had at least this "
            f"{measure_in_words(sweep)} {sweep.as_good} of {len(sweep.flipped)} times."
        )
    else:
        lines.append(NOT_FLIPPED)
    lines.append(_later(sweep))
    if sweep.best_run is not None:
        lines += [f"Of the best setting, which was chosen after the fact: {one}" for one in _against(sweep.best_run)]
    if sweep.idle:
        lines.append(f"{sweep.idle:,} of {count:,} settings made no trade; they are not ranked.")
    return [*lines, *_ending(sweep)]


def _headline(sweep: Sweep) -> str:
    found, count = sweep.choice, f"{len(sweep.settings) - sweep.idle:,}"
    lost = sweep.measured[found.best] < 0.0
    if not found.known and not (lost and sweep.idle):
        return f"Whether the best of {count} settings is more than luck cannot be said: {_too_few(sweep)}."
    if lost:
        only = "The only setting that traded" if count == "1" else f"Even the best of {count} settings"
        return f"{only} lost on these sessions, so there is none to choose."
    if sweep.more_than_luck:
        return (
            f"The best of {count} settings did better than luck explains on these sessions. Whether that lasts, only "
            "sessions to come can say."
        )
    if sweep.lacks_copies:
        return (
            f"The best of {count} settings passes three of four tests of luck. The fourth, on coin-flipped bars, was "
            "not made, so it is not shown to be more than luck."
        )
    overfit = found.overfitting is not None and found.overfitting > MOST_OVERFIT
    shallow = found.deflated is not None and found.deflated < SURE
    if overfit and shallow:
        return f"The best of {count} settings is what luck gives: choosing it says nothing about other sessions."
    return f"The best of {count} settings is not shown to be more than luck."


def _too_few(sweep: Sweep) -> str:
    """Which of sessions and settings are too few for a verdict."""
    days, distinct = len(sweep.about.days), sweep.choice.distinct
    parts = []
    if days < MIN_SESSIONS:
        parts.append(f"the backtest has {counted(days, 'session')}, and {MIN_SESSIONS} are needed")
    if distinct < MIN_COMBINATIONS:
        parts.append(f"the settings gave {counted(distinct, 'different result')}, and {MIN_COMBINATIONS} are needed")
    return "; ".join(parts)


def measure_in_words(sweep: Sweep) -> str:
    """The name of the figure by which the best combination is chosen."""
    return "Sharpe ratio" if sweep.by_ratio else "mean result per session"


def _probability(value: float) -> str:
    return "over 0.99" if value > 0.99 else "under 0.01" if value < 0.01 else f"{value:.2f}"


def _later(sweep: Sweep) -> str:
    later = sweep.choice.later
    if later is None:
        return "There are too few sessions to choose on the first ones and look at those after."
    same = " (the same setting)" if later.chosen == sweep.choice.best else ""
    after = counted(len(sweep.about.days) - later.first, "session")
    return (
        f"Chosen on the first {counted(later.first, 'session')} alone, the best is {sweep.named(later.chosen)}{same}: "
        f"{percent(later.result_before)} there, and {percent(later.result)} on the {after} after, better than "
        f"{_of_the_others(later.beaten)} (median {percent(later.median)})."
    )


def _of_the_others(beaten: float) -> str:
    """The share of the other settings that were worse, equal ones by half."""
    if beaten == 1.0:
        return "all other settings"
    return f"{share(beaten, 0)} of the other settings" if beaten else "none of the other settings"


def of_run(run: Run) -> list[str]:
    """What the trades of one backtest brought, and whether that can be luck."""
    found = run.after_cost
    held = still_held(run.held, "only the equity counts that")
    if not found.trades:
        nothing = f"Nothing was sold in these sessions{'.' if held else ', so nothing was earned or lost.'}"
        return [nothing + held, *_ending(run)]
    direction = "earned" if found.result > 0.005 else "lost" if found.result < -0.005 else "come out even at"
    return [
        f"After the assumed cost of buying and selling, {counted(found.trades, 'trade')} would have {direction} "
        f"{dollars(abs(found.result), sign=False)}. The backtest booked {dollars(run.booked.result)}.{held}",
        luck(found),
        *_against(run),
        *_ending(run),
    ]


def _against(run: Run) -> list[str]:
    """The trades beside buying every stock in the morning."""
    compared = universe_in_words(against_universe(run.closed, run.universe), len(run.about.days))
    return [compared] if compared else []


def _ending(backtest: Sweep | Run) -> list[str]:
    about = backtest.about
    return [*([GENERATED] if about.generated else []), *about.notes, DIRECTION]

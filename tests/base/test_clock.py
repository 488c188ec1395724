"""The system clock and the simulated clock."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.base.clock import NEW_YORK, Clock, SimulatedClock, SystemClock

NOON = datetime(2018, 3, 26, 16, 0, tzinfo=UTC)


def both() -> list[Clock]:
    return [SystemClock(), SimulatedClock(NOON)]


@pytest.mark.parametrize("clock", both(), ids=["system", "simulated"])
def test_time_is_aware_and_in_utc(clock: Clock) -> None:
    assert clock.now().utcoffset() == timedelta(0)


@pytest.mark.parametrize("clock", both(), ids=["system", "simulated"])
def test_past_instant_is_not_waited_for(clock: Clock) -> None:
    before = clock.now()
    assert clock.sleep_until(before - timedelta(days=1)) is True
    assert clock.now() >= before


@pytest.mark.parametrize("clock", both(), ids=["system", "simulated"])
def test_interrupt_ends_current_and_later_waits(clock: Clock) -> None:
    clock.interrupt()
    before = clock.now()
    assert clock.sleep_until(before + timedelta(days=1)) is False
    assert clock.sleep_until(before - timedelta(days=1)) is False
    assert clock.now() < before + timedelta(days=1)


def test_system_clock_waits_until_the_instant() -> None:
    clock = SystemClock()
    instant = clock.now() + timedelta(milliseconds=50)
    assert clock.sleep_until(instant) is True
    assert clock.now() >= instant


def test_another_thread_can_interrupt_a_wait() -> None:
    clock = SystemClock()
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(clock.sleep_until(clock.now() + timedelta(days=1))))
    thread.start()
    clock.interrupt()
    thread.join(timeout=60)
    assert answers == [False]


def test_simulated_clock_moves_only_when_it_waits() -> None:
    clock = SimulatedClock(NOON)
    assert clock.now() == clock.now() == NOON
    assert clock.sleep_until(NOON + timedelta(hours=3)) is True
    assert clock.now() == NOON + timedelta(hours=3)


@given(st.lists(st.tuples(st.integers(-3600, 3600), st.integers(-12, 12))))
def test_simulated_clock_never_goes_back(sleeps: list[tuple[int, int]]) -> None:
    clock = SimulatedClock(NOON)
    for seconds, hours in sleeps:
        before = clock.now()
        instant = (before + timedelta(seconds=seconds)).astimezone(timezone(timedelta(hours=hours)))
        clock.sleep_until(instant)
        assert clock.now() == max(before, instant)
        assert clock.now().tzinfo is UTC


def test_naive_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="an instant needs a time zone"):
        SimulatedClock(NOON.replace(tzinfo=None))
    for clock in both():
        with pytest.raises(TypeError):
            clock.sleep_until(NOON.replace(tzinfo=None))
        with pytest.raises(TypeError):
            clock.sleep_until(datetime(2100, 1, 1))  # noqa: DTZ001 - the naive instant under test


def test_waits_of_several_threads_leave_the_clock_at_the_latest_instant() -> None:
    clock = SimulatedClock(NOON)
    instants = [NOON.astimezone(NEW_YORK) + timedelta(seconds=n) for n in range(200)]
    threads = [threading.Thread(target=clock.sleep_until, args=(instant,)) for instant in instants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert clock.now() == instants[-1]


@pytest.mark.parametrize("clock", both(), ids=["system", "simulated"])
def test_a_wait_that_protects_shares_goes_on_after_an_interrupt(clock: Clock) -> None:
    clock.interrupt()
    instant = clock.now() + timedelta(milliseconds=300)
    assert clock.hold_until(instant) is True
    assert clock.now() >= instant
    assert clock.hold_until(instant - timedelta(days=1)) is True


def test_an_interrupt_bounds_a_wait_that_protects_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading.base.clock.HOLD_AFTER_STOP", timedelta(seconds=0.5))
    monkeypatch.setattr("trading.base.clock.REQUESTS_AFTER_STOP", timedelta(seconds=0.7))
    clock = SystemClock()
    assert clock.time_left() is None
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(clock.hold_until(clock.now() + timedelta(days=1))))
    thread.start()
    clock.interrupt()
    thread.join(timeout=60)
    assert answers == [False] and clock.hold_until(clock.now() + timedelta(days=1)) is False
    left = clock.time_left()
    assert left is not None and left < timedelta(seconds=0.2)
    clock.interrupt()
    again = clock.time_left()
    assert again is not None and again <= left  # a second interrupt gives no new time


def test_a_sleep_ends_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class SetBack(SystemClock):
        offset, asked = timedelta(0), 0

        def now(self) -> datetime:
            shown = super().now() + self.offset
            self.asked += 1
            return shown

    monkeypatch.setattr("trading.base.clock.LONGEST_NAP", timedelta(seconds=0.05))
    clock = SetBack()
    ends = clock.now() + timedelta(seconds=300)
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(clock.sleep_until(ends)))
    thread.start()
    while clock.asked < 2:  # the sleep has begun
        time.sleep(0.001)
    clock.offset = timedelta(hours=-1)
    thread.join(timeout=60)
    assert answers == [True] and clock.now() < ends

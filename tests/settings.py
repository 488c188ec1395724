"""Sections of the settings for tests: the defaults with single values changed by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config import Settings
from trading.app.learn.retrain import learning_settings as of_settings
from trading.rules.labels import LabelRules

if TYPE_CHECKING:
    from trading.learning.fitting import LearningSettings


def learning_settings(**values: object) -> LearningSettings:
    """The sections that a training needs."""
    return of_settings(Settings.of(**values))


def label_rules(**values: object) -> LabelRules:
    """The rules of outcomes and labels."""
    return LabelRules.of(Settings.of(**values).exits)

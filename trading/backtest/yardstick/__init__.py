"""The yardstick: controls on coin-flipped bars, the rule for claiming skill, and the universe that is scored."""

"""The backtest engine: the trades of the live loop, made from bars and predictions without an exchange or a wire."""

"""An exchange that speaks Alpaca's REST interface. Imports neither the stages nor trading/."""

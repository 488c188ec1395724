"""The market-data half of the REST interface: bars, trades, quotes, auctions, snapshots and screener."""

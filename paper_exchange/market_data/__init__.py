"""Replies of the market-data half of the REST interface: bars, trades, quotes, auctions, snapshots, screener."""

"""The only path to Alpaca: transport, client, and the messages parsed from its replies."""

"""The one path to Alpaca: transport, client, and the messages read from its replies."""

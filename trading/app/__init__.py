"""The commands of the scripts; the only package that knows `config` and `paper_exchange`."""

"""The generated market: stocks, price process, sessions."""

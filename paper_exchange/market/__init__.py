"""Where prices come from: recorded or generated bars, and the tape that publishes them."""

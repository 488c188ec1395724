"""Files of recorded 1-minute bars: how they are found, read and checked as a whole; both packages read them here."""

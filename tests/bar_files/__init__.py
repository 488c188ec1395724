"""Files of recorded bars."""

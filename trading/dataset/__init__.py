"""From bars to labelled rows on disk, and back into memory."""

"""The dataset: from bars to labelled rows on disk."""

"""From the last 20 bars to the feature vector, for the history and for the live minute alike."""

"""Clock, calendar, errors, files and folders: what every room needs and what knows nothing of trading."""

"""A soak: many generated sessions at full speed, with everything attached that runs beside a trader for months."""

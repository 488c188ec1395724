"""From predictions to orders, and what is done about them until the positions are closed."""

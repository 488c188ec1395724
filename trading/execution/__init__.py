"""From predictions to orders, and the management of positions until they are closed."""

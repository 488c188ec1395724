"""What was earned: the account of the newest day, the results of each day, and the trades of a day as a file."""

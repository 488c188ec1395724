"""The sell orders of open trades: which they are, what they do, their withdrawal ahead of a sale, what they sold."""

"""What the files of a trader say now, read again only as far as they have grown."""

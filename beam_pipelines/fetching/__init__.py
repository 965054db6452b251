"""Brings example data and the text encoder to the place where the other commands look for them."""

"""Engines of all kinds, and all that is done with them."""

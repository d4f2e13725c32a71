"""A primary and its standby under all that happens to servers, and what becomes of each result."""

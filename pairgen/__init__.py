"""pairgen: synthetic preference data, and the loop that trains judges and policies on it."""

__version__ = "0.1.0"

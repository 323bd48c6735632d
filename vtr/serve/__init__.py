"""The search page: a small server for one person, on their own machine."""

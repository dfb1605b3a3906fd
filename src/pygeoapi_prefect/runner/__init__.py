"""The process that runs jobs, and what it starts."""

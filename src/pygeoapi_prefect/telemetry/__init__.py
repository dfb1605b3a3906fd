"""What is measured of jobs, where they run."""

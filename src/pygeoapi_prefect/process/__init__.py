"""What processes are made of."""

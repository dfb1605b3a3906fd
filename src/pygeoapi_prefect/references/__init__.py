"""What this server asks of other servers because a client names them: inputs by reference, and callbacks."""

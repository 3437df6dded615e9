"""What is done with a server that is ready."""

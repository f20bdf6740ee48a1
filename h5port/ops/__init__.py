"""Operation nodes of functional graphs."""

"""The PyTorch module config: modules, calls, values. No torch here."""

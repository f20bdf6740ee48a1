"""Pure numpy: reversible tensor operations, and the recipes made of them."""

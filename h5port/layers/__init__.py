"""What each Keras layer means: its options, its variables, its lowering to torch."""

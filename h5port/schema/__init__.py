"""The config document becomes a `Model`: one graph, whatever Keras wrote it."""

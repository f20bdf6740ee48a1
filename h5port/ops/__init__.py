"""Operation nodes of functional graphs: what `keras.ops` functions and TensorFlow's operators mean."""

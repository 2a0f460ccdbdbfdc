"""TensorFlow's tensor messages under the path where the wrapper carried them."""

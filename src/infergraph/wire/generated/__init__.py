"""The compiled descriptors of our two .proto files, and the program that compiles them."""

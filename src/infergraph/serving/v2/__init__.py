"""The open inference protocol (V2) beside Seldon's, on the same ports and over the same unit."""

"""The golden corpus: requests and the answers they must get, as data. See `replay`."""

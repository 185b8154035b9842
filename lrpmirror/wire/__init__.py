"""Bytes to values of the model and back; knows no mirror, no socket and no clock."""

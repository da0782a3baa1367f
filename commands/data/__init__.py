"""Datasets: look at them, check and repair them, convert, merge, split and augment them."""

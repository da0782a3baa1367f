"""Policies that were trained elsewhere, as bundles."""

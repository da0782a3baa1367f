"""Policies that were trained with LeRobot, read from their checkpoints and served as bundles."""

"""Retraining for a scheduler: the checkout, the gate, drift and the report."""

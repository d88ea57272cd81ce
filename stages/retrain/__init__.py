"""`onoma retrain` and what it consists of: the checkout, the gate, drift and the report."""

from stages.commands.retrain.command import add_arguments, run

__all__ = ["add_arguments", "run"]

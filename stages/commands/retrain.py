"""`onoma retrain`: replace the champion if a newly trained model is better."""

from stages.retrain.command import add_arguments, run

__all__ = ["add_arguments", "run"]

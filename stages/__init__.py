"""The stages of the pipeline and the rooms that they share.

Every stage's process passes through here first, so this is where its arithmetic is pinned.
"""

from pathlib import Path

from stages.core.arithmetic import pin, runs_a_stage

if runs_a_stage():
    pin(Path("params.yaml"))

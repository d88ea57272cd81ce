"""What the tests of commands need, too."""

from tests.commands.conftest import onnx_folder  # noqa: F401

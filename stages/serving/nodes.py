"""An ONNX graph while it is written: nodes, constants, loops."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

OPSET = 20  # the lowest with every operator of graph.py: older ONNX Runtimes read it, too
IR_VERSION = 9  # of the same age
INPUT, OUTPUT = "codes", "logits"
STEP, STATE = "step", "state"  # what the body of a loop reads


class Graph:
    """Nodes and constants in the order in which they are added."""

    def __init__(self, outer: "Graph | None" = None) -> None:
        """Begin a graph, or the body of a loop in ``outer``, which keeps the constants of both."""
        self._nodes: list[Any] = []
        self._constants: list[Any] = outer._constants if outer else []
        self._prefix = "body_" if outer else ""

    def constant(self, value: NDArray[Any] | Sequence[int] | int) -> str:
        """Add a tensor (integers as int64); return its name."""
        name = f"constant_{len(self._constants)}"
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; return the name of its last output."""
        name = f"{self._prefix}{operator.lower()}_{len(self._nodes)}"
        names = [f"{name}_{n}" for n in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[-1]

    def positions(self, values: str, start: int, end: int) -> str:
        """Add ``values[:, start:end]``."""
        return self.node("Slice", values, *(self.constant([n]) for n in (start, end, 1)))

    def gather(self, table: NDArray[Any], places: str) -> str:
        """Add the rows of a constant table at these places."""
        return self.node("Gather", self.constant(table), places)

    def cast(self, values: str, kind: int = TensorProto.FLOAT) -> str:
        """Add the values as numbers of another type."""
        return self.node("Cast", values, to=kind)

    def loop(self, steps: str, state: str, body: "Graph", next_state: str) -> str:
        """Add a loop; return the last state.

        Args:
            steps: the number of steps.
            state: the float32 matrix that is `STATE` in the first step.
            body: what a step does with `STATE` and its number `STEP`.
            next_state: what is `STATE` in the next step; it may have more or fewer rows.
        """
        value, condition = helper.make_tensor_value_info, "is_going_on"
        same = body.node("Identity", condition)
        inputs = [value(STEP, TensorProto.INT64, []), value(condition, TensorProto.BOOL, [])]
        inputs.append(value(STATE, TensorProto.FLOAT, [None, None]))
        outputs = [value(same, TensorProto.BOOL, [])]
        outputs.append(value(next_state, TensorProto.FLOAT, [None, None]))
        inner = helper.make_graph(body._nodes, "body", inputs, outputs)
        return self.node("Loop", steps, "", state, body=inner)

    def model(self, logits: str, codes: int, countries: int) -> ModelProto:
        """The finished model: `INPUT` (batch, length) int64 -> `OUTPUT` (batch, countries)."""
        graph = helper.make_graph(
            [*self._nodes, helper.make_node("Identity", [logits], [OUTPUT])],
            "onoma",
            [helper.make_tensor_value_info(INPUT, TensorProto.INT64, ["batch", "length"])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", countries])],
            self._constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="onoma",
        )
        helper.set_model_props(model, {"codes": str(codes)})
        checker.check_model(model, full_check=True)
        return model

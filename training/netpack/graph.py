"""A small ONNX graph builder: one subnetwork, one precision, only operators that every backend has.

The FP16 graph has FP16 inputs, outputs and weights; a caller wraps what needs more range in
`wide()` ... `narrow()`, which are Casts in an FP16 graph and nothing in an FP32 graph.
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
_TYPES = {"fp32": (TensorProto.FLOAT, np.float32), "fp16": (TensorProto.FLOAT16, np.float16)}


class Graph:
    def __init__(self, name, precision="fp32"):
        if precision not in _TYPES:
            raise ValueError(f"precision is {precision!r}, expected fp32 or fp16")
        self.name, self.precision = name, precision
        self.type, self.dtype = _TYPES[precision]
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []
        self._dtype_of, self._count = {}, 0

    # values -----------------------------------------------------------------------------------
    def input(self, name, channels, spatial=True):
        """A graph input [1, channels, height, width], or [1, channels, 1, 1] where not spatial."""
        shape = [1, channels, "height", "width"] if spatial else [1, channels, 1, 1]
        self.inputs.append(helper.make_tensor_value_info(name, self.type, shape))
        self._dtype_of[name] = self.dtype
        return name

    def output(self, value, name, channels):
        """Renames `value`, which must come from the node added last, and makes it a graph output."""
        node = next(n for n in reversed(self.nodes) if value in n.output)
        for later in self.nodes:
            for i, used in enumerate(later.input):
                if used == value:
                    later.input[i] = name
        node.output[list(node.output).index(value)] = name
        self._dtype_of[name] = self._dtype_of[value]
        if self._dtype_of[name] != self.dtype:
            raise ValueError(f"{self.name}: output {name} is {self._dtype_of[name]}, expected {self.dtype}")
        self.outputs.append(helper.make_tensor_value_info(name, self.type, [1, channels, "height", "width"]))

    def constant(self, array, like):
        """An initializer with the element type of the value `like`."""
        name = f"c{len(self.initializers)}"
        array = np.ascontiguousarray(np.asarray(array, dtype=np.float32).astype(self._dtype_of[like]))
        if not np.isfinite(array).all():
            raise ValueError(f"{self.name}: a weight is not finite in {self.precision}")
        self.initializers.append(numpy_helper.from_array(array, name))
        self._dtype_of[name] = self._dtype_of[like]
        return name

    def _integers(self, values):
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype=np.int64), name))
        return name

    def node(self, op, inputs, outputs=1, dtype=None, **attributes):
        names = []
        for _ in range(outputs):
            names.append(f"v{self._count}")
            self._count += 1
        self.nodes.append(helper.make_node(op, inputs, names, name=f"{op.lower()}_{len(self.nodes)}", **attributes))
        for name in names:
            self._dtype_of[name] = dtype or self._dtype_of[inputs[0]]
        return names[0] if outputs == 1 else names

    # precision --------------------------------------------------------------------------------
    def wide(self, x):
        if self._dtype_of[x] == np.float32:
            return x
        return self.node("Cast", [x], dtype=np.float32, to=TensorProto.FLOAT)

    def narrow(self, x):
        if self._dtype_of[x] == self.dtype:
            return x
        return self.node("Cast", [x], dtype=self.dtype, to=self.type)

    # operators --------------------------------------------------------------------------------
    def conv(self, x, weight, bias=None):
        """Stride 1, zero "same" padding, dense; `weight` is [out, in, k, k], `bias` [out] or None."""
        weight = np.asarray(weight, dtype=np.float32)
        k, pad = weight.shape[2], weight.shape[2] // 2
        inputs = [x, self.constant(weight, x)]
        if bias is not None:
            inputs.append(self.constant(bias, x))
        return self.node("Conv", inputs, kernel_shape=[k, k], pads=[pad] * 4, strides=[1, 1],
                         dilations=[1, 1], group=1)

    def relu(self, x):
        return self.node("Relu", [x])

    def leaky(self, x, slope=0.2):
        return self.node("LeakyRelu", [x], alpha=slope)

    def sigmoid(self, x):
        return self.node("Sigmoid", [x])

    def clip(self, x, low, high):
        return self.node("Clip", [x, self.constant(np.float32(low), x), self.constant(np.float32(high), x)])

    def concat(self, *xs):
        return self.node("Concat", list(xs), axis=1)

    def split(self, x, *sizes):
        """Channels of `x` in groups of the given sizes."""
        return self.node("Split", [x, self._integers(sizes)], outputs=len(sizes), axis=1)

    def add(self, a, b):
        return self.node("Add", [a, b])

    def sub(self, a, b):
        return self.node("Sub", [a, b])

    def mul(self, a, b):
        return self.node("Mul", [a, b])

    def div(self, a, b):
        return self.node("Div", [a, b])

    def exp(self, x):
        return self.node("Exp", [x])

    def log(self, x):
        return self.node("Log", [x])

    def mean(self, x):
        return self.node("GlobalAveragePool", [x])

    def space_to_depth(self, x, block):
        return self.node("SpaceToDepth", [x], blocksize=block)

    def depth_to_space(self, x, block):
        """CRD order (pixel shuffle): channel = c * block² + dy * block + dx."""
        return self.node("DepthToSpace", [x], blocksize=block, mode="CRD")

    # the file ---------------------------------------------------------------------------------
    def model(self):
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                                  producer_name="uretinexenhance", producer_version="1")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model

//! Turns an ONNX file into a graph: checks ports, operands and names.

use std::collections::HashMap;

use super::structure::{Binary, Graph, MAX_CHANNELS, Node, Op, Port, Space, Unary, Value, ValueId};
use crate::error::Result;
use crate::network::limits::invalid;
use crate::pack::onnx::{Node as OnnxNode, Onnx, Tensor};

/// The largest factor by which the sides of a value may be smaller than the frame's.
pub(crate) const MAX_DOWN: usize = 64;

/// A graph that operators are added to.
pub(crate) struct Builder<'a> {
    onnx: &'a Onnx<'a>,
    pub(crate) graph: Graph,
    names: HashMap<&'a str, ValueId>,
    /// Constants that `Constant` nodes define.
    made: HashMap<&'a str, Tensor>,
}

impl Graph {
    /// Checks a model with these inputs and outputs, in this order.
    pub fn new(onnx: &Onnx<'_>, inputs: &[Port<'_>], outputs: &[Port<'_>]) -> Result<Self> {
        if !(11..=24).contains(&onnx.opset) {
            return Err(invalid(format!(
                "expected ONNX operator set 11 to 24, found {}",
                onnx.opset
            )));
        }
        let mut b = Builder {
            onnx,
            graph: Graph::default(),
            names: HashMap::new(),
            made: HashMap::new(),
        };
        let listed = || onnx.inputs.iter().map(|i| i.name).collect::<Vec<_>>();
        if onnx.inputs.len() != inputs.len() {
            return Err(invalid(format!(
                "expected inputs {:?}, found {:?}",
                names(inputs),
                listed()
            )));
        }
        for &(name, channels) in inputs {
            let port = onnx.inputs.iter().find(|i| i.name == name);
            let port =
                port.ok_or_else(|| invalid(format!("expected inputs {:?}, found {:?}", names(inputs), listed())))?;
            let shape = port.shape.as_deref().unwrap_or(&[None, None, None, None]);
            let wrong = shape.len() != 4
                || shape[0].is_some_and(|n| n != 1)
                || shape[1].is_some_and(|n| n != channels as i64)
                || shape[2..] != [None, None] && shape[2..] != [Some(1), Some(1)];
            if wrong {
                return Err(invalid(format!(
                    "input '{name}': expected shape [1, {channels}, height, width] with open height and width, found {shape:?}"
                )));
            }
            let pooled = shape[2..] == [Some(1), Some(1)];
            let space = if pooled {
                Space::Pooled
            } else {
                Space::Frame { down: 1 }
            };
            let id = b.value(channels, space)?;
            b.graph.inputs.push(id);
            b.names.insert(port.name, id);
        }
        for node in &onnx.nodes {
            b.node(node).map_err(|e| {
                let name = node.outputs.first().copied().unwrap_or_default();
                invalid(format!("operator {} that gives '{name}': {e}", node.op))
            })?;
        }
        for &(name, channels) in outputs {
            let found: Vec<_> = onnx.outputs.iter().map(|o| o.name).collect();
            let id = onnx
                .outputs
                .iter()
                .any(|o| o.name == name)
                .then(|| b.names.get(name))
                .flatten();
            let &id = id.ok_or_else(|| invalid(format!("expected output '{name}', found {found:?}")))?;
            let value = &b.graph.values[id];
            if value.channels != channels || value.space != (Space::Frame { down: 1 }) {
                return Err(invalid(format!(
                    "output '{name}': expected {channels} channels of the frame's size, found {}",
                    describe(value)
                )));
            }
            b.graph.outputs.push(id);
        }
        Ok(b.graph)
    }
}

fn names<'a>(ports: &[Port<'a>]) -> Vec<&'a str> {
    ports.iter().map(|p| p.0).collect()
}

/// A value in words.
pub(crate) fn describe(value: &Value) -> String {
    match value.space {
        Space::Frame { down: 1 } => format!("{} channels of the frame's size", value.channels),
        Space::Frame { down } => format!("{} channels of 1/{down} of the frame's sides", value.channels),
        Space::Pooled => format!("{} numbers", value.channels),
    }
}

impl<'a> Builder<'a> {
    pub(crate) fn value(&mut self, channels: usize, space: Space) -> Result<ValueId> {
        if !(1..=MAX_CHANNELS).contains(&channels) {
            return Err(invalid(format!(
                "expected 1 to {MAX_CHANNELS} channels, found {channels}"
            )));
        }
        if let Space::Frame { down } = space
            && !(1..=MAX_DOWN).contains(&down)
        {
            return Err(invalid(format!(
                "expected at most 1/{MAX_DOWN} of the frame's sides, found 1/{down}"
            )));
        }
        self.graph.values.push(Value {
            channels,
            space,
            constant: None,
        });
        Ok(self.graph.values.len() - 1)
    }

    pub(crate) fn tensor(&self, node: &OnnxNode<'a>, i: usize) -> Option<&Tensor> {
        let name = *node.inputs.get(i).filter(|n| !n.is_empty())?;
        self.onnx.constants.get(name).or_else(|| self.made.get(name))
    }

    /// A constant operand that the operator requires.
    pub(crate) fn constant(&self, node: &OnnxNode<'a>, i: usize, what: &str) -> Result<&Tensor> {
        self.tensor(node, i)
            .ok_or_else(|| invalid(format!("expected {what} as a constant, found none")))
    }

    /// An operand: a computed value, or a constant of one number or one for each channel.
    pub(crate) fn operand(&mut self, node: &OnnxNode<'a>, i: usize) -> Result<ValueId> {
        let name = *node
            .inputs
            .get(i)
            .ok_or_else(|| invalid(format!("expected operand {i}, found none")))?;
        if let Some(&id) = self.names.get(name) {
            return Ok(id);
        }
        let Some(tensor) = self.tensor(node, i) else {
            return Err(invalid(format!("operand '{name}' is given by no operator before it")));
        };
        let (dims, floats) = (tensor.dims.clone(), tensor.floats.clone());
        let per_channel = matches!(dims[..], [] | [1] | [1, 1] | [_, 1, 1] | [1, _, 1, 1]);
        if !per_channel {
            return Err(invalid(format!(
                "constant '{name}': expected shape [1], [C, 1, 1] or [1, C, 1, 1], found {dims:?}"
            )));
        }
        let id = self.value(floats.len(), Space::Pooled)?;
        self.graph.values[id].constant = Some(floats);
        self.names.insert(name, id);
        Ok(id)
    }

    pub(crate) fn add(
        &mut self,
        node: &OnnxNode<'a>,
        op: Op,
        inputs: Vec<ValueId>,
        channels: usize,
        space: Space,
    ) -> Result<()> {
        let output = self.value(channels, space)?;
        self.graph.nodes.push(Node { op, inputs, output });
        self.name(node, 0, output)
    }

    pub(crate) fn name(&mut self, node: &OnnxNode<'a>, i: usize, id: ValueId) -> Result<()> {
        let name = *node
            .outputs
            .get(i)
            .ok_or_else(|| invalid(format!("expected output {i}, found none")))?;
        if self.names.insert(name, id).is_some() {
            return Err(invalid(format!("'{name}' is given twice")));
        }
        Ok(())
    }

    fn node(&mut self, node: &OnnxNode<'a>) -> Result<()> {
        if !node.domain.is_empty() && node.domain != "ai.onnx" {
            return Err(invalid(format!(
                "expected an operator of ONNX, found one of '{}'",
                node.domain
            )));
        }
        for (i, name) in node.inputs.iter().enumerate() {
            // An activation would hide such a weight: the greater of NaN and 0 is 0. A limit may be infinite.
            let damaged = |t: &Tensor| {
                t.floats
                    .iter()
                    .any(|v| v.is_nan() || v.is_infinite() && t.floats.len() > 1)
            };
            if self.tensor(node, i).is_some_and(damaged) {
                return Err(invalid(format!("constant '{name}' holds NaN or infinite numbers")));
            }
        }
        match node.op {
            "Conv" => self.conv(node),
            "Gemm" => self.gemm(node),
            "Relu" => self.unary(node, Unary::Leaky(0.0)),
            "LeakyRelu" => {
                let slope = node.float("alpha", 0.01);
                if !(0.0..=1.0).contains(&slope) {
                    return Err(invalid(format!("expected alpha from 0 to 1, found {slope}")));
                }
                self.unary(node, Unary::Leaky(slope))
            }
            "Sigmoid" => self.unary(node, Unary::Sigmoid),
            "Exp" => self.unary(node, Unary::Exp),
            "Log" => self.unary(node, Unary::Log),
            "Clip" => {
                let limit = |i, default| match self.tensor(node, i) {
                    Some(t) if t.floats.len() == 1 => Ok(t.floats[0]),
                    Some(t) => Err(invalid(format!("expected one number as a limit, found shape {:?}", t.dims))),
                    None if node.inputs.get(i).is_some_and(|n| !n.is_empty()) => {
                        Err(invalid("expected limits as constants, found computed ones".into()))
                    }
                    None => Ok(default),
                };
                let (low, high) = (limit(1, f32::MIN)?, limit(2, f32::MAX)?);
                self.unary(node, Unary::Clip(low, high))
            }
            "Add" => self.binary(node, Binary::Add),
            "Sub" => self.binary(node, Binary::Sub),
            "Mul" => self.binary(node, Binary::Mul),
            "Div" => self.binary(node, Binary::Div),
            "Max" => self.binary(node, Binary::Max),
            "Min" => self.binary(node, Binary::Min),
            "Pow" => self.binary(node, Binary::Pow),
            "Concat" => self.concat(node),
            "Split" => self.split(node),
            "Slice" => self.slice(node),
            "GlobalAveragePool" => self.mean(node),
            "ReduceMean" => {
                let axes = match (node.ints("axes"), self.tensor(node, 1)) {
                    (Some(axes), _) => axes.to_vec(),
                    (None, Some(t)) => t.ints.clone(),
                    (None, None) => vec![],
                };
                let mut axes: Vec<i64> = axes.iter().map(|&a| if a < 0 { a + 4 } else { a }).collect();
                axes.sort_unstable();
                if axes != [2, 3] {
                    return Err(invalid(format!("expected the mean over axes [2, 3], found {axes:?}")));
                }
                self.mean(node)
            }
            "SpaceToDepth" => self.space_to_depth(node),
            "DepthToSpace" => self.depth_to_space(node),
            "Identity" | "Cast" | "Dropout" => self.alias(node, false),
            "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" => self.alias(node, true),
            "Constant" => self.make(node),
            _ => Err(invalid(
                "the CPU engine does not know it (Conv, Gemm, Relu, LeakyRelu, Sigmoid, Clip, Exp, Log, Add, Sub, Mul, Div, \
                 Max, Min, Pow, Concat, Split, Slice, GlobalAveragePool, ReduceMean, SpaceToDepth, DepthToSpace, Identity, \
                 Cast, Constant)"
                    .into(),
            )),
        }
    }

    fn alias(&mut self, node: &OnnxNode<'a>, pooled_only: bool) -> Result<()> {
        if let Some(tensor) = self.tensor(node, 0).cloned() {
            let name = *node
                .outputs
                .first()
                .ok_or_else(|| invalid("expected an output, found none".into()))?;
            self.made.insert(name, tensor);
            return Ok(());
        }
        let x = self.operand(node, 0)?;
        if pooled_only && self.graph.values[x].space != Space::Pooled {
            return Err(invalid(
                "expected a pooled operand, found one of the frame's extent".into(),
            ));
        }
        self.name(node, 0, x)
    }

    fn make(&mut self, node: &OnnxNode<'a>) -> Result<()> {
        let name = *node
            .outputs
            .first()
            .ok_or_else(|| invalid("expected an output, found none".into()))?;
        let tensor = if let Some(tensor) = node.tensor("value") {
            tensor.clone()
        } else if node.has("value_float") {
            Tensor::new(&[], vec![node.float("value_float", 0.0)])
        } else if let Some(floats) = node.floats("value_floats") {
            Tensor::new(&[floats.len()], floats.to_vec())
        } else if let Some(ints) = node.ints("value_ints") {
            Tensor {
                dims: vec![ints.len()],
                floats: ints.iter().map(|&v| v as f32).collect(),
                ints: ints.to_vec(),
            }
        } else {
            return Err(invalid("expected a value of numbers, found none".into()));
        };
        self.made.insert(name, tensor);
        Ok(())
    }
}

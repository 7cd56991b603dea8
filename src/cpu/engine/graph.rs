//! The network as the engine knows it: ONNX operators checked and reduced to a few, every value with its channels
//! and its size relative to the frame.

use std::collections::HashMap;

use super::invalid;
use super::onnx::{Node as OnnxNode, Onnx, Tensor};
use crate::error::Result;

/// Index of a value in [`Graph::values`].
pub type ValueId = usize;

/// The most channels that a value may have.
pub const MAX_CHANNELS: usize = 1024;
/// The most that a side of a value may be smaller than the frame's.
const MAX_DOWN: usize = 64;

/// Where a value extends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Over the frame, each side `down` times smaller.
    Frame { down: usize },
    /// One number for each channel.
    Pooled,
}

/// An intermediate result, `[1, channels, …]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Number of channels.
    pub channels: usize,
    /// Over the frame, or one number for each channel.
    pub space: Space,
    /// The numbers, if the file holds them.
    pub constant: Option<Vec<f32>>,
}

/// Weights of a convolution with stride 1 and zero padding to the same size.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Side of the kernel: 1, 3 or 5.
    pub kernel: usize,
    /// `[outputs][inputs][kernel][kernel]`
    pub weights: Vec<f32>,
    /// `[outputs]`
    pub bias: Vec<f32>,
}

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// The larger of x and slope · x, for slopes from 0 to 1.
    Leaky(f32),
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// Limited to a range.
    Clip(f32, f32),
    /// e^x
    Exp,
    /// Natural logarithm; of what is not positive, that of the smallest normal number.
    Log,
    /// x
    Copy,
}

/// A function of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    /// x^y for x that is not negative.
    Pow,
}

/// An operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Convolution; on pooled values a dense layer.
    Conv(Filter),
    /// Number by number.
    Unary(Unary),
    /// Number by number, a single channel or a pooled value repeated.
    Binary(Binary),
    /// Channels one after the other.
    Concat,
    /// Channels from `start` on.
    Slice { start: usize },
    /// Mean of each channel over the frame.
    Mean,
    /// Channel `(dy·b + dx)·C + c` is pixel (dy, dx) of each b × b block of channel c.
    SpaceToDepth { block: usize },
    /// The inverse; `crd`: from channel `c·b² + dy·b + dx` instead.
    DepthToSpace { block: usize, crd: bool },
}

/// An operation with its operands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// Its operands.
    pub inputs: Vec<ValueId>,
    /// Its one result.
    pub output: ValueId,
}

/// A network in topological order.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Graph {
    /// All values.
    pub values: Vec<Value>,
    /// All operations, operands before their users.
    pub nodes: Vec<Node>,
    /// What the network takes.
    pub inputs: Vec<ValueId>,
    /// What the network gives.
    pub outputs: Vec<ValueId>,
}

/// A port of the network: name and channels.
pub type Port<'a> = (&'a str, usize);

struct Builder<'a> {
    onnx: &'a Onnx<'a>,
    graph: Graph,
    names: HashMap<&'a str, ValueId>,
    /// Constants that nodes give.
    made: HashMap<&'a str, Tensor>,
}

impl Graph {
    /// Checks a model of `inputs` and `outputs`, each in this order.
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

fn describe(value: &Value) -> String {
    match value.space {
        Space::Frame { down: 1 } => format!("{} channels of the frame's size", value.channels),
        Space::Frame { down } => format!("{} channels of 1/{down} of the frame's sides", value.channels),
        Space::Pooled => format!("{} numbers", value.channels),
    }
}

impl<'a> Builder<'a> {
    fn value(&mut self, channels: usize, space: Space) -> Result<ValueId> {
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

    fn tensor(&self, node: &OnnxNode<'a>, i: usize) -> Option<&Tensor> {
        let name = *node.inputs.get(i).filter(|n| !n.is_empty())?;
        self.onnx.constants.get(name).or_else(|| self.made.get(name))
    }

    /// A constant operand, which has to be there.
    fn constant(&self, node: &OnnxNode<'a>, i: usize, what: &str) -> Result<&Tensor> {
        self.tensor(node, i)
            .ok_or_else(|| invalid(format!("expected {what} as a constant, found none")))
    }

    /// An operand: a computed value, or a constant of one number or one for each channel.
    fn operand(&mut self, node: &OnnxNode<'a>, i: usize) -> Result<ValueId> {
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
        let per_channel = match dims[..] {
            [] | [1] | [1, 1] => true,
            [_, 1, 1] | [1, _, 1, 1] => true,
            _ => false,
        };
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

    fn add(&mut self, node: &OnnxNode<'a>, op: Op, inputs: Vec<ValueId>, channels: usize, space: Space) -> Result<()> {
        let output = self.value(channels, space)?;
        self.graph.nodes.push(Node { op, inputs, output });
        self.name(node, 0, output)
    }

    fn name(&mut self, node: &OnnxNode<'a>, i: usize, id: ValueId) -> Result<()> {
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

    fn conv(&mut self, node: &OnnxNode<'a>) -> Result<()> {
        let x = self.operand(node, 0)?;
        let value = self.graph.values[x].clone();
        let weights = self.constant(node, 1, "weights")?.clone();
        let [outputs, inputs, kernel, width] = weights.dims[..] else {
            return Err(invalid(format!("expected weights of 4 axes, found {:?}", weights.dims)));
        };
        if inputs != value.channels || kernel != width || ![1, 3, 5].contains(&kernel) {
            return Err(invalid(format!(
                "expected weights [outputs, {}, k, k] with k of 1, 3 or 5, found {:?}",
                value.channels, weights.dims
            )));
        }
        if value.space == Space::Pooled && kernel != 1 {
            return Err(invalid(format!(
                "expected a 1x1 kernel on pooled values, found {kernel}x{kernel}"
            )));
        }
        let pad = (kernel / 2) as i64;
        let same = matches!(node.text("auto_pad", "NOTSET"), "SAME_UPPER" | "SAME_LOWER");
        let pads = if same {
            vec![pad; 4]
        } else {
            node.ints("pads").unwrap_or(&[0; 4]).to_vec()
        };
        for (what, found, expected) in [
            ("group", vec![node.int("group", 1)], vec![1]),
            ("strides", node.ints("strides").unwrap_or(&[1, 1]).to_vec(), vec![1, 1]),
            (
                "dilations",
                node.ints("dilations").unwrap_or(&[1, 1]).to_vec(),
                vec![1, 1],
            ),
            ("pads", pads, vec![pad; 4]),
        ] {
            if found != expected {
                return Err(invalid(format!("expected {what} {expected:?}, found {found:?}")));
            }
        }
        let bias = self.bias(node, outputs)?;
        let filter = Filter {
            inputs,
            outputs,
            kernel,
            weights: weights.floats,
            bias,
        };
        self.add(node, Op::Conv(filter), vec![x], outputs, value.space)
    }

    fn bias(&self, node: &OnnxNode<'a>, outputs: usize) -> Result<Vec<f32>> {
        if node.inputs.get(2).is_none_or(|n| n.is_empty()) {
            return Ok(vec![0.0; outputs]);
        }
        let bias = self.constant(node, 2, "the bias")?;
        if bias.floats.len() != outputs {
            return Err(invalid(format!(
                "expected a bias of {outputs} numbers, found {}",
                bias.floats.len()
            )));
        }
        Ok(bias.floats.clone())
    }

    fn gemm(&mut self, node: &OnnxNode<'a>) -> Result<()> {
        let x = self.operand(node, 0)?;
        let value = self.graph.values[x].clone();
        let weights = self.constant(node, 1, "weights")?.clone();
        let transposed = node.int("transB", 0) != 0;
        let (inputs, outputs) = match weights.dims[..] {
            [o, i] if transposed => (i, o),
            [i, o] => (i, o),
            _ => return Err(invalid(format!("expected weights of 2 axes, found {:?}", weights.dims))),
        };
        let plain = node.int("transA", 0) == 0 && node.float("alpha", 1.0) == 1.0 && node.float("beta", 1.0) == 1.0;
        if value.space != Space::Pooled || inputs != value.channels || !plain {
            return Err(invalid(format!(
                "expected a plain product of {} with {inputs} inputs, found another form",
                describe(&value)
            )));
        }
        let w = &weights.floats;
        let weights = match transposed {
            true => w.clone(),
            false => (0..outputs * inputs)
                .map(|k| w[k % inputs * outputs + k / inputs])
                .collect(),
        };
        let bias = self.bias(node, outputs)?;
        let filter = Filter {
            inputs,
            outputs,
            kernel: 1,
            weights,
            bias,
        };
        self.add(node, Op::Conv(filter), vec![x], outputs, Space::Pooled)
    }

    fn unary(&mut self, node: &OnnxNode<'a>, op: Unary) -> Result<()> {
        let x = self.operand(node, 0)?;
        let Value { channels, space, .. } = self.graph.values[x];
        self.add(node, Op::Unary(op), vec![x], channels, space)
    }

    fn binary(&mut self, node: &OnnxNode<'a>, op: Binary) -> Result<()> {
        if node.inputs.len() != 2 {
            return Err(invalid(format!("expected two operands, found {}", node.inputs.len())));
        }
        let (x, y) = (self.operand(node, 0)?, self.operand(node, 1)?);
        let (a, b) = (self.graph.values[x].clone(), self.graph.values[y].clone());
        let fits = (a.channels == b.channels || a.channels == 1 || b.channels == 1)
            && (a.space == b.space || a.space == Space::Pooled || b.space == Space::Pooled);
        if !fits {
            return Err(invalid(format!(
                "{} and {} do not go together",
                describe(&a),
                describe(&b)
            )));
        }
        let space = if a.space == Space::Pooled { b.space } else { a.space };
        self.add(node, Op::Binary(op), vec![x, y], a.channels.max(b.channels), space)
    }

    fn channel_axis(&self, found: i64) -> Result<()> {
        match found {
            1 | -3 => Ok(()),
            other => Err(invalid(format!("expected the channel axis 1, found {other}"))),
        }
    }

    fn concat(&mut self, node: &OnnxNode<'a>) -> Result<()> {
        self.channel_axis(node.int("axis", 1))?;
        let inputs = (0..node.inputs.len())
            .map(|i| self.operand(node, i))
            .collect::<Result<Vec<_>>>()?;
        let Some(&first) = inputs.first() else {
            return Err(invalid("expected operands, found none".into()));
        };
        let space = self.graph.values[first].space;
        if let Some(&other) = inputs.iter().find(|&&i| self.graph.values[i].space != space) {
            return Err(invalid(format!(
                "{} and {} do not go together",
                describe(&self.graph.values[first]),
                describe(&self.graph.values[other])
            )));
        }
        let channels = inputs.iter().map(|&i| self.graph.values[i].channels).sum();
        self.add(node, Op::Concat, inputs, channels, space)
    }

    /// Channels `start..end` of `x` as output `i`.
    fn part(&mut self, node: &OnnxNode<'a>, i: usize, x: ValueId, start: usize, end: usize) -> Result<()> {
        let Value { channels, space, .. } = self.graph.values[x];
        if start >= end || end > channels {
            return Err(invalid(format!(
                "expected a part of {channels} channels, found {start} to {end}"
            )));
        }
        let output = self.value(end - start, space)?;
        self.graph.nodes.push(Node {
            op: Op::Slice { start },
            inputs: vec![x],
            output,
        });
        self.name(node, i, output)
    }

    fn split(&mut self, node: &OnnxNode<'a>) -> Result<()> {
        self.channel_axis(node.int("axis", 0))?;
        let x = self.operand(node, 0)?;
        let channels = self.graph.values[x].channels;
        let count = node.outputs.len().max(1);
        let sizes = match (self.tensor(node, 1), node.ints("split")) {
            (Some(t), _) => t.ints.clone(),
            (None, Some(sizes)) => sizes.to_vec(),
            (None, None) => {
                let chunk = channels.div_ceil(count);
                (0..count)
                    .map(|i| chunk.min(channels.saturating_sub(i * chunk)) as i64)
                    .collect()
            }
        };
        let total = sizes
            .iter()
            .try_fold(0i64, |sum, &s| sum.checked_add(s).filter(|_| s > 0));
        if sizes.len() != node.outputs.len() || total != Some(channels as i64) {
            return Err(invalid(format!(
                "expected {} parts of {channels} channels, found {sizes:?}",
                node.outputs.len()
            )));
        }
        let mut start = 0;
        for (i, &size) in sizes.iter().enumerate() {
            let end = start + size as usize;
            self.part(node, i, x, start, end)?;
            start = end;
        }
        Ok(())
    }

    fn slice(&mut self, node: &OnnxNode<'a>) -> Result<()> {
        let x = self.operand(node, 0)?;
        let channels = self.graph.values[x].channels as i64;
        let list = |i, what| self.constant(node, i, what).map(|t| t.ints.clone());
        let (starts, ends) = (list(1, "starts")?, list(2, "ends")?);
        let axes = list(3, "axes").unwrap_or_else(|_| vec![0]);
        let steps = list(4, "steps").unwrap_or_else(|_| vec![1]);
        let (&[start], &[end], &[axis], &[1]) = (&starts[..], &ends[..], &axes[..], &steps[..]) else {
            return Err(invalid(format!(
                "expected a slice of the channel axis in steps of 1, found axes {axes:?} steps {steps:?}"
            )));
        };
        self.channel_axis(axis)?;
        let place = |v: i64| (if v < 0 { v.saturating_add(channels) } else { v }).clamp(0, channels) as usize;
        self.part(node, 0, x, place(start), place(end))
    }

    fn mean(&mut self, node: &OnnxNode<'a>) -> Result<()> {
        let x = self.operand(node, 0)?;
        let channels = self.graph.values[x].channels;
        if self.graph.values[x].space == Space::Pooled {
            return self.name(node, 0, x);
        }
        self.add(node, Op::Mean, vec![x], channels, Space::Pooled)
    }

    fn block(&mut self, node: &OnnxNode<'a>) -> Result<(ValueId, usize, usize, usize)> {
        let x = self.operand(node, 0)?;
        let value = &self.graph.values[x];
        let Space::Frame { down } = value.space else {
            return Err(invalid(
                "expected an operand of the frame's extent, found a pooled one".into(),
            ));
        };
        let block = node.int("blocksize", 0);
        if !(1..=MAX_DOWN as i64).contains(&block) {
            return Err(invalid(format!(
                "expected a blocksize from 1 to {MAX_DOWN}, found {block}"
            )));
        }
        Ok((x, value.channels, down, block as usize))
    }

    fn space_to_depth(&mut self, node: &OnnxNode<'a>) -> Result<()> {
        let (x, channels, down, block) = self.block(node)?;
        let space = Space::Frame { down: down * block };
        self.add(
            node,
            Op::SpaceToDepth { block },
            vec![x],
            channels * block * block,
            space,
        )
    }

    fn depth_to_space(&mut self, node: &OnnxNode<'a>) -> Result<()> {
        let (x, channels, down, block) = self.block(node)?;
        if channels % (block * block) != 0 || down % block != 0 {
            return Err(invalid(format!(
                "expected blocks of {block} to divide {}",
                describe(&self.graph.values[x])
            )));
        }
        let crd = match node.text("mode", "DCR") {
            "DCR" => false,
            "CRD" => true,
            other => return Err(invalid(format!("expected mode DCR or CRD, found '{other}'"))),
        };
        let space = Space::Frame { down: down / block };
        self.add(
            node,
            Op::DepthToSpace { block, crd },
            vec![x],
            channels / (block * block),
            space,
        )
    }
}

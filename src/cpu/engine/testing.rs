//! Builds ONNX files for tests, and runs them with the `rten` crate.

use crate::network::Port;

/// Pseudo-random numbers from -0.5 to 0.5.
pub fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

/// A protocol buffer message that fields are added to.
#[derive(Default, Clone)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
    }

    fn int(&mut self, field: u64, v: i64) {
        self.varint(field << 3);
        self.varint(v as u64);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn float(&mut self, field: u64, v: f32) {
        self.varint(field << 3 | 5);
        self.0.extend_from_slice(&v.to_le_bytes());
    }
}

/// A model that nodes are added to.
pub struct Model {
    graph: Message,
    names: usize,
    nodes: Vec<Message>,
    outputs: Vec<String>,
}

/// The node added last, for its attributes.
pub struct Added<'a>(&'a mut Model);

impl Added<'_> {
    fn attribute(self, name: &str, kind: i64, fill: impl FnOnce(&mut Message)) -> Self {
        let mut a = Message::default();
        a.bytes(1, name.as_bytes());
        fill(&mut a);
        a.int(20, kind);
        if let Some(node) = self.0.nodes.last_mut() {
            node.bytes(5, &a.0);
        }
        self
    }

    pub fn int(self, name: &str, v: i64) -> Self {
        self.attribute(name, 2, |a| a.int(3, v))
    }

    pub fn float(self, name: &str, v: f32) -> Self {
        self.attribute(name, 1, |a| a.float(2, v))
    }

    pub fn text(self, name: &str, v: &str) -> Self {
        self.attribute(name, 3, |a| a.bytes(4, v.as_bytes()))
    }

    pub fn ints(self, name: &str, v: &[i64]) -> Self {
        self.attribute(name, 7, |a| v.iter().for_each(|&v| a.int(8, v)))
    }

    /// The name of its output.
    pub fn out(self) -> String {
        self.0.outputs.last().cloned().unwrap_or_default()
    }
}

impl Model {
    pub fn new(inputs: &[Port<'_>], outputs: &[Port<'_>]) -> Self {
        let mut graph = Message::default();
        for (field, ports) in [(11, inputs), (12, outputs)] {
            for &(name, channels) in ports {
                let mut shape = Message::default();
                for side in 0..4 {
                    let mut dim = Message::default();
                    match (side, name) {
                        (0, _) | (2.., "ratio") => dim.int(1, 1),
                        (1, _) => dim.int(1, channels as i64),
                        (2, _) => dim.bytes(2, b"height"),
                        _ => dim.bytes(2, b"width"),
                    }
                    shape.bytes(1, &dim.0);
                }
                let (mut tensor, mut kind, mut port) = (Message::default(), Message::default(), Message::default());
                tensor.int(1, 1);
                tensor.bytes(2, &shape.0);
                kind.bytes(1, &tensor.0);
                port.bytes(1, name.as_bytes());
                port.bytes(2, &kind.0);
                graph.bytes(field, &port.0);
            }
        }
        Self {
            graph,
            names: 0,
            nodes: vec![],
            outputs: vec![],
        }
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("v{}", self.names)
    }

    fn tensor(&mut self, dims: &[usize], kind: i64, raw: &[u8]) -> String {
        let name = self.name();
        let mut tensor = Message::default();
        for &d in dims {
            tensor.int(1, d as i64);
        }
        tensor.int(2, kind);
        tensor.bytes(8, name.as_bytes());
        tensor.bytes(9, raw);
        self.graph.bytes(5, &tensor.0);
        name
    }

    pub fn floats(&mut self, dims: &[usize], values: Vec<f32>) -> String {
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(dims, 1, &raw)
    }

    pub fn ints(&mut self, values: &[i64]) -> String {
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(&[values.len()], 7, &raw)
    }

    pub fn node(&mut self, op: &str, inputs: &[&str], outputs: &[&str]) -> Added<'_> {
        let mut node = Message::default();
        for i in inputs {
            node.bytes(1, i.as_bytes());
        }
        let outputs: Vec<String> = match outputs {
            [] => vec![self.name()],
            given => given.iter().map(|o| o.to_string()).collect(),
        };
        for o in &outputs {
            node.bytes(2, o.as_bytes());
        }
        node.bytes(4, op.as_bytes());
        self.nodes.push(node);
        self.outputs = outputs;
        Added(self)
    }

    pub fn unary(&mut self, op: &str, x: &str) -> String {
        self.node(op, &[x], &[]).out()
    }

    pub fn binary(&mut self, op: &str, x: &str, y: &str) -> String {
        self.node(op, &[x, y], &[]).out()
    }

    pub fn leaky(&mut self, x: &str, alpha: f32) -> String {
        self.node("LeakyRelu", &[x], &[]).float("alpha", alpha).out()
    }

    pub fn concat(&mut self, parts: &[&str]) -> String {
        self.node("Concat", parts, &[]).int("axis", 1).out()
    }

    pub fn unshuffle(&mut self, x: &str, block: i64) -> String {
        self.node("SpaceToDepth", &[x], &[]).int("blocksize", block).out()
    }

    pub fn shuffle(&mut self, x: &str, block: i64, mode: &str) -> String {
        self.node("DepthToSpace", &[x], &[])
            .int("blocksize", block)
            .text("mode", mode)
            .out()
    }

    /// A convolution whose results are about as large as its inputs.
    pub fn conv(&mut self, x: &str, inputs: usize, outputs: usize, kernel: usize, bias: bool) -> String {
        let count = outputs * inputs * kernel * kernel;
        let gain = 3.0 / ((inputs * kernel * kernel) as f32).sqrt();
        let weights = noise(count, self.names as u32 + 99).iter().map(|v| v * gain).collect();
        let w = self.floats(&[outputs, inputs, kernel, kernel], weights);
        let mut operands = vec![x.to_string(), w];
        if bias {
            operands.push(self.floats(&[outputs], noise(outputs, self.names as u32 + 55)));
        }
        let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
        let (k, pad) = (kernel as i64, kernel as i64 / 2);
        self.node("Conv", &operands, &[])
            .ints("kernel_shape", &[k, k])
            .ints("pads", &[pad; 4])
            .out()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut graph = self.graph.clone();
        for node in &self.nodes {
            graph.bytes(1, &node.0);
        }
        let mut opset = Message::default();
        opset.int(2, 17);
        let mut model = Message::default();
        model.int(1, 8);
        model.bytes(7, &graph.0);
        model.bytes(8, &opset.0);
        model.0
    }
}

/// The outputs that `rten` gives; none if it does not know the model's operators.
pub fn rten(
    bytes: &[u8],
    inputs: &[Port<'_>],
    outputs: &[Port<'_>],
    data: &[Vec<f32>],
    width: usize,
    height: usize,
) -> Option<Vec<Vec<f32>>> {
    use rten_tensor::NdTensorView;
    use rten_tensor::prelude::*;
    let model = rten::Model::load(bytes.to_vec()).ok()?;
    let mut values = vec![];
    for (&(name, channels), data) in inputs.iter().zip(data) {
        let shape = if name == "ratio" {
            [1, 1, 1, 1]
        } else {
            [1, channels, height, width]
        };
        values.push((model.find_node(name)?, NdTensorView::from_data(shape, &data[..]).into()));
    }
    let ids: Vec<_> = outputs.iter().filter_map(|o| model.find_node(o.0)).collect();
    let found = model.run(values, &ids, None).ok()?;
    let found = found.into_iter().map(|v| {
        let tensor: rten_tensor::NdTensor<f32, 4> = v.try_into().ok()?;
        Some(tensor.to_vec())
    });
    found.collect()
}

//! An ONNX file as it stands: nodes, attributes and constant tensors, nothing checked beyond their form.
//!
//! Field numbers are those of `onnx.proto` (IR version 3 and later).

use std::collections::HashMap;

use half::f16;

use crate::error::{Error, ErrorKind, Result};
use crate::pack::onnx::wire::{Value, fields};

/// The graph of a model.
#[derive(Debug, Default)]
pub struct Onnx<'a> {
    /// Version of the default operator set.
    pub opset: i64,
    /// Operators in topological order.
    pub nodes: Vec<Node<'a>>,
    /// Constants by name.
    pub constants: HashMap<&'a str, Tensor>,
    /// What the model takes.
    pub inputs: Vec<Port<'a>>,
    /// What the model gives.
    pub outputs: Vec<Port<'a>>,
}

/// An operator.
#[derive(Debug, Default)]
pub struct Node<'a> {
    /// The operator's name, such as `Conv`.
    pub op: &'a str,
    /// The operator set, empty for the default one.
    pub domain: &'a str,
    /// Names of its inputs; an empty name is an optional input left out.
    pub inputs: Vec<&'a str>,
    /// Names of its outputs.
    pub outputs: Vec<&'a str>,
    attributes: Vec<Attribute<'a>>,
}

/// A named setting of an operator.
#[derive(Debug, Default)]
pub struct Attribute<'a> {
    name: &'a str,
    float: f32,
    int: i64,
    text: &'a [u8],
    tensor: Option<Tensor>,
    floats: Vec<f32>,
    ints: Vec<i64>,
}

/// A constant: its shape and its values, as floats and, if they are integers, as those too.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Tensor {
    /// Sizes of the axes; empty for a scalar.
    pub dims: Vec<usize>,
    /// Values in row-major order.
    pub floats: Vec<f32>,
    /// The values if the type is an integer's.
    pub ints: Vec<i64>,
}

/// A named input or output of the model.
#[derive(Debug, Default)]
pub struct Port<'a> {
    /// Its name.
    pub name: &'a str,
    /// Sizes of its axes, `None` where the file leaves one open; no list if it says nothing of the shape.
    pub shape: Option<Vec<Option<i64>>>,
}

impl<'a> Onnx<'a> {
    /// Reads a model.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut onnx = Onnx::default();
        let mut graph = None;
        for field in fields(bytes) {
            match field? {
                (7, value) => graph = Some(value.bytes()?),
                (8, value) => {
                    let (domain, version) = opset(value.bytes()?)?;
                    if domain.is_empty() || domain == "ai.onnx" {
                        onnx.opset = version;
                    }
                }
                _ => {}
            }
        }
        let graph = graph.ok_or_else(|| invalid("expected an ONNX model, found no graph in it".into()))?;
        for field in fields(graph) {
            match field? {
                (1, value) => onnx.nodes.push(Node::parse(value.bytes()?)?),
                (5, value) => {
                    let (name, tensor) = Tensor::parse(value.bytes()?)?;
                    onnx.constants.insert(name, tensor);
                }
                (11, value) => onnx.inputs.push(Port::parse(value.bytes()?)?),
                (12, value) => onnx.outputs.push(Port::parse(value.bytes()?)?),
                _ => {}
            }
        }
        // Old files list constants among the inputs too.
        let constants = &onnx.constants;
        onnx.inputs.retain(|i| !constants.contains_key(i.name));
        Ok(onnx)
    }
}

fn opset(message: &[u8]) -> Result<(&str, i64)> {
    let (mut domain, mut version) = ("", 0);
    for field in fields(message) {
        match field? {
            (1, value) => domain = value.text()?,
            (2, value) => version = value.int()?,
            _ => {}
        }
    }
    Ok((domain, version))
}

impl<'a> Node<'a> {
    fn parse(message: &'a [u8]) -> Result<Self> {
        let mut node = Node::default();
        for field in fields(message) {
            match field? {
                (1, value) => node.inputs.push(value.text()?),
                (2, value) => node.outputs.push(value.text()?),
                (4, value) => node.op = value.text()?,
                (5, value) => node.attributes.push(Attribute::parse(value.bytes()?)?),
                (7, value) => node.domain = value.text()?,
                _ => {}
            }
        }
        Ok(node)
    }

    fn find(&self, name: &str) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|a| a.name == name)
    }

    /// Whether the attribute is there.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// An integer attribute or its default.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.find(name).map_or(default, |a| a.int)
    }

    /// A float attribute or its default.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.find(name).map_or(default, |a| a.float)
    }

    /// A list of integers, if the attribute is there.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.find(name).map(|a| a.ints.as_slice())
    }

    /// A list of floats, if the attribute is there.
    pub fn floats(&self, name: &str) -> Option<&[f32]> {
        self.find(name).map(|a| a.floats.as_slice())
    }

    /// A text attribute or its default; what is not UTF-8 reads as empty.
    pub fn text(&self, name: &str, default: &'static str) -> &str {
        self.find(name)
            .map_or(default, |a| std::str::from_utf8(a.text).unwrap_or_default())
    }

    /// A tensor attribute.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.find(name).and_then(|a| a.tensor.as_ref())
    }
}

impl<'a> Attribute<'a> {
    fn parse(message: &'a [u8]) -> Result<Self> {
        let mut attribute = Attribute::default();
        for field in fields(message) {
            match field? {
                (1, value) => attribute.name = value.text()?,
                (2, value) => attribute.float = value.float()?,
                (3, value) => attribute.int = value.int()?,
                (4, value) => attribute.text = value.bytes()?,
                (5, value) => attribute.tensor = Some(Tensor::parse(value.bytes()?)?.1),
                (7, value) => value.floats(&mut attribute.floats)?,
                (8, value) => value.ints(&mut attribute.ints)?,
                _ => {}
            }
        }
        Ok(attribute)
    }
}

/// `TensorProto.DataType`
mod data_type {
    pub const FLOAT: i64 = 1;
    pub const INT32: i64 = 6;
    pub const INT64: i64 = 7;
    pub const FLOAT16: i64 = 10;
    pub const DOUBLE: i64 = 11;
}

impl Tensor {
    /// A tensor of floats.
    pub fn new(dims: &[usize], floats: Vec<f32>) -> Self {
        Self {
            dims: dims.to_vec(),
            floats,
            ints: vec![],
        }
    }

    fn parse(message: &[u8]) -> Result<(&str, Self)> {
        let (mut name, mut kind, mut raw) = ("", 0, None);
        let (mut dims, mut floats, mut ints, mut doubles) = (vec![], vec![], vec![], vec![]);
        for field in fields(message) {
            match field? {
                (1, value) => value.ints(&mut dims)?,
                (2, value) => kind = value.int()?,
                (4, value) => value.floats(&mut floats)?,
                (5 | 7, value) => value.ints(&mut ints)?,
                (8, value) => name = value.text()?,
                (9, value) => raw = Some(value.bytes()?),
                (10, Value::Bytes(b)) => doubles = words::<8>(b).map(f64::from_le_bytes).collect(),
                (14, value) if value.int()? != 0 => {
                    return Err(invalid(format!(
                        "constant '{name}' lies in another file; put all data into the model"
                    )));
                }
                _ => {}
            }
        }
        match (kind, raw) {
            (data_type::FLOAT, Some(raw)) => floats = words(raw).map(f32::from_le_bytes).collect(),
            (data_type::FLOAT, None) => {}
            (data_type::DOUBLE, raw) => {
                if let Some(raw) = raw {
                    doubles = words(raw).map(f64::from_le_bytes).collect();
                }
                floats = doubles.iter().map(|&v| v as f32).collect();
            }
            (data_type::FLOAT16, Some(raw)) => floats = words(raw).map(|b| f16::from_le_bytes(b).to_f32()).collect(),
            (data_type::FLOAT16, None) => floats = ints.drain(..).map(|v| f16::from_bits(v as u16).to_f32()).collect(),
            (data_type::INT64, Some(raw)) => ints = words(raw).map(i64::from_le_bytes).collect(),
            (data_type::INT32, Some(raw)) => ints = words(raw).map(|b| i64::from(i32::from_le_bytes(b))).collect(),
            (data_type::INT64 | data_type::INT32, None) => {}
            (other, _) => {
                return Err(invalid(format!(
                    "constant '{name}': expected floats or integers, found data type {other} of ONNX"
                )));
            }
        }
        if matches!(kind, data_type::INT32 | data_type::INT64) {
            floats = ints.iter().map(|&v| v as f32).collect();
        }
        let sizes: Option<Vec<usize>> = dims.iter().map(|&d| usize::try_from(d).ok()).collect();
        let count = sizes
            .as_ref()
            .and_then(|s| s.iter().try_fold(1usize, |n, &d| n.checked_mul(d)));
        match (sizes, count) {
            (Some(dims), Some(count)) if count == floats.len() => Ok((name, Self { dims, floats, ints })),
            _ => Err(invalid(format!(
                "constant '{name}': expected values for shape {dims:?}, found {}",
                floats.len()
            ))),
        }
    }
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.chunks_exact(N).map(|c| std::array::from_fn(|i| c[i]))
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::ModelInvalid, message)
}

impl<'a> Port<'a> {
    fn parse(message: &'a [u8]) -> Result<Self> {
        let mut port = Port::default();
        for field in fields(message) {
            match field? {
                (1, value) => port.name = value.text()?,
                (2, value) => port.shape = shape(value.bytes()?)?,
                _ => {}
            }
        }
        Ok(port)
    }
}

/// The shape in a `TypeProto`.
fn shape(message: &[u8]) -> Result<Option<Vec<Option<i64>>>> {
    let mut shape = None;
    for field in fields(message) {
        let (1, tensor) = field? else { continue };
        for field in fields(tensor.bytes()?) {
            let (2, dims) = field? else { continue };
            let mut sizes = vec![];
            for field in fields(dims.bytes()?) {
                let (1, dim) = field? else { continue };
                let mut size = None;
                for field in fields(dim.bytes()?) {
                    if let (1, value) = field? {
                        size = Some(value.int()?);
                    }
                }
                sizes.push(size);
            }
            shape = Some(sizes);
        }
    }
    Ok(shape)
}

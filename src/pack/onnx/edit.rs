//! A network of 16 bits behind ports of 32: an edit of its ONNX file.
//!
//! Where the arithmetic of a pack's subnetworks is mixed, they hand each other planes of 32 bits. A file whose ports
//! are FLOAT16 takes and gives those after this, its arithmetic as it was:
//!
//! ```text
//! p (FLOAT) → Cast → p_fp16 → the network → r_fp16 → Cast → r (FLOAT)
//! ```
//! The conversions are nodes, so strongly typed networks have them and weakly typed ones (8.x) have ports of 32 bits
//! beside the FP16 flag, as is usual there. Field numbers are those of `onnx.proto`.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use crate::error::{Error, ErrorKind, Result};
use crate::pack::onnx::wire::{Value, fields, push};

/// `TensorProto.DataType`
const FLOAT: u64 = 1;
const FLOAT16: u64 = 10;
/// `AttributeProto.AttributeType`
const INT: u64 = 2;

/// The same network with all inputs and outputs FLOAT instead of FLOAT16, under their names.
///
/// # Errors
/// [`ErrorKind::ModelInvalid`] if the file is damaged, it has no inputs or no outputs, a port is not FLOAT16, an output is not made by exactly one
/// node, or nodes have graphs of their own.
pub(crate) fn widen(onnx: &[u8]) -> Result<Vec<u8>> {
    edit(onnx).map_err(|e| {
        Error::new(
            e.kind(),
            format!(
                "its inputs and outputs cannot be made 32 bits: {e}; copy the file again or make the pack again \
                 with training/convert.py"
            ),
        )
    })
}

fn unexpected(message: String) -> Error {
    Error::new(ErrorKind::ModelInvalid, message)
}

fn edit(onnx: &[u8]) -> Result<Vec<u8>> {
    let (mut edited, mut graphs) = (Vec::with_capacity(onnx.len() + 1024), 0);
    for field in fields(onnx) {
        match field? {
            (7, graph) => {
                graphs += 1;
                push(&mut edited, 7, Value::Bytes(&graph_with_casts(graph.bytes()?)?));
            }
            (number, value) => push(&mut edited, number, value),
        }
    }
    match graphs {
        1 => Ok(edited),
        n => Err(unexpected(format!("expected one graph in it, found {n}"))),
    }
}

/// What the names in a graph stand for.
#[derive(Default)]
struct Names<'a> {
    /// All tensors and nodes.
    taken: HashSet<&'a str>,
    constants: HashSet<&'a str>,
    inputs: Vec<&'a str>,
    outputs: Vec<&'a str>,
    /// By how many nodes a tensor is made.
    made: HashMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    fn of(graph: &'a [u8]) -> Result<Self> {
        let mut names = Self::default();
        for field in fields(graph) {
            match field? {
                (1, node) => names.add_node(node.bytes()?)?,
                (5, tensor) => names.add_constant(text(tensor.bytes()?, 8)?),
                (11, port) => names.inputs.push(text(port.bytes()?, 1)?),
                (12, port) => names.outputs.push(text(port.bytes()?, 1)?),
                (13, tensor) => _ = names.taken.insert(text(tensor.bytes()?, 1)?),
                (14 | 15, _) => return Err(unexpected("expected no quantised or sparse tensors, found some".into())),
                _ => {}
            }
        }
        // Old files list constants among the inputs too.
        names.inputs.retain(|name| !names.constants.contains(name));
        names.taken.extend(names.inputs.iter().chain(&names.outputs));
        Ok(names)
    }

    fn add_constant(&mut self, name: &'a str) {
        self.constants.insert(name);
        self.taken.insert(name);
    }

    fn add_node(&mut self, node: &'a [u8]) -> Result<()> {
        for field in fields(node) {
            match field? {
                (1 | 3, name) => _ = self.taken.insert(name.text()?),
                (2, name) => {
                    self.taken.insert(name.text()?);
                    *self.made.entry(name.text()?).or_default() += 1;
                }
                (5, attribute) => {
                    for field in fields(attribute.bytes()?) {
                        // A graph inside may name any tensor outside.
                        if let (6 | 11, _) = field? {
                            return Err(unexpected("expected no graph inside a node, found one".into()));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The new name of each port's tensor of 16 bits.
    fn inner(&self) -> Result<HashMap<&'a str, String>> {
        let mut inner = HashMap::new();
        let inputs = self.inputs.iter().map(|name| (name, 0));
        for (name, expected) in inputs.chain(self.outputs.iter().map(|name| (name, 1))) {
            let found = self.made.get(name).copied().unwrap_or(0);
            if found != expected || name.is_empty() {
                return Err(unexpected(format!(
                    "expected {expected} nodes that make '{name}', found {found}"
                )));
            }
            let mut own = format!("{name}_fp16");
            while self.taken.contains(own.as_str()) {
                own.push('_');
            }
            if inner.insert(*name, own).is_some() {
                return Err(unexpected(format!("expected one input or output '{name}', found more")));
            }
        }
        Ok(inner)
    }
}

/// The text in a field of a message, or none.
fn text(message: &[u8], number: u32) -> Result<&str> {
    let mut text = "";
    for field in fields(message) {
        match field? {
            (found, value) if found == number => text = value.text()?,
            _ => {}
        }
    }
    Ok(text)
}

fn graph_with_casts(graph: &[u8]) -> Result<Vec<u8>> {
    let names = Names::of(graph)?;
    if names.inputs.is_empty() || names.outputs.is_empty() {
        return Err(unexpected(
            "expected inputs and outputs in its graph, found none".into(),
        ));
    }
    let inner = names.inner()?;
    let mut edited = Vec::with_capacity(graph.len() + 1024);
    // Nodes stand in the order in which they can run.
    for name in &names.inputs {
        push(
            &mut edited,
            1,
            Value::Bytes(&cast(name, &inner[name], FLOAT16, &inner[name])),
        );
    }
    for field in fields(graph) {
        match field? {
            (1, node) => push(&mut edited, 1, Value::Bytes(&renamed(node.bytes()?, &inner)?)),
            (number @ (11 | 12), port) if inner.contains_key(text(port.bytes()?, 1)?) => {
                push(&mut edited, number, Value::Bytes(&wide(port.bytes()?)?));
            }
            // What is said of a port among the tensors in between holds for another tensor now.
            (13, tensor) if inner.contains_key(text(tensor.bytes()?, 1)?) => {}
            (number, value) => push(&mut edited, number, value),
        }
    }
    for name in &names.outputs {
        push(
            &mut edited,
            1,
            Value::Bytes(&cast(&inner[name], name, FLOAT, &inner[name])),
        );
    }
    Ok(edited)
}

/// A node that converts `from` to `to`.
fn cast(from: &str, to: &str, element: u64, name: &str) -> Vec<u8> {
    let mut attribute = Vec::new();
    push(&mut attribute, 1, Value::Bytes(b"to"));
    push(&mut attribute, 3, Value::Varint(element));
    push(&mut attribute, 20, Value::Varint(INT));
    let mut node = Vec::new();
    for (number, text) in [(1, from), (2, to), (3, name), (4, "Cast")] {
        push(&mut node, number, Value::Bytes(text.as_bytes()));
    }
    push(&mut node, 5, Value::Bytes(&attribute));
    node
}

/// A node that takes and makes the tensors of 16 bits.
fn renamed(node: &[u8], inner: &HashMap<&str, String>) -> Result<Vec<u8>> {
    let mut edited = Vec::with_capacity(node.len() + 16);
    for field in fields(node) {
        let (number, mut value) = field?;
        if let 1 | 2 = number
            && let Some(own) = inner.get(value.text()?)
        {
            value = Value::Bytes(own.as_bytes());
        }
        push(&mut edited, number, value);
    }
    Ok(edited)
}

/// A `ValueInfoProto` of FLOAT instead of FLOAT16.
fn wide(port: &[u8]) -> Result<Vec<u8>> {
    let mut changed = 0;
    let wide = nested(port, 2, &mut |kind| {
        nested(kind, 1, &mut |tensor| {
            let mut edited = Vec::with_capacity(tensor.len());
            for field in fields(tensor) {
                match field? {
                    (1, element) if element.int()? == FLOAT16 as i64 => {
                        changed += 1;
                        push(&mut edited, 1, Value::Varint(FLOAT));
                    }
                    (number, value) => push(&mut edited, number, value),
                }
            }
            Ok(edited)
        })
    })?;
    if changed != 1 {
        return Err(unexpected(format!(
            "expected '{}' to be of 16-bit floats (data type {FLOAT16} of ONNX), found something else",
            text(port, 1)?
        )));
    }
    Ok(wide)
}

/// A message with the messages in one of its fields changed.
fn nested(message: &[u8], number: u32, change: &mut dyn FnMut(&[u8]) -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    let mut edited = Vec::with_capacity(message.len());
    for field in fields(message) {
        match field? {
            (found, value) if found == number => push(&mut edited, number, Value::Bytes(&change(value.bytes()?)?)),
            (other, value) => push(&mut edited, other, value),
        }
    }
    Ok(edited)
}

//! The edit on what ships, on files made for it, and on damaged ones.

use std::collections::{HashMap, HashSet};

use crate::cpu::operators;
use crate::pack::onnx::edit::*;
use crate::pack::{Pack, Subnetwork, Variant};

/// A model as the tests look at it: fields by number, whole and in their order.
#[derive(Default)]
struct Model {
    /// Of the model, but for the graph.
    around: Vec<Vec<u8>>,
    nodes: Vec<Node>,
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
    constants: Vec<String>,
    /// Of the graph, but for nodes and ports.
    rest: Vec<Vec<u8>>,
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Node {
    op: String,
    name: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
    rest: Vec<Vec<u8>>,
}

fn field(number: u32, value: Value<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, number, value);
    bytes
}

impl Model {
    fn read(onnx: &[u8]) -> Self {
        let mut model = Self::default();
        let mut graph = &[][..];
        for part in fields(onnx).map(Result::unwrap) {
            match part {
                (7, value) => graph = value.bytes().unwrap(),
                (number, value) => model.around.push(field(number, value)),
            }
        }
        for (number, value) in fields(graph).map(Result::unwrap) {
            match number {
                1 => model.nodes.push(Node::read(value.bytes().unwrap())),
                11 => model.inputs.push(value.bytes().unwrap().to_vec()),
                12 => model.outputs.push(value.bytes().unwrap().to_vec()),
                _ => {
                    if number == 5 {
                        model.constants.push(text(value.bytes().unwrap(), 8).unwrap().into());
                    }
                    model.rest.push(field(number, value));
                }
            }
        }
        model
    }

    /// Each node as `op(inputs) -> outputs`.
    fn lines(&self) -> Vec<String> {
        let line = |n: &Node| format!("{}({}) -> {}", n.op, n.inputs.join(", "), n.outputs.join(", "));
        self.nodes.iter().map(line).collect()
    }

    /// What makes a graph run: every name is made once, before it is used.
    fn check_order(&self, what: &str) {
        let names = |ports: &[Vec<u8>]| {
            let names = ports.iter().map(|port| text(port, 1).unwrap().to_string());
            names.collect::<Vec<_>>()
        };
        let mut known: HashSet<String> = names(&self.inputs).into_iter().collect();
        known.extend(self.constants.iter().cloned());
        let mut nodes = HashSet::new();
        for node in &self.nodes {
            for input in node.inputs.iter().filter(|name| !name.is_empty()) {
                assert!(known.contains(input), "{what}: {} takes {input} too early", node.op);
            }
            for output in &node.outputs {
                assert!(known.insert(output.clone()), "{what}: {output} is made twice");
            }
            assert!(
                node.name.is_empty() || nodes.insert(&node.name),
                "{what}: two nodes {}",
                node.name
            );
        }
        for output in names(&self.outputs) {
            assert!(known.contains(&output), "{what}: nothing makes {output}");
        }
    }
}

impl Node {
    fn read(message: &[u8]) -> Self {
        let mut node = Self::default();
        for (number, value) in fields(message).map(Result::unwrap) {
            let text = || value.text().unwrap().to_string();
            match number {
                1 => node.inputs.push(text()),
                2 => node.outputs.push(text()),
                3 => node.name = text(),
                4 => node.op = text(),
                _ => node.rest.push(field(number, value)),
            }
        }
        node
    }
}

/// What a cast converts to; 0 for other nodes.
fn target(node: &Node) -> i64 {
    let Some((_, attribute)) = node.rest.first().and_then(|field| fields(field).next()?.ok()) else {
        return 0;
    };
    let parts = fields(attribute.bytes().unwrap()).map(Result::unwrap);
    parts
        .filter(|(number, _)| *number == 3)
        .map(|(_, value)| value.int().unwrap())
        .sum()
}

#[test]
fn what_ships_keeps_all_but_its_ports() {
    for pack in Pack::embedded() {
        let pack = Pack::open(pack).unwrap();
        for which in Subnetwork::ALL {
            let what = pack.describe(which, Variant::Fp16);
            let file = pack.onnx(which, Variant::Fp16).unwrap();
            let edited = widen(file).unwrap();
            let (before, after) = (Model::read(file), Model::read(&edited));
            assert_eq!(after.around, before.around, "{what}");
            assert_eq!(after.rest, before.rest, "{what}: constants and the rest of the graph");

            // Ports: one byte each, the type.
            let mut ports = Vec::new();
            for (old, new, expected) in [
                (&before.inputs, &after.inputs, which.inputs()),
                (&before.outputs, &after.outputs, which.outputs()),
            ] {
                assert_eq!((old.len(), new.len()), (expected.len(), expected.len()), "{what}");
                for ((old, new), (name, _)) in old.iter().zip(new).zip(expected) {
                    assert_eq!(text(new, 1).unwrap(), *name, "{what}");
                    let changes: Vec<_> = old.iter().zip(new).filter(|(a, b)| a != b).collect();
                    assert_eq!(changes, [(&10, &1)], "{what} {name}");
                    assert_eq!(old.len(), new.len(), "{what} {name}");
                    ports.push(*name);
                }
            }

            // Nodes: casts around those that were there.
            let (ins, outs) = (which.inputs().len(), which.outputs().len());
            let inner = |name: &str| format!("{name}_fp16");
            assert_eq!(after.nodes.len(), ins + before.nodes.len() + outs, "{what}");
            let (head, rest) = after.nodes.split_at(ins);
            let (middle, tail) = rest.split_at(before.nodes.len());
            for (cast, (name, _)) in head.iter().zip(which.inputs()) {
                assert_eq!(
                    (cast.op.as_str(), target(cast)),
                    ("Cast", FLOAT16 as i64),
                    "{what} {name}"
                );
                assert_eq!(
                    (&cast.inputs[..], &cast.outputs[..]),
                    (&[name.to_string()][..], &[inner(name)][..])
                );
            }
            for (cast, (name, _)) in tail.iter().zip(which.outputs()) {
                assert_eq!(
                    (cast.op.as_str(), target(cast)),
                    ("Cast", FLOAT as i64),
                    "{what} {name}"
                );
                assert_eq!(
                    (&cast.inputs[..], &cast.outputs[..]),
                    (&[inner(name)][..], &[name.to_string()][..])
                );
            }
            let back: HashMap<String, &str> = ports.iter().map(|name| (inner(name), *name)).collect();
            for (old, new) in before.nodes.iter().zip(middle) {
                let mut undone = new.clone();
                for name in undone.inputs.iter_mut().chain(&mut undone.outputs) {
                    assert!(!ports.contains(&name.as_str()), "{what}: {name} is used as it is");
                    if let Some(port) = back.get(name) {
                        *name = port.to_string();
                    }
                }
                assert_eq!(undone, *old, "{what}");
            }
            after.check_order(&what);

            // The processor's reader sees the same.
            let mut expected = vec!["Cast".to_string(); ins];
            expected.extend(operators(file).unwrap());
            expected.extend(vec!["Cast".to_string(); outs]);
            assert_eq!(operators(&edited).unwrap(), expected, "{what}");
        }
    }
}

/// A file made for a test: nodes as `op(inputs) -> outputs`, ports by name and data type, other fields of the graph.
fn model(nodes: &[&str], inputs: &[(&str, u64)], outputs: &[(&str, u64)], other: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut graph = Vec::new();
    for line in nodes {
        let (op, rest) = line.split_once('(').unwrap();
        let (from, to) = rest.split_once(") -> ").unwrap();
        let mut node = Vec::new();
        for (number, names) in [(1, from), (2, to), (3, op), (4, op)] {
            for name in names.split(", ") {
                push(&mut node, number, Value::Bytes(name.as_bytes()));
            }
        }
        push(&mut graph, 1, Value::Bytes(&node));
    }
    for (number, ports) in [(11, inputs), (12, outputs)] {
        for (name, element) in ports {
            push(&mut graph, number, Value::Bytes(&port(name, *element)));
        }
    }
    for (number, message) in other {
        push(&mut graph, *number, Value::Bytes(message));
    }
    field(7, Value::Bytes(&graph))
}

/// A `ValueInfoProto`.
fn port(name: &str, element: u64) -> Vec<u8> {
    let tensor = field(1, Value::Varint(element));
    let kind = field(1, Value::Bytes(&tensor));
    [field(1, Value::Bytes(name.as_bytes())), field(2, Value::Bytes(&kind))].concat()
}

/// A `TensorProto` with a name alone.
fn constant(name: &str) -> Vec<u8> {
    field(8, Value::Bytes(name.as_bytes()))
}

#[test]
fn names_are_kept_apart() {
    let x = &[("x", FLOAT16)][..];
    let y = &[("y", FLOAT16)][..];
    for (what, file, expected) in [
        (
            "an input for several nodes",
            model(&["A(x, x) -> a", "B(a, x) -> y"], x, y, &[]),
            &[
                "Cast(x) -> x_fp16",
                "A(x_fp16, x_fp16) -> a",
                "B(a, x_fp16) -> y_fp16",
                "Cast(y_fp16) -> y",
            ][..],
        ),
        (
            "an output that goes on",
            model(&["A(x) -> y", "B(y, ) -> z"], x, &[("y", FLOAT16), ("z", FLOAT16)], &[]),
            &[
                "Cast(x) -> x_fp16",
                "A(x_fp16) -> y_fp16",
                "B(y_fp16, ) -> z_fp16",
                "Cast(y_fp16) -> y",
                "Cast(z_fp16) -> z",
            ],
        ),
        (
            "names that are taken",
            model(
                &["A(x, y_fp16) -> x_fp16", "x_fp16_(x_fp16) -> y"],
                x,
                y,
                &[(5, constant("y_fp16"))],
            ),
            &[
                "Cast(x) -> x_fp16__",
                "A(x_fp16__, y_fp16) -> x_fp16",
                "x_fp16_(x_fp16) -> y_fp16_",
                "Cast(y_fp16_) -> y",
            ],
        ),
        (
            "a constant among the inputs",
            model(&["A(x, c) -> y"], &[("x", FLOAT16), ("c", 7)], y, &[(5, constant("c"))]),
            &["Cast(x) -> x_fp16", "A(x_fp16, c) -> y_fp16", "Cast(y_fp16) -> y"],
        ),
        (
            "an input that nobody takes",
            model(&["A(x) -> y"], &[("x", FLOAT16), ("ratio", FLOAT16)], y, &[]),
            &[
                "Cast(x) -> x_fp16",
                "Cast(ratio) -> ratio_fp16",
                "A(x_fp16) -> y_fp16",
                "Cast(y_fp16) -> y",
            ],
        ),
    ] {
        let edited = Model::read(&widen(&file).unwrap());
        assert_eq!(edited.lines(), expected, "{what}");
        edited.check_order(what);
    }
    // What is said of tensors in between stays, what is said of ports there does not.
    let told = [
        (13, port("a", FLOAT16)),
        (13, port("x", FLOAT16)),
        (13, port("y", FLOAT16)),
    ];
    let edited = Model::read(&widen(&model(&["A(x) -> a", "B(a) -> y"], x, y, &told)).unwrap());
    assert_eq!(edited.rest, [field(13, Value::Bytes(&port("a", FLOAT16)))]);
    assert_eq!(
        (edited.inputs, edited.outputs),
        (vec![port("x", FLOAT)], vec![port("y", FLOAT)])
    );
}

#[test]
fn what_is_no_such_file_is_refused_by_name() {
    let (x, y) = (&[("x", FLOAT16)][..], &[("y", FLOAT16)][..]);
    let good = model(&["A(x) -> y"], x, y, &[]);
    assert!(widen(&good).is_ok());
    let inside = |number| {
        let attribute = field(5, Value::Bytes(&field(number, Value::Bytes(b""))));
        model(&["A(x) -> y"], x, y, &[(1, attribute)])
    };
    for (what, file, part) in [
        ("nothing", vec![], "found 0"),
        ("two graphs", [good.clone(), good].concat(), "found 2"),
        (
            "32 bits already",
            model(&["A(x) -> y"], &[("x", FLOAT)], y, &[]),
            "'x' to be of 16-bit floats",
        ),
        (
            "an output of integers",
            model(&["A(x) -> y"], x, &[("y", 7)], &[]),
            "'y' to be of 16-bit floats",
        ),
        (
            "no type",
            model(
                &["A(x) -> y"],
                &[],
                y,
                &[(11, constant("")), (11, field(1, Value::Bytes(b"x")))],
            ),
            "''",
        ),
        (
            "an output that nobody makes",
            model(&["A(x) -> a"], x, y, &[]),
            "1 nodes that make 'y', found 0",
        ),
        (
            "an output made twice",
            model(&["A(x) -> y", "B(x) -> y"], x, y, &[]),
            "1 nodes that make 'y', found 2",
        ),
        (
            "an input that is made",
            model(&["A(x) -> x, y"], x, y, &[]),
            "0 nodes that make 'x', found 1",
        ),
        (
            "an input handed through",
            model(&["A(x) -> y"], x, &[("y", FLOAT16), ("x", FLOAT16)], &[]),
            "make 'x'",
        ),
        (
            "a constant handed out",
            model(&["A(x) -> a"], x, y, &[(5, constant("y"))]),
            "make 'y', found 0",
        ),
        (
            "an input twice",
            model(&["A(x) -> y"], &[x[0], x[0]], y, &[]),
            "one input or output 'x'",
        ),
        (
            "an output twice",
            model(&["A(x) -> y"], x, &[y[0], y[0]], &[]),
            "one input or output 'y'",
        ),
        ("a graph inside a node", inside(6), "no graph inside a node"),
        ("graphs inside a node", inside(11), "no graph inside a node"),
        (
            "quantised tensors",
            model(&["A(x) -> y"], x, y, &[(14, vec![])]),
            "no quantised or sparse",
        ),
        (
            "sparse tensors",
            model(&["A(x) -> y"], x, y, &[(15, vec![])]),
            "no quantised or sparse",
        ),
        (
            "a name that is no text",
            model(&["A(x) -> y"], x, y, &[(12, field(1, Value::Bytes(&[0xff])))]),
            "UTF-8",
        ),
        ("a graph that is a number", field(7, Value::Varint(1)), "expected bytes"),
    ] {
        let error = widen(&file).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::ModelInvalid, "{what}: {error}");
        let text = error.to_string();
        assert!(
            text.contains(part) && text.contains("training/convert.py"),
            "{what}: {text}"
        );
    }
}

/// Damage is an error or goes unnoticed in what the edit does not look at; it is never a panic.
#[test]
fn damage_is_an_error() {
    for which in [Subnetwork::Adjustment, Subnetwork::Illumination] {
        let pack = Pack::open("lite").unwrap();
        let file = pack.onnx(which, Variant::Fp16).unwrap();
        // The graph begins and ends here.
        let graph = fields(file)
            .map(Result::unwrap)
            .find(|(number, _)| *number == 7)
            .unwrap()
            .1
            .bytes()
            .unwrap();
        let begin = graph.as_ptr() as usize - file.as_ptr() as usize;
        let end = begin + graph.len();
        for length in (0..file.len()).filter(|n| file.len() < 1000 || n % 37 == 0) {
            match widen(&file[..length]) {
                Ok(_) => assert!(length >= end, "{} cut at {length} of {end} is taken", which.name()),
                Err(error) => assert_eq!(
                    error.kind(),
                    ErrorKind::ModelInvalid,
                    "{} cut at {length}",
                    which.name()
                ),
            }
        }
        let (mut refused, mut tried) = (0, 0);
        for at in (0..file.len()).filter(|n| file.len() < 1000 || n % 37 == 0) {
            for flip in [0x01, 0x07, 0x80, 0xff] {
                let mut flipped = file.to_vec();
                flipped[at] ^= flip;
                tried += 1;
                if let Err(error) = widen(&flipped) {
                    refused += 1;
                    assert_eq!(
                        error.kind(),
                        ErrorKind::ModelInvalid,
                        "{} byte {at} ^ {flip:#x}",
                        which.name()
                    );
                }
            }
        }
        // Most of a small file is structure, most of a large one are weights.
        let least = if file.len() < 1000 { tried / 4 } else { 1 };
        assert!(refused >= least, "{}: {refused} of {tried} are refused", which.name());
    }
}

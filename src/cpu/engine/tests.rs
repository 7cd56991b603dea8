//! Whole networks of every operator and form against the plain reference and against the `rten` crate, at every level
//! that the machine has.

use super::graph::{Binary, Graph, Op, Space, Unary};
use super::onnx::Onnx;
use super::pointwise::{Code, scalar};
use super::testing::{Model, noise};
use super::{Network, graph::Port};
use crate::pool::Pool;
use crate::simd::Level;

/// A case: its name, its ports, and its nodes.
struct Case {
    name: &'static str,
    inputs: &'static [Port<'static>],
    outputs: &'static [Port<'static>],
    sizes: &'static [(usize, usize)],
    build: fn(&mut Model),
}

const ODD: &[(usize, usize)] = &[(1, 1), (5, 3), (16, 12), (37, 23), (131, 7)];
const BY_8: &[(usize, usize)] = &[(8, 8), (40, 24), (136, 16)];

fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "planes to planes",
            inputs: &[("x", 3)],
            outputs: &[("y", 4)],
            sizes: ODD,
            build: |m| {
                let v = m.conv("x", 3, 4, 3, true);
                m.node("LeakyRelu", &[&v], &["y"]).float("alpha", 0.2);
            },
        },
        Case {
            name: "the paper's decomposition in small",
            inputs: &[("x", 3)],
            outputs: &[("p", 3), ("q", 1)],
            sizes: ODD,
            build: |m| {
                let v = m.conv("x", 3, 32, 3, true);
                let v = m.leaky(&v, 0.2);
                let v = m.conv(&v, 32, 32, 3, true);
                let v = m.leaky(&v, 0.2);
                let v = m.conv(&v, 32, 4, 3, true);
                let v = m.unary("Relu", &v);
                let sizes = m.ints(&[3, 1]);
                m.node("Split", &[&v, &sizes], &["p", "q"]).int("axis", 1);
            },
        },
        Case {
            name: "the paper's restoration",
            inputs: &[("p", 3), ("q", 1)],
            outputs: &[("r", 3)],
            sizes: ODD,
            build: |m| {
                let a = m.conv("p", 3, 32, 3, true);
                let a = m.unary("Relu", &a);
                let b = m.conv("q", 1, 32, 3, true);
                let b = m.unary("Relu", &b);
                let x = m.concat(&[&a, &b]);
                let s = m.unary("GlobalAveragePool", &x);
                let s = m.conv(&s, 64, 4, 1, false);
                let s = m.unary("Relu", &s);
                let s = m.conv(&s, 4, 64, 1, false);
                let s = m.unary("Sigmoid", &s);
                let mut x = m.binary("Mul", &x, &s);
                for _ in 0..2 {
                    x = m.conv(&x, 64, 64, 3, true);
                    x = m.unary("Relu", &x);
                }
                let x = m.conv(&x, 64, 3, 3, true);
                m.node("Add", &["p", &x], &["r"]);
            },
        },
        Case {
            name: "5x5 and a head of one plane",
            inputs: &[("q", 1)],
            outputs: &[("l", 1)],
            sizes: ODD,
            build: |m| {
                let v = m.conv("q", 1, 32, 5, true);
                let v = m.leaky(&v, 0.2);
                let v = m.conv(&v, 32, 32, 5, true);
                let v = m.leaky(&v, 0.2);
                let v = m.conv(&v, 32, 1, 1, true);
                m.node("Relu", &[&v], &["l"]);
            },
        },
        Case {
            name: "a ratio, a clip, a concatenation",
            inputs: &[("l", 1), ("ratio", 1)],
            outputs: &[("y", 1)],
            sizes: ODD,
            build: |m| {
                let (low, high) = (m.floats(&[1], vec![0.0]), m.floats(&[1], vec![0.5]));
                let v = m.node("Clip", &["l", &low, &high], &[]).out();
                let v = m.binary("Add", &v, "ratio");
                let v = m.concat(&["l", &v]);
                let v = m.conv(&v, 2, 16, 5, true);
                let v = m.leaky(&v, 0.2);
                let v = m.conv(&v, 16, 1, 5, true);
                m.node("Relu", &[&v], &["y"]);
            },
        },
        Case {
            name: "channels that are no multiple of 16",
            inputs: &[("x", 3)],
            outputs: &[("y", 3)],
            sizes: ODD,
            build: |m| {
                let a = m.conv("x", 3, 12, 3, true);
                let a = m.unary("Relu", &a);
                let b = m.conv(&a, 12, 20, 1, true);
                let b = m.conv(&b, 20, 40, 3, true);
                let c = m.concat(&[&a, &b, "x"]);
                let c = m.conv(&c, 55, 9, 3, true);
                let sizes = m.ints(&[2, 7]);
                m.node("Split", &[&c, &sizes], &["s", "t"]).int("axis", 1);
                let d = m.conv("t", 7, 3, 3, false);
                let e = m.conv("s", 2, 3, 3, false);
                m.node("Mul", &[&d, &e], &["y"]);
            },
        },
        Case {
            name: "many channels, every chunk",
            inputs: &[("x", 1)],
            outputs: &[("y", 1)],
            sizes: ODD,
            build: |m| {
                let mut v = m.conv("x", 1, 16, 1, true);
                let mut from = 16;
                for to in [48, 128, 80, 16, 32] {
                    v = m.conv(&v, from, to, 3, true);
                    v = m.unary("Relu", &v);
                    v = m.conv(&v, to, to, 1, true);
                    from = to;
                }
                let v = m.conv(&v, 32, 1, 3, true);
                m.node("Identity", &[&v], &["y"]);
            },
        },
        Case {
            name: "shuffles, views and residuals",
            inputs: &[("p", 3), ("q", 1)],
            outputs: &[("r", 3)],
            sizes: BY_8,
            build: |m| {
                let sizes = m.ints(&[1, 1, 1]);
                m.node("Split", &["p", &sizes], &["p0", "p1", "p2"]).int("axis", 1);
                let planes: Vec<_> = ["p0", "p1", "p2", "q"].iter().map(|p| m.to_depth(p, 4)).collect();
                let x = m.concat(&planes.iter().map(String::as_str).collect::<Vec<_>>());
                let a = m.conv(&x, 64, 32, 3, true);
                let a = m.unary("Relu", &a);
                let b = m.to_depth(&a, 2);
                let b = m.conv(&b, 128, 48, 1, true);
                let b = m.unary("Relu", &b);
                let c = m.conv(&b, 48, 48, 3, true);
                let c = m.binary("Add", &c, &b);
                let c = m.conv(&c, 48, 128, 1, true);
                let c = m.to_space(&c, 2, "CRD");
                let c = m.binary("Add", &a, &c);
                let c = m.unary("Relu", &c);
                // A 3x3 of a shuffled view, and a shuffle the other way of its result.
                let d = m.to_depth(&c, 2);
                let d = m.conv(&d, 128, 128, 3, true);
                let d = m.to_space(&d, 2, "DCR");
                let d = m.leaky(&d, 0.1);
                let e = m.conv(&d, 32, 16, 3, true);
                let e = m.binary("Add", &planes[1], &e);
                let f = m.conv(&d, 32, 32, 1, true);
                let f = m.unary("Sigmoid", &f);
                let g = m.binary("Sub", &planes[0], &planes[1]);
                let h = m.binary("Sub", &planes[2], &planes[1]);
                let g = m.concat(&[&g, &h]);
                let g = m.binary("Mul", &g, &f);
                let halves = m.ints(&[16, 16]);
                m.node("Split", &[&g, &halves], &["g0", "g1"]).int("axis", 1);
                let g0 = m.binary("Add", &e, "g0");
                let g1 = m.binary("Add", &e, "g1");
                let r = m.concat(&[&g0, &e, &g1]);
                m.node("DepthToSpace", &[&r], &["r"])
                    .int("blocksize", 4)
                    .text("mode", "CRD");
            },
        },
        Case {
            name: "rare shuffles",
            inputs: &[("x", 3)],
            outputs: &[("y", 3)],
            sizes: BY_8,
            build: |m| {
                let a = m.to_depth("x", 2);
                let a = m.conv(&a, 12, 12, 3, true);
                let b = m.to_space(&a, 2, "CRD");
                let c = m.to_depth("x", 8);
                let c = m.conv(&c, 192, 192, 1, true);
                let c = m.unary("Sigmoid", &c);
                let d = m.to_space(&c, 8, "DCR");
                let e = m.to_space(&c, 2, "CRD");
                let e = m.to_space(&e, 4, "DCR");
                let f = m.binary("Add", &b, &d);
                m.node("Max", &[&f, &e], &["y"]);
            },
        },
        Case {
            name: "pointwise chains",
            inputs: &[("x", 3), ("q", 1)],
            outputs: &[("y", 3), ("z", 1), ("w", 1)],
            sizes: ODD,
            build: |m| {
                let three = m.floats(&[1, 3, 1, 1], vec![0.5, 1.5, -2.0]);
                let one = m.floats(&[], vec![0.25]);
                let a = m.binary("Mul", "x", &three);
                let a = m.binary("Add", &a, &one);
                let b = m.unary("Sigmoid", "q");
                let c = m.binary("Div", &a, &b);
                let c = m.unary("Exp", &c);
                let c = m.unary("Log", &c);
                m.node("Min", &[&c, "x"], &["y"]);
                m.node("Pow", &[&b, &one], &["z"]);
                m.node("Identity", &["q"], &["w"]);
                // Blocks with a plane beside them.
                let f = m.conv("x", 3, 24, 1, true);
                let g = m.binary("Mul", &f, &b);
                let _ = m.unary("Sigmoid", &g);
            },
        },
        Case {
            name: "blocks beside planes and pooled values",
            inputs: &[("x", 3), ("q", 1)],
            outputs: &[("y", 1)],
            sizes: ODD,
            build: |m| {
                let f = m.conv("x", 3, 24, 1, true);
                let g = m.binary("Mul", &f, "q");
                let mean = m
                    .node("ReduceMean", &[&g], &[])
                    .ints("axes", &[2, 3])
                    .int("keepdims", 1)
                    .out();
                let h = m.binary("Sub", &g, &mean);
                let h = m.unary("Sigmoid", &h);
                let v = m.conv(&h, 24, 2, 3, true);
                let s = m.unary("GlobalAveragePool", &v);
                let v = m.binary("Sub", &v, &s);
                let v = m.binary("Mul", &v, "q");
                let v = m.conv(&v, 2, 1, 1, true);
                m.node("Relu", &[&v], &["y"]);
            },
        },
    ]
}

/// The plain reference: every operation as it is defined, in 64 bits.
fn reference(graph: &Graph, inputs: &[Vec<f32>], width: usize, height: usize) -> Vec<Vec<f32>> {
    let mut values: Vec<Vec<f64>> = vec![vec![]; graph.values.len()];
    let sides = |id: usize| match graph.values[id].space {
        Space::Frame { down } => (width / down, height / down),
        Space::Pooled => (1, 1),
    };
    for (&id, data) in graph.inputs.iter().zip(inputs) {
        values[id] = data.iter().map(|&v| f64::from(v)).collect();
    }
    for (id, value) in graph.values.iter().enumerate() {
        if let Some(c) = &value.constant {
            values[id] = c.iter().map(|&v| f64::from(v)).collect();
        }
    }
    for node in &graph.nodes {
        let x = node.inputs[0];
        let ((iw, ih), (ow, oh)) = (sides(x), sides(node.output));
        let (ci, co) = (graph.values[x].channels, graph.values[node.output].channels);
        let get = |id: usize, c: usize, y: usize, x: usize| {
            let (w, h) = sides(id);
            values[id][c.min(graph.values[id].channels - 1) * w * h + y.min(h - 1) * w + x.min(w - 1)]
        };
        let parts: Vec<(usize, usize)> = match node.op {
            Op::Concat => node
                .inputs
                .iter()
                .flat_map(|&i| (0..graph.values[i].channels).map(move |c| (i, c)))
                .collect(),
            _ => vec![],
        };
        let mut out = Vec::with_capacity(co * oh * ow);
        for c in 0..co {
            for y in 0..oh {
                for xx in 0..ow {
                    out.push(match &node.op {
                        Op::Conv(f) => {
                            let k = f.kernel as isize;
                            let mut sum = f64::from(f.bias[c]);
                            for i in 0..f.inputs {
                                for ky in 0..k {
                                    for kx in 0..k {
                                        let (sy, sx) = (y as isize + ky - k / 2, xx as isize + kx - k / 2);
                                        if (0..ih as isize).contains(&sy) && (0..iw as isize).contains(&sx) {
                                            let w =
                                                f.weights[(((c * f.inputs + i) as isize * k + ky) * k + kx) as usize];
                                            sum += f64::from(w) * get(x, i, sy as usize, sx as usize);
                                        }
                                    }
                                }
                            }
                            sum
                        }
                        Op::Unary(Unary::Sigmoid) => 1.0 / (1.0 + (-get(x, c, y, xx)).exp()),
                        Op::Unary(op) => f64::from(scalar(Code::Unary(*op), get(x, c, y, xx) as f32, 0.0)),
                        Op::Binary(op) => {
                            let (a, b) = (get(x, c, y, xx), get(node.inputs[1], c, y, xx));
                            match op {
                                Binary::Add => a + b,
                                Binary::Sub => a - b,
                                Binary::Mul => a * b,
                                Binary::Div => a / b,
                                other => f64::from(scalar(Code::Binary(*other), a as f32, b as f32)),
                            }
                        }
                        Op::Concat => get(parts[c].0, parts[c].1, y, xx),
                        Op::Slice { start } => get(x, c + start, y, xx),
                        Op::Mean => values[x][c * iw * ih..][..iw * ih].iter().sum::<f64>() / (iw * ih) as f64,
                        Op::SpaceToDepth { block: b } => {
                            let (place, channel) = (c / ci, c % ci);
                            get(x, channel, y * b + place / b, xx * b + place % b)
                        }
                        Op::DepthToSpace { block: b, crd } => {
                            let place = y % b * b + xx % b;
                            let channel = if *crd { c * b * b + place } else { place * co + c };
                            get(x, channel, y / b, xx / b)
                        }
                    });
                }
            }
        }
        values[node.output] = out;
    }
    graph
        .outputs
        .iter()
        .map(|&id| values[id].iter().map(|&v| v as f32).collect())
        .collect()
}

fn inputs(graph: &Graph, area: usize) -> Vec<Vec<f32>> {
    let sizes = graph.inputs.iter().map(|&id| match graph.values[id].space {
        Space::Pooled => 1,
        Space::Frame { .. } => graph.values[id].channels * area,
    });
    sizes
        .enumerate()
        .map(|(i, n)| noise(n, i as u32 + 7).iter().map(|v| v + 0.5).collect())
        .collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() })
        .fold(0.0, |m, d| if d > m || d.is_nan() { d } else { m })
}

#[test]
fn every_case_at_every_level() {
    for case in cases() {
        let mut model = Model::new(case.inputs, case.outputs);
        (case.build)(&mut model);
        let bytes = model.bytes();
        let onnx = Onnx::parse(&bytes).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let graph = Graph::new(&onnx, case.inputs, case.outputs).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        for &(width, height) in case.sizes {
            let data = inputs(&graph, width * height);
            let expected = reference(&graph, &data, width, height);
            let scale = expected.iter().flatten().fold(0.1f32, |m, v| m.max(v.abs()));
            if let Some(theirs) = super::testing::rten(&bytes, case.inputs, case.outputs, &data, width, height) {
                for (a, b) in theirs.iter().zip(&expected) {
                    let error = largest_difference(a, b) / scale;
                    assert!(
                        error < 3e-5,
                        "{} {width}x{height}: rten differs from the reference by {error}",
                        case.name
                    );
                }
            }
            for &level in Level::available() {
                let network = Network::load(&bytes, case.inputs, case.outputs, level).unwrap();
                for threads in [1, 2] {
                    let pool = Pool::new(threads);
                    let mut workspace = network.workspace(width, height, pool.threads()).unwrap();
                    // The second frame finds the memory as the first has left it.
                    for frame in 0..2 {
                        let mut found: Vec<Vec<f32>> = expected.iter().map(|v| vec![f32::NAN; v.len()]).collect();
                        let mut outputs: Vec<&mut [f32]> = found.iter_mut().map(Vec::as_mut_slice).collect();
                        let views: Vec<&[f32]> = data.iter().map(Vec::as_slice).collect();
                        network.run(&pool, &mut workspace, &views, &mut outputs).unwrap();
                        for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
                            let error = largest_difference(a, b) / scale;
                            assert!(
                                error < 3e-5,
                                "{} {width}x{height} {level} {threads} threads frame {frame} output {i}: error {error}",
                                case.name
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn unsuitable_models_are_refused() {
    type Build = fn(&mut Model);
    let cases: &[(&str, Build)] = &[
        ("HardSwish", |m| {
            m.node("HardSwish", &["x"], &["y"]);
        }),
        ("strides", |m| {
            let w = m.floats(&[3, 3, 3, 3], noise(81, 1));
            m.node("Conv", &["x", &w], &["y"])
                .ints("pads", &[1; 4])
                .ints("strides", &[2, 2]);
        }),
        ("k of 1, 3 or 5", |m| {
            let w = m.floats(&[3, 3, 7, 7], noise(441, 1));
            m.node("Conv", &["x", &w], &["y"]).ints("pads", &[3; 4]);
        }),
        ("expected weights [outputs, 3", |m| {
            let v = m.conv("x", 4, 3, 3, true);
            m.node("Relu", &[&v], &["y"]);
        }),
        ("go together", |m| {
            let v = m.to_depth("x", 2);
            m.node("Add", &["x", &v], &["y"]);
        }),
        ("expected output 'y'", |m| {
            m.node("Relu", &["x"], &["other"]);
        }),
        ("expected 3 channels", |m| {
            let v = m.conv("x", 3, 5, 3, true);
            m.node("Relu", &[&v], &["y"]);
        }),
        ("given by no operator", |m| {
            m.node("Relu", &["nothing"], &["y"]);
        }),
    ];
    for (part, build) in cases {
        let mut model = Model::new(&[("x", 3)], &[("y", 3)]);
        build(&mut model);
        let error = Network::load(&model.bytes(), &[("x", 3)], &[("y", 3)], Level::Portable)
            .err()
            .expect(part);
        assert_eq!(error.kind(), crate::error::ErrorKind::ModelInvalid, "{part}");
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[test]
fn damaged_files_give_errors() {
    let case = cases().swap_remove(7);
    let mut model = Model::new(case.inputs, case.outputs);
    (case.build)(&mut model);
    let bytes = model.bytes();
    let load = |bytes: &[u8]| Network::load(bytes, case.inputs, case.outputs, Level::Portable).map(|_| ());
    assert!(load(&[]).is_err());
    for len in (0..bytes.len()).step_by(997) {
        assert!(load(&bytes[..len]).is_err(), "cut to {len}");
    }
    // Names, shapes and attributes lie behind the weights; those may change without harm.
    let mut random = 1u32;
    for _ in 0..300 {
        let mut damaged = bytes.clone();
        for _ in 0..4 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = bytes.len() - 1 - (random >> 8) as usize % 6000.min(bytes.len());
            damaged[at] ^= 1 << (random & 7);
        }
        let _ = load(&damaged);
    }
}

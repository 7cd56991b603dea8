//! Networks of every operator and form, for tests of whole networks.

use super::testing::{Model, noise};
use crate::network::{Graph, Port, Space};

/// A case: its name, its ports, and its nodes.
pub(crate) struct Case {
    pub name: &'static str,
    pub inputs: &'static [Port<'static>],
    pub outputs: &'static [Port<'static>],
    pub sizes: &'static [(usize, usize)],
    pub build: fn(&mut Model),
}

const ODD: &[(usize, usize)] = &[(1, 1), (5, 3), (16, 12), (37, 23), (131, 7)];
const BY_8: &[(usize, usize)] = &[(8, 8), (40, 24), (136, 16)];

/// Networks of every operator and form.
pub(crate) fn cases() -> Vec<Case> {
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
                let planes: Vec<_> = ["p0", "p1", "p2", "q"].iter().map(|p| m.unshuffle(p, 4)).collect();
                let x = m.concat(&planes.iter().map(String::as_str).collect::<Vec<_>>());
                let a = m.conv(&x, 64, 32, 3, true);
                let a = m.unary("Relu", &a);
                let b = m.unshuffle(&a, 2);
                let b = m.conv(&b, 128, 48, 1, true);
                let b = m.unary("Relu", &b);
                let c = m.conv(&b, 48, 48, 3, true);
                let c = m.binary("Add", &c, &b);
                let c = m.conv(&c, 48, 128, 1, true);
                let c = m.shuffle(&c, 2, "CRD");
                let c = m.binary("Add", &a, &c);
                let c = m.unary("Relu", &c);
                // A 3x3 of a shuffled view, and a shuffle the other way of its result.
                let d = m.unshuffle(&c, 2);
                let d = m.conv(&d, 128, 128, 3, true);
                let d = m.shuffle(&d, 2, "DCR");
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
            name: "gates",
            inputs: &[("p", 3), ("q", 1)],
            outputs: &[("r", 1)],
            sizes: BY_8,
            build: |m| {
                let sizes = m.ints(&[1, 1, 1]);
                m.node("Split", &["p", &sizes], &["p0", "p1", "p2"]).int("axis", 1);
                let planes: Vec<_> = ["p0", "p1", "p2", "q"].iter().map(|p| m.unshuffle(p, 4)).collect();
                let x = m.concat(&planes.iter().map(String::as_str).collect::<Vec<_>>());
                // The logistic function of a 1x1 convolution, times a 3x3 one.
                let a = m.conv(&x, 64, 32, 3, true);
                let b = m.conv(&x, 64, 32, 1, true);
                let b = m.unary("Sigmoid", &b);
                let a = m.binary("Mul", &a, &b);
                let a = m.conv(&a, 32, 64, 1, true);
                let a = m.binary("Add", &x, &a);
                let a = m.unary("Relu", &a);
                // A ramp, times a difference that the same pass would give, and part of a sum.
                let c = m.binary("Sub", &planes[0], &planes[1]);
                let d = m.conv(&a, 64, 16, 1, true);
                let d = m.unary("Relu", &d);
                let c = m.binary("Mul", &d, &c);
                let d = m.conv(&a, 64, 16, 1, true);
                let c = m.binary("Add", &c, &d);
                // Gates that others read too: of themselves, of a shuffled view, twice.
                let e = m.conv(&a, 64, 16, 1, true);
                let e = m.unary("Sigmoid", &e);
                let e = m.binary("Mul", &e, &e);
                let f = m.unshuffle(&a, 2);
                let f = m.conv(&f, 256, 64, 1, true);
                let f = m.shuffle(&f, 2, "CRD");
                let f = m.unary("Sigmoid", &f);
                let f = m.binary("Mul", &f, &c);
                let g = m.conv(&a, 64, 16, 1, true);
                let g = m.unary("Sigmoid", &g);
                let h = m.binary("Mul", &g, &c);
                let h = m.binary("Sub", &h, &g);
                // What it is a gate of comes later.
                let k = m.conv(&a, 64, 16, 1, true);
                let k = m.leaky(&k, 0.3);
                let l = m.conv(&a, 64, 16, 3, true);
                let k = m.binary("Mul", &k, &l);
                let (low, high) = (m.floats(&[1], vec![-0.1]), m.floats(&[1], vec![0.6]));
                let n = m.conv(&a, 64, 16, 1, true);
                let n = m.node("Clip", &[&n, &low, &high], &[]).out();
                let n = m.binary("Mul", &l, &n);
                let mut sum = c;
                for part in [e, f, h, k, n] {
                    sum = m.binary("Add", &sum, &part);
                }
                m.node("DepthToSpace", &[&sum], &["r"])
                    .int("blocksize", 4)
                    .text("mode", "CRD");
            },
        },
        Case {
            name: "shuffles around element-wise operations",
            inputs: &[("p", 3), ("q", 1)],
            outputs: &[("r", 3), ("s", 1), ("t", 3)],
            sizes: BY_8,
            build: |m| {
                let sizes = m.ints(&[1, 1, 1]);
                m.node("Split", &["p", &sizes], &["p0", "p1", "p2"]).int("axis", 1);
                let u: Vec<_> = ["p0", "p1", "p2", "q"].iter().map(|p| m.unshuffle(p, 4)).collect();
                let a = m.binary("Sub", &u[0], &u[1]);
                let b = m.binary("Sub", &u[2], &u[1]);
                let c = m.binary("Add", &a, &b);
                let c = m.binary("Mul", &c, &u[3]);
                // One part is an operand of the others.
                let (d, e) = (m.binary("Add", &c, &a), m.binary("Add", &c, &b));
                let r = m.concat(&[&d, &c, &e]);
                m.node("DepthToSpace", &[&r], &["r"])
                    .int("blocksize", 4)
                    .text("mode", "CRD");
                let s = m.binary("Max", &b, &u[2]);
                let s = m.unary("Sigmoid", &s);
                m.node("DepthToSpace", &[&s], &["s"])
                    .int("blocksize", 4)
                    .text("mode", "DCR");
                // Twice the same part, and an order that no plane has.
                let t = m.unary("Sigmoid", &a);
                let t = m.concat(&[&t, &s, &t]);
                m.node("DepthToSpace", &[&t], &["t"])
                    .int("blocksize", 4)
                    .text("mode", "DCR");
            },
        },
        Case {
            name: "rare shuffles",
            inputs: &[("x", 3)],
            outputs: &[("y", 3)],
            sizes: BY_8,
            build: |m| {
                let a = m.unshuffle("x", 2);
                let a = m.conv(&a, 12, 12, 3, true);
                let b = m.shuffle(&a, 2, "CRD");
                let c = m.unshuffle("x", 8);
                let c = m.conv(&c, 192, 192, 1, true);
                let c = m.unary("Sigmoid", &c);
                let d = m.shuffle(&c, 8, "DCR");
                let e = m.shuffle(&c, 2, "CRD");
                let e = m.shuffle(&e, 4, "DCR");
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

/// Numbers for every input of a network, for frames of `area` pixels.
pub(crate) fn inputs(graph: &Graph, area: usize) -> Vec<Vec<f32>> {
    let sizes = graph.inputs.iter().map(|&id| match graph.values[id].space {
        Space::Pooled => 1,
        Space::Frame { .. } => graph.values[id].channels * area,
    });
    sizes
        .enumerate()
        .map(|(i, n)| noise(n, i as u32 + 7).iter().map(|v| v + 0.5).collect())
        .collect()
}

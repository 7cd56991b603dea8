//! The plain reference: runs a graph number by number, as its operations are defined.

use crate::cpu::engine::kernels::scalar;
use crate::network::{Binary, Code, Graph, Op, Space, Unary};

/// All outputs for frames of `width` × `height`, computed in 64 bits.
pub fn reference(graph: &Graph, inputs: &[Vec<f32>], width: usize, height: usize) -> Vec<Vec<f32>> {
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

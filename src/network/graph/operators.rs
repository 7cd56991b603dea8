//! The operators with attributes or constraints: what each expects of them and of its operands.

use super::check::{Builder, MAX_DOWN, describe};
use super::structure::{Binary, Filter, Node, Op, Space, Unary, Value, ValueId};
use crate::error::Result;
use crate::network::limits::invalid;
use crate::pack::onnx::Node as OnnxNode;

impl<'a> Builder<'a> {
    pub(crate) fn conv(&mut self, node: &OnnxNode<'a>) -> Result<()> {
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

    pub(crate) fn gemm(&mut self, node: &OnnxNode<'a>) -> Result<()> {
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

    pub(crate) fn unary(&mut self, node: &OnnxNode<'a>, op: Unary) -> Result<()> {
        let x = self.operand(node, 0)?;
        let Value { channels, space, .. } = self.graph.values[x];
        self.add(node, Op::Unary(op), vec![x], channels, space)
    }

    pub(crate) fn binary(&mut self, node: &OnnxNode<'a>, op: Binary) -> Result<()> {
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

    pub(crate) fn concat(&mut self, node: &OnnxNode<'a>) -> Result<()> {
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

    pub(crate) fn split(&mut self, node: &OnnxNode<'a>) -> Result<()> {
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

    pub(crate) fn slice(&mut self, node: &OnnxNode<'a>) -> Result<()> {
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

    pub(crate) fn mean(&mut self, node: &OnnxNode<'a>) -> Result<()> {
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

    pub(crate) fn space_to_depth(&mut self, node: &OnnxNode<'a>) -> Result<()> {
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

    pub(crate) fn depth_to_space(&mut self, node: &OnnxNode<'a>) -> Result<()> {
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

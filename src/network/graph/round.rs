//! The subnetworks of a round as one graph, so that what one hands to the next need not lie in memory as planes.

use std::collections::HashMap;

use super::structure::{Binary, Graph, Node, Op, Space, Value, ValueId};
use crate::error::Result;
use crate::network::limits::invalid;

/// The pixel shuffle that plans have between planes and blocks.
const BLOCK: usize = 4;
const AREA: usize = BLOCK * BLOCK;
/// Of operations that are moved, at most so many come one after the other.
const DEEPEST: usize = 64;

impl Graph {
    /// `L'·R` of I and the ratio: decomposition, one restoration and illumination, adjustment (URetinex-Net, CVPR 2022,
    /// section 3), in the order of [`Subnetwork::ALL`](crate::pack::Subnetwork::ALL).
    ///
    /// # Errors
    /// [`ErrorKind::ModelInvalid`](crate::error::ErrorKind::ModelInvalid) if a subnetwork has other ports.
    pub fn round([decomposition, restoration, illumination, adjustment]: [Graph; 4]) -> Result<Self> {
        let mut all = Graph::default();
        let image = all.value(3, Space::Frame { down: 1 });
        let ratio = all.value(1, Space::Pooled);
        all.inputs = vec![image, ratio];
        let [p, q] = all.append(decomposition, [image])?;
        let [r] = all.append(restoration, [p, q])?;
        let [l] = all.append(illumination, [q])?;
        let [adjusted] = all.append(adjustment, [l, ratio])?;
        let lit = all.add(Op::Binary(Binary::Mul), vec![r, adjusted], 3, Space::Frame { down: 1 });
        all.outputs = vec![lit];
        Ok(Blocks::rewrite(all))
    }

    fn value(&mut self, channels: usize, space: Space) -> ValueId {
        self.values.push(Value {
            channels,
            space,
            constant: None,
        });
        self.values.len() - 1
    }

    fn add(&mut self, op: Op, inputs: Vec<ValueId>, channels: usize, space: Space) -> ValueId {
        let output = self.value(channels, space);
        self.nodes.push(Node { op, inputs, output });
        output
    }

    /// Adds the operations of `other`, whose inputs are values of this graph. Returns what its outputs are here.
    fn append<const I: usize, const O: usize>(&mut self, other: Graph, inputs: [ValueId; I]) -> Result<[ValueId; O]> {
        let ports = |graph: &Graph| (graph.inputs.len(), graph.outputs.len());
        if ports(&other) != (I, O) {
            return Err(invalid(format!(
                "expected {I} inputs and {O} outputs, found {:?}",
                ports(&other)
            )));
        }
        let mut here = vec![usize::MAX; other.values.len()];
        for (&port, &value) in other.inputs.iter().zip(&inputs) {
            let (a, b) = (&other.values[port], &self.values[value]);
            if (a.channels, a.space) != (b.channels, b.space) {
                return Err(invalid(format!(
                    "expected an input of {} channels ({:?}), found {} ({:?})",
                    b.channels, b.space, a.channels, a.space
                )));
            }
            here[port] = value;
        }
        for (id, value) in other.values.into_iter().enumerate() {
            if here[id] == usize::MAX {
                here[id] = self.values.len();
                self.values.push(value);
            }
        }
        self.nodes.extend(other.nodes.into_iter().map(|node| Node {
            op: node.op,
            inputs: node.inputs.iter().map(|&i| here[i]).collect(),
            output: here[node.output],
        }));
        Ok(std::array::from_fn(|i| here[other.outputs[i]]))
    }
}

/// Moves element-wise operations on planes that are wanted as blocks of 4×4 pixels, or come from such, onto the blocks: a
/// pixel shuffle and what is done to each pixel may change places.
///
/// So `P = I / Q` that restoration reads as blocks is computed there, and `L'` where `R` is a block still.
struct Blocks {
    graph: Graph,
    /// The node of the old graph that gives a value.
    given_by: HashMap<ValueId, Node>,
    /// Channels of planes that can be blocks.
    planes: HashMap<(ValueId, usize), Origin>,
    /// Channels of planes as blocks of 16.
    blocks: HashMap<(ValueId, usize), ValueId>,
    reciprocals: HashMap<ValueId, ValueId>,
    /// What stands for a value of the old graph.
    replaced: HashMap<ValueId, ValueId>,
}

/// Where a channel of planes comes from that can be a block: an input, blocks, or what is computed pixel by pixel of such.
#[derive(Debug, Clone, Copy)]
struct Origin {
    /// Operations from there on.
    depth: usize,
    /// Whether it is computed of blocks, at least in part.
    blocks: bool,
}

impl Blocks {
    fn rewrite(mut graph: Graph) -> Graph {
        let nodes = std::mem::take(&mut graph.nodes);
        let mut this = Self {
            graph,
            given_by: nodes.iter().map(|n| (n.output, n.clone())).collect(),
            planes: HashMap::new(),
            blocks: HashMap::new(),
            reciprocals: HashMap::new(),
            replaced: HashMap::new(),
        };
        this.find_origins(&nodes);
        for mut node in nodes {
            for input in &mut node.inputs {
                *input = this.replaced.get(input).copied().unwrap_or(*input);
            }
            let source = node.inputs[0];
            if matches!(node.op, Op::SpaceToDepth { block: BLOCK })
                && this.graph.values[source].channels == 1
                && this.planes.contains_key(&(source, 0))
            {
                let block = this.block(source, 0);
                this.replaced.insert(node.output, block);
                continue;
            }
            this.graph.nodes.push(node);
        }
        for i in 0..this.graph.outputs.len() {
            let id = this.graph.outputs[i];
            let Value { channels, space, .. } = this.graph.values[id];
            let each = matches!(this.given_by.get(&id), Some(node) if is_each(&node.op));
            let of_blocks = |c| this.planes.get(&(id, c)).is_some_and(|origin| origin.blocks);
            if each && (0..channels).all(of_blocks) {
                let parts: Vec<_> = (0..channels).map(|c| this.block(id, c)).collect();
                let down = this.graph.values[parts[0]].space;
                let whole = this.graph.add(Op::Concat, parts, AREA * channels, down);
                let shuffle = Op::DepthToSpace {
                    block: BLOCK,
                    crd: true,
                };
                this.graph.outputs[i] = this.graph.add(shuffle, vec![whole], channels, space);
            }
        }
        this.graph.drop_unused();
        this.graph.put_views_last();
        this.graph
    }

    fn find_origins(&mut self, nodes: &[Node]) {
        let input = Origin {
            depth: 0,
            blocks: false,
        };
        for &id in &self.graph.inputs {
            let channels = self.graph.values[id].channels;
            self.planes.extend((0..channels).map(|c| ((id, c), input)));
        }
        for node in nodes {
            let Value { channels, space, .. } = self.graph.values[node.output];
            for c in 0..channels {
                let found = match &node.op {
                    _ if space == Space::Pooled || channels >= AREA => None,
                    Op::Slice { start } => self.planes.get(&(node.inputs[0], c + start)).copied(),
                    Op::DepthToSpace { block: BLOCK, crd } if *crd || channels == 1 => {
                        Some(Origin { depth: 0, blocks: true })
                    }
                    op if is_each(op) => self.of_each(node, c),
                    _ => None,
                };
                self.planes.extend(found.map(|origin| ((node.output, c), origin)));
            }
        }
    }

    /// Where channel `c` of an element-wise operation's result comes from, if all that it is computed of can be blocks.
    fn of_each(&self, node: &Node, c: usize) -> Option<Origin> {
        let mut origin = Origin {
            depth: 0,
            blocks: false,
        };
        for &id in &node.inputs {
            if self.graph.values[id].space == Space::Pooled {
                continue;
            }
            let operand = self.planes.get(&(id, self.channel(id, c)))?;
            origin.depth = origin.depth.max(operand.depth + 1);
            origin.blocks |= operand.blocks;
        }
        (origin.depth <= DEEPEST).then_some(origin)
    }

    /// The channel of an operand that goes with channel `c` of the result: a single one applies to all.
    fn channel(&self, operand: ValueId, c: usize) -> usize {
        c.min(self.graph.values[operand].channels - 1)
    }

    /// Channel `c` of planes that can be a block as one; one of pooled values as one number.
    fn block(&mut self, id: ValueId, c: usize) -> ValueId {
        if let Some(&block) = self.blocks.get(&(id, c)) {
            return block;
        }
        let Value { channels, space, .. } = self.graph.values[id];
        let slice = |this: &mut Self, of: ValueId, start: usize, channels: usize| {
            let space = this.graph.values[of].space;
            this.graph.add(Op::Slice { start }, vec![of], channels, space)
        };
        let Space::Frame { down } = space else {
            let number = if channels == 1 { id } else { slice(self, id, c, 1) };
            self.blocks.insert((id, c), number);
            return number;
        };
        let small = Space::Frame { down: BLOCK * down };
        let block = match self.given_by.get(&id).cloned() {
            Some(Node {
                op: Op::Slice { start },
                inputs,
                ..
            }) => self.block(inputs[0], c + start),
            Some(Node {
                op: Op::DepthToSpace { .. },
                inputs,
                ..
            }) => match self.part(inputs[0], c) {
                Some(part) => part,
                None => slice(self, inputs[0], AREA * c, AREA),
            },
            Some(Node { op, inputs, .. }) => {
                let divisor = inputs.get(1).copied().filter(|_| op == Op::Binary(Binary::Div));
                let divisor = divisor.filter(|&d| channels > 1 && self.graph.values[d].channels == 1);
                if let Some(divisor) = divisor {
                    // Channels that are divided by the same plane are multiplied by its reciprocal, found once.
                    let (a, b) = (
                        self.block(inputs[0], self.channel(inputs[0], c)),
                        self.reciprocal(divisor),
                    );
                    self.graph.add(Op::Binary(Binary::Mul), vec![a, b], AREA, small)
                } else {
                    let operands = inputs.iter().map(|&i| self.block(i, self.channel(i, c))).collect();
                    self.graph.add(op, operands, AREA, small)
                }
            }
            None => {
                let plane = if channels == 1 { id } else { slice(self, id, c, 1) };
                self.graph
                    .add(Op::SpaceToDepth { block: BLOCK }, vec![plane], AREA, small)
            }
        };
        self.blocks.insert((id, c), block);
        block
    }

    /// The part of a value that is put together of blocks.
    fn part(&self, id: ValueId, at: usize) -> Option<ValueId> {
        let node = self.given_by.get(&id).filter(|node| node.op == Op::Concat)?;
        let blocks = node.inputs.iter().all(|&part| self.graph.values[part].channels == AREA);
        let part = *node.inputs.get(at).filter(|_| blocks)?;
        Some(self.replaced.get(&part).copied().unwrap_or(part))
    }

    /// One over a plane, as a block.
    fn reciprocal(&mut self, divisor: ValueId) -> ValueId {
        if let Some(&found) = self.reciprocals.get(&divisor) {
            return found;
        }
        let (one, block) = (self.graph.value(1, Space::Pooled), self.block(divisor, 0));
        self.graph.values[one].constant = Some(vec![1.0]);
        let space = self.graph.values[block].space;
        let channels = self.graph.values[block].channels;
        let found = self
            .graph
            .add(Op::Binary(Binary::Div), vec![one, block], channels, space);
        self.reciprocals.insert(divisor, found);
        found
    }
}

fn is_each(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Binary(_))
}

impl Graph {
    /// Puts slices and concatenations right before the first operation that needs them: between others they would end a chain
    /// of element-wise operations.
    fn put_views_last(&mut self) {
        let nodes = std::mem::take(&mut self.nodes);
        let mut waiting: HashMap<ValueId, Node> = HashMap::new();
        for node in nodes {
            match node.op {
                Op::Slice { .. } | Op::Concat => {
                    waiting.insert(node.output, node);
                }
                _ => {
                    node.inputs.iter().for_each(|&input| self.put(input, &mut waiting));
                    self.nodes.push(node);
                }
            }
        }
        for output in self.outputs.clone() {
            self.put(output, &mut waiting);
        }
    }

    /// Adds the view that gives a value, if it waits, and those that it is of.
    fn put(&mut self, id: ValueId, waiting: &mut HashMap<ValueId, Node>) {
        // Each is found open, then with all that it needs in place.
        let mut open = vec![id];
        while let Some(&id) = open.last() {
            let Some(node) = waiting.get(&id) else {
                open.pop();
                continue;
            };
            let before = open.len();
            open.extend(node.inputs.iter().copied().filter(|input| waiting.contains_key(input)));
            if open.len() == before {
                open.pop();
                self.nodes.extend(waiting.remove(&id));
            }
        }
    }

    /// Leaves out what no output needs.
    fn drop_unused(&mut self) {
        let mut needed = vec![false; self.values.len()];
        for &output in &self.outputs {
            needed[output] = true;
        }
        for node in self.nodes.iter().rev() {
            if needed[node.output] {
                node.inputs.iter().for_each(|&i| needed[i] = true);
            }
        }
        self.nodes.retain(|node| needed[node.output]);
        // Values keep their numbers; of those that nothing gives any more no plan takes notice but for their constants.
        for (value, needed) in self.values.iter_mut().zip(&needed) {
            if !needed {
                value.constant = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::graph::Unary;

    /// A round of element-wise operations alone: what is left works on blocks, but for the mean and what it is of.
    #[test]
    fn what_becomes_blocks_is_computed_there() {
        let frame = Space::Frame { down: 1 };
        let small = Space::Frame { down: 4 };
        // P = I / Q, where Q is the red channel with the mean of the green one at least.
        let mut decomposition = Graph::default();
        let image = decomposition.value(3, frame);
        let red = decomposition.add(Op::Slice { start: 0 }, vec![image], 1, frame);
        let green = decomposition.add(Op::Slice { start: 1 }, vec![image], 1, frame);
        let mean = decomposition.add(Op::Mean, vec![green], 1, Space::Pooled);
        let q = decomposition.add(Op::Binary(Binary::Max), vec![red, mean], 1, frame);
        let p = decomposition.add(Op::Binary(Binary::Div), vec![image, q], 3, frame);
        (decomposition.inputs, decomposition.outputs) = (vec![image], vec![p, q]);
        // R = P, by way of blocks; they know Q.
        let mut restoration = Graph::default();
        let (p, q) = (restoration.value(3, frame), restoration.value(1, frame));
        let q_block = restoration.add(Op::SpaceToDepth { block: 4 }, vec![q], 16, small);
        let parts = (0..3).map(|c| {
            let plane = restoration.add(Op::Slice { start: c }, vec![p], 1, frame);
            let block = restoration.add(Op::SpaceToDepth { block: 4 }, vec![plane], 16, small);
            restoration.add(Op::Binary(Binary::Add), vec![block, q_block], 16, small)
        });
        let parts = parts.collect();
        let whole = restoration.add(Op::Concat, parts, 48, small);
        let r = restoration.add(Op::DepthToSpace { block: 4, crd: true }, vec![whole], 3, frame);
        (restoration.inputs, restoration.outputs) = (vec![p, q], vec![r]);
        let mut illumination = Graph::default();
        let q = illumination.value(1, frame);
        let l = illumination.add(Op::Unary(Unary::Clip(0.1, 1.0)), vec![q], 1, frame);
        (illumination.inputs, illumination.outputs) = (vec![q], vec![l]);
        let mut adjustment = Graph::default();
        let (l, ratio) = (adjustment.value(1, frame), adjustment.value(1, Space::Pooled));
        let adjusted = adjustment.add(Op::Binary(Binary::Pow), vec![l, ratio], 1, frame);
        (adjustment.inputs, adjustment.outputs) = (vec![l, ratio], vec![adjusted]);
        let round = Graph::round([decomposition, restoration, illumination, adjustment]).unwrap();
        let on_planes = round.nodes.iter().filter(|n| round.values[n.output].space == frame);
        let on_planes: Vec<_> = on_planes.map(|n| n.op.clone()).collect();
        let slice = |start| Op::Slice { start };
        let expected = [
            slice(1),
            slice(0),
            slice(1),
            slice(2),
            Op::DepthToSpace { block: 4, crd: true },
        ];
        for op in &on_planes {
            assert!(expected.contains(op), "{op:?} is left on planes");
        }
        let shuffles = round.nodes.iter().filter(|n| matches!(n.op, Op::SpaceToDepth { .. }));
        assert_eq!(shuffles.count(), 3, "each channel of the image becomes blocks once");
        let divisions = round.nodes.iter().filter(|n| n.op == Op::Binary(Binary::Div));
        assert_eq!(divisions.count(), 1, "Q's reciprocal is found once");
    }

    /// However long a chain of operations or often a result is used, nothing is computed more than once.
    #[test]
    fn chains_that_double_are_moved_once_or_left() {
        for length in [DEEPEST / 2, 10_000] {
            let frame = Space::Frame { down: 1 };
            let mut graph = Graph::default();
            let input = graph.value(1, frame);
            let mut x = input;
            for _ in 0..length {
                x = graph.add(Op::Binary(Binary::Mul), vec![x, x], 1, frame);
            }
            let block = graph.add(Op::SpaceToDepth { block: 4 }, vec![x], 16, Space::Frame { down: 4 });
            let plane = graph.add(Op::DepthToSpace { block: 4, crd: true }, vec![block], 1, frame);
            (graph.inputs, graph.outputs) = (vec![input], vec![plane]);
            let rewritten = Blocks::rewrite(graph);
            let products = |space| {
                let nodes = rewritten.nodes.iter().filter(|n| n.op == Op::Binary(Binary::Mul));
                nodes.filter(|n| rewritten.values[n.output].space == space).count()
            };
            let (planes, blocks) = (products(frame), products(Space::Frame { down: 4 }));
            let expected = if length <= DEEPEST { (0, length) } else { (length, 0) };
            assert_eq!((planes, blocks), expected);
        }
    }
}

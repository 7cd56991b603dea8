//! Slices, concatenations and pixel shuffles: views where they concern whole blocks, copies otherwise.

use super::lower::{Lowering, Place};
use super::structure::*;
use crate::error::Result;
use crate::network::graph::{Node, Op, ValueId};

impl Lowering<'_> {
    /// A block whose lanes all hold the one channel of a plane.
    pub(crate) fn spread(&mut self, image: &Image) -> Image {
        self.plan.slots.push(Class {
            kind: Kind::Block,
            down: image.down,
        });
        let unit = Unit::Slot {
            slot: self.plan.slots.len() - 1,
            dy: 0,
            dx: 0,
        };
        let block = Image {
            kind: Kind::Block,
            down: image.down,
            step: 1,
            channels: 1,
            units: vec![unit],
        };
        let from = channel(image, 0, 1, (0, 0));
        let channels = (0..16)
            .map(|lane| {
                (
                    from,
                    Channel {
                        lane,
                        ..channel(&block, 0, 1, (0, 0))
                    },
                )
            })
            .collect();
        self.plan.steps.push(Step::Move {
            channels,
            down: image.down,
        });
        block
    }

    pub(crate) fn slice(&mut self, node: &Node, start: usize) {
        let input = self.image(node.inputs[0]);
        let channels = self.graph.values[node.output].channels;
        let kind = Kind::of(channels);
        if kind == input.kind && start.is_multiple_of(kind.lanes()) {
            let first = start / kind.lanes();
            let units = input.units[first..first + channels.div_ceil(kind.lanes())].to_vec();
            self.places.insert(
                node.output,
                Place::Image(Image {
                    units,
                    channels,
                    ..input
                }),
            );
            return;
        }
        let output = self.allocate(node.output);
        let moves = (0..channels).map(|c| (channel(&input, start + c, 1, (0, 0)), channel(&output, c, 1, (0, 0))));
        self.plan.steps.push(Step::Move {
            channels: moves.collect(),
            down: input.down,
        });
        self.places.insert(node.output, Place::Image(output));
    }

    pub(crate) fn concat(&mut self, node: &Node) -> Result<()> {
        let parts: Vec<Image> = node.inputs.iter().map(|&i| self.image(i)).collect();
        let channels = self.graph.values[node.output].channels;
        let kind = Kind::of(channels);
        let whole = |i: usize, p: &Image| i + 1 == parts.len() || p.channels.is_multiple_of(kind.lanes());
        let fits = |(i, p): (usize, &Image)| p.kind == kind && p.step == parts[0].step && whole(i, p);
        if parts.iter().enumerate().all(fits) {
            let units = parts.iter().flat_map(|p| p.units.iter().copied()).collect();
            let image = Image {
                units,
                channels,
                ..parts[0].clone()
            };
            self.places.insert(node.output, Place::Image(image));
            return Ok(());
        }
        let output = self.allocate(node.output);
        let from = parts
            .iter()
            .flat_map(|p| (0..p.channels).map(|c| channel(p, c, 1, (0, 0))));
        let moves = from.enumerate().map(|(c, from)| (from, channel(&output, c, 1, (0, 0))));
        self.plan.steps.push(Step::Move {
            channels: moves.collect(),
            down: output.down,
        });
        self.places.insert(node.output, Place::Image(output));
        Ok(())
    }

    pub(crate) fn space_to_depth(&mut self, node: &Node, block: usize) {
        let input = self.image(node.inputs[0]);
        if input.kind == Kind::Block && input.channels.is_multiple_of(16) {
            self.places.insert(node.output, Place::Image(view(&input, block)));
            return;
        }
        if input.kind == Kind::Plane && input.channels == 1 && input.step == 1 && block == 4 {
            let plane = input.units[0];
            let graph = self.graph;
            let each = |&u: &usize| matches!(graph.nodes[u].op, Op::Unary(_) | Op::Binary(_));
            if self.users[node.output].iter().all(each) && !graph.outputs.contains(&node.output) {
                self.places.insert(node.output, Place::Shuffled(plane));
            } else {
                self.shuffle(node.output, plane);
            }
            return;
        }
        let output = self.allocate(node.output);
        let moves = (0..output.channels).map(|c| {
            let (place, source) = (c / input.channels, c % input.channels);
            let from = channel(&input, source, block, (place / block, place % block));
            (from, channel(&output, c, 1, (0, 0)))
        });
        self.plan.steps.push(Step::Move {
            channels: moves.collect(),
            down: output.down,
        });
        self.places.insert(node.output, Place::Image(output));
    }

    /// Turns 4×4 pixels of a plane into the channels of a value.
    pub(crate) fn shuffle(&mut self, id: ValueId, plane: Unit) -> Image {
        let output = self.allocate(id);
        self.plan.steps.push(Step::Shuffle {
            plane,
            block: (output.units[0], output.step),
            down: output.down,
            back: false,
        });
        self.places.insert(id, Place::Image(output.clone()));
        output
    }

    pub(crate) fn depth_to_space(&mut self, node: &Node, block: usize, crd: bool) {
        let input = self.image(node.inputs[0]);
        let output = self.allocate(node.output);
        let planes = output.kind == Kind::Plane && input.kind == Kind::Block && block == 4;
        if planes && (crd || output.channels == 1) {
            for (&plane, &unit) in output.units.iter().zip(&input.units) {
                self.plan.steps.push(Step::Shuffle {
                    plane,
                    block: (unit, input.step),
                    down: input.down,
                    back: true,
                });
            }
        } else {
            let moves = (0..input.channels).map(|c| {
                let (place, target) = match crd {
                    true => (c % (block * block), c / (block * block)),
                    false => (c / output.channels, c % output.channels),
                };
                (
                    channel(&input, c, 1, (0, 0)),
                    channel(&output, target, block, (place / block, place % block)),
                )
            });
            self.plan.steps.push(Step::Move {
                channels: moves.collect(),
                down: input.down,
            });
        }
        self.places.insert(node.output, Place::Image(output));
    }
}

/// The image in which a square of `block` × `block` pixels is one pixel, with the channels of all of them.
pub(crate) fn view(image: &Image, block: usize) -> Image {
    if block == 1 {
        return image.clone();
    }
    let units = (0..block * block).flat_map(|place| {
        image.units.iter().map(move |&unit| match unit {
            Unit::Slot { slot, dy, dx } => Unit::Slot {
                slot,
                dy: dy + place / block * image.step,
                dx: dx + place % block * image.step,
            },
            other => other,
        })
    });
    Image {
        kind: image.kind,
        down: image.down * block,
        step: image.step * block,
        channels: image.channels * block * block,
        units: units.collect(),
    }
}

fn channel(image: &Image, c: usize, step: usize, offset: (usize, usize)) -> Channel {
    Channel {
        unit: image.units[c / image.kind.lanes()],
        kind: image.kind,
        lane: c % image.kind.lanes(),
        step,
        offset,
        unit_step: image.step,
    }
}

//! What a plan consists of: steps on images, images made of units, units in slots of memory.

use crate::network::graph::{Binary, Filter, Unary};
use crate::network::limits::{LANES, PAIRED_LANES};

/// How the numbers of an image lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One channel, row by row.
    Plane,
    /// 16 channels of a pixel side by side.
    Block,
    /// 32 channels of a pixel side by side in 16-bit floating point, in memory like a block's.
    Paired,
}

/// Values of this many channels and more lie in blocks, others in planes.
pub const BLOCK_FROM: usize = 8;

impl Kind {
    /// The layout of a value with `channels` channels.
    pub fn of(channels: usize) -> Self {
        if channels < BLOCK_FROM {
            Kind::Plane
        } else {
            Kind::Block
        }
    }

    /// Channels in a unit.
    pub fn lanes(self) -> usize {
        match self {
            Kind::Plane => 1,
            Kind::Block => LANES,
            Kind::Paired => PAIRED_LANES,
        }
    }

    /// The kind of its memory, and of the floats that fit in a pixel: plane or block.
    pub fn memory(self) -> Self {
        match self {
            Kind::Paired => Kind::Block,
            other => other,
        }
    }
}

/// A class of memory: planes or blocks whose sides are the frame's divided by `down`, with zeros around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Class {
    /// Plane or block.
    pub kind: Kind,
    /// The frame's sides divided by this.
    pub down: usize,
}

/// A plane or block of an image: part of a slot of memory, or one of the caller's planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Every `step`th pixel of a slot (see [`Image::step`]) from (dy, dx) on.
    Slot { slot: usize, dy: usize, dx: usize },
    /// An input plane.
    Input { port: usize, channel: usize },
    /// An output plane.
    Output { port: usize, channel: usize },
}

/// A value over the frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Planes or blocks.
    pub kind: Kind,
    /// Its size: the frame's sides divided by this.
    pub down: usize,
    /// Distance of two neighbouring pixels of the image in the slot, in pixels.
    pub step: usize,
    /// Channels. The last unit may have room for more.
    pub channels: usize,
    /// Where they are.
    pub units: Vec<Unit>,
}

/// A convolution: act(conv(input · scale) + bias + residual) · gated.
pub struct Conv<K> {
    /// The filter; what an executor has made of it.
    pub kernel: K,
    /// Side of the kernel.
    pub side: usize,
    /// What it reads.
    pub input: Image,
    /// What it writes. Its sides are the input's.
    pub output: Image,
    /// With [`Target::Paired`](super::lower::Target::Paired): the same in 16-bit floating point.
    pub rounded: Option<Image>,
    /// Added before the activation.
    pub residual: Option<Image>,
    /// max(x, slope · x)
    pub slope: f32,
    /// An image of blocks that the result is multiplied by; without [`Target::Paired`](super::lower::Target::Paired) not with a filter of 3×3 or 5×5
    /// between whole blocks.
    pub gated: Option<Gated>,
    /// Factors of the input channels: where they begin among the pooled values, and, for the executor to say, where the
    /// weights that they are multiplied into begin in its memory. None where the input is in 16-bit floating point.
    pub scale: Option<(usize, usize)>,
}

/// The activation of a result that is multiplied by an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gate {
    /// max(x, slope · x)
    Slope,
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// Limited to a range.
    Clip(f32, f32),
}

/// An image that a convolution's result is multiplied by.
#[derive(Debug, Clone, PartialEq)]
pub struct Gated {
    /// Of the output's size.
    pub image: Image,
    /// The activation of the result, in place of the slope.
    pub gate: Gate,
}

/// What an instruction does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Code {
    /// On the first operand.
    Unary(Unary),
    /// On both.
    Binary(Binary),
    /// One over the first operand.
    Reciprocal,
}

/// An operand of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ref {
    /// The result of an earlier instruction that only this program reads.
    Register(usize),
    /// A unit, by its place in [`Program::units`].
    Unit(usize),
    /// Pooled values, by their place in [`Program::lanes`].
    Lanes(usize),
    /// 4×4 pixels of a plane as the channels of a block, by the plane's place in [`Program::planes`].
    Plane(usize),
}

/// An instruction of a program.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Instruction {
    /// What it does.
    pub code: Code,
    /// Where the result goes.
    pub out: Ref,
    /// The first operand.
    pub a: Ref,
    /// The second operand, or the first again.
    pub b: Ref,
}

/// A chain of element-wise operations.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// What it works on.
    pub class: Class,
    /// What it does.
    pub instructions: Vec<Instruction>,
    /// Registers that it needs.
    pub registers: usize,
    /// Units that it reads and writes, with their steps.
    pub units: Vec<(Unit, usize)>,
    /// Pooled values that it reads: where they begin, and whether one is repeated.
    pub lanes: Vec<(usize, bool)>,
    /// Planes four times as wide and high as its blocks that it reads, 4×4 pixels as the channels of a block.
    pub planes: Vec<Unit>,
    /// Registers whose channels are written as 4×4 pixels of a plane.
    pub shuffled: Vec<(usize, Unit)>,
}

/// One channel of an image that is moved: a lane of a unit, with a step and an offset in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Channel {
    /// Where it is.
    pub unit: Unit,
    /// Plane or block.
    pub kind: Kind,
    /// The lane of a block.
    pub lane: usize,
    /// Pixels from one to the next.
    pub step: usize,
    /// Pixels (y, x) to the first, in steps of the image that the channel belongs to.
    pub offset: (usize, usize),
    /// Pixels of the unit to a pixel of the image.
    pub unit_step: usize,
}

/// Work on pooled values. `from`, `to`, `a` and `b` say where operands begin.
#[derive(Debug, Clone, PartialEq)]
pub enum Pooled {
    /// A dense layer.
    Dense { filter: Filter, from: usize, to: usize },
    /// An element-wise operation; operands are a start and a step, and a step of 0 repeats one number.
    Each {
        code: Code,
        a: (usize, usize),
        b: (usize, usize),
        to: usize,
        count: usize,
    },
    /// A copy.
    Move { from: usize, to: usize, count: usize },
}

/// One step of a plan, on the whole frame.
pub enum Step<K> {
    /// A convolution.
    Conv(Box<Conv<K>>),
    /// Element-wise operations.
    Program(Program),
    /// 4×4 pixels of a plane become the 16 channels of a block, or the reverse if `back`.
    Shuffle {
        plane: Unit,
        block: (Unit, usize),
        down: usize,
        back: bool,
    },
    /// Channels copied one by one; the sides of the image are the frame's divided by `down`.
    Move {
        channels: Vec<(Channel, Channel)>,
        down: usize,
    },
    /// Blocks become units in 16-bit floating point, multiplied by the pooled values that begin at `scale`.
    Round {
        input: Image,
        output: Image,
        scale: Option<usize>,
    },
    /// The mean of each channel, written to the pooled values from `to` on.
    Mean { input: Image, to: usize },
    /// Work on pooled values.
    Pooled(Pooled),
}

impl<K> Step<K> {
    /// All units that the step touches.
    pub fn units(&self) -> Vec<Unit> {
        match self {
            Step::Conv(c) => {
                let gated = c.gated.as_ref().map(|g| &g.image);
                let images = [
                    Some(&c.input),
                    Some(&c.output),
                    c.rounded.as_ref(),
                    c.residual.as_ref(),
                    gated,
                ];
                images
                    .into_iter()
                    .flatten()
                    .flat_map(|i| i.units.iter().copied())
                    .collect()
            }
            Step::Program(p) => {
                let shuffled = p.shuffled.iter().map(|s| s.1);
                p.units
                    .iter()
                    .map(|u| u.0)
                    .chain(p.planes.iter().copied())
                    .chain(shuffled)
                    .collect()
            }
            Step::Shuffle { plane, block, .. } => vec![*plane, block.0],
            Step::Move { channels, .. } => channels.iter().flat_map(|(a, b)| [a.unit, b.unit]).collect(),
            Step::Round { input, output, .. } => input.units.iter().chain(&output.units).copied().collect(),
            Step::Mean { input, .. } => input.units.clone(),
            Step::Pooled(_) => vec![],
        }
    }
}

/// The steps of a network, and the memory that they need.
pub struct Plan<K> {
    /// The steps, in order.
    pub steps: Vec<Step<K>>,
    /// Every slot's class.
    pub slots: Vec<Class>,
    /// Pooled values, with the constants among them.
    pub pooled: Vec<f32>,
    /// Where pooled inputs go: port, first value, number.
    pub pooled_inputs: Vec<(usize, usize, usize)>,
    /// Memory for weights multiplied by scales, in the executor's units.
    pub scaled: usize,
    /// Both sides of a frame are multiples of this.
    pub multiple: usize,
}

impl<K> Plan<K> {
    /// Bytes that the steps read and write for each pixel of the frame: what a step touches counts once, however often it reads
    /// it.
    #[cfg(test)]
    pub fn traffic(&self) -> f64 {
        let of_image =
            |image: &Image| (image.units.len() * image.kind.memory().lanes()) as f64 / (image.down.pow(2)) as f64;
        let floats: f64 = (self.steps.iter())
            .map(|step| match step {
                Step::Conv(c) => {
                    let gated = c.gated.as_ref().map(|g| &g.image);
                    let others = [c.rounded.as_ref(), c.residual.as_ref(), gated].into_iter().flatten();
                    [&c.input, &c.output].into_iter().chain(others).map(of_image).sum()
                }
                Step::Program(p) => {
                    // A plane that is read as blocks holds as many numbers as one of the blocks.
                    let units = p.units.len() + p.planes.len() + p.shuffled.len();
                    (units * p.class.kind.lanes()) as f64 / (p.class.down.pow(2)) as f64
                }
                Step::Shuffle { down, .. } => (2 * LANES) as f64 / (down.pow(2)) as f64,
                Step::Move { channels, down } => (2 * channels.len()) as f64 / (down.pow(2)) as f64,
                Step::Round { input, output, .. } => of_image(input) + of_image(output),
                Step::Mean { input, .. } => of_image(input),
                Step::Pooled(_) => 0.0,
            })
            .sum();
        floats * size_of::<f32>() as f64
    }

    /// The same steps with what `pack` makes of each convolution's filter.
    ///
    /// # Errors
    /// Those of `pack`.
    pub fn try_map<L, E>(self, mut pack: impl FnMut(&Conv<K>) -> Result<L, E>) -> Result<Plan<L>, E> {
        let steps = self.steps.into_iter().map(|step| {
            Ok(match step {
                Step::Conv(conv) => {
                    let kernel = pack(&conv)?;
                    let Conv {
                        side,
                        input,
                        output,
                        rounded,
                        residual,
                        slope,
                        gated,
                        scale,
                        ..
                    } = *conv;
                    Step::Conv(Box::new(Conv {
                        kernel,
                        side,
                        input,
                        output,
                        rounded,
                        residual,
                        slope,
                        gated,
                        scale,
                    }))
                }
                Step::Program(program) => Step::Program(program),
                Step::Shuffle {
                    plane,
                    block,
                    down,
                    back,
                } => Step::Shuffle {
                    plane,
                    block,
                    down,
                    back,
                },
                Step::Move { channels, down } => Step::Move { channels, down },
                Step::Round { input, output, scale } => Step::Round { input, output, scale },
                Step::Mean { input, to } => Step::Mean { input, to },
                Step::Pooled(work) => Step::Pooled(work),
            })
        });
        Ok(Plan {
            steps: steps.collect::<Result<_, E>>()?,
            slots: self.slots,
            pooled: self.pooled,
            pooled_inputs: self.pooled_inputs,
            scaled: self.scaled,
            multiple: self.multiple,
        })
    }
}

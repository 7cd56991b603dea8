//! The network as the engine represents it: checked ONNX operators reduced to a few, and for each value its channels
//! and its size relative to the frame.

/// Index of a value in [`Graph::values`].
pub type ValueId = usize;

/// The most channels that a value may have.
pub const MAX_CHANNELS: usize = 1024;

/// Where a value extends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Over the frame, each side `down` times smaller.
    Frame { down: usize },
    /// One number for each channel.
    Pooled,
}

/// An intermediate result, `[1, channels, …]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Number of channels.
    pub channels: usize,
    /// Over the frame, or one number for each channel.
    pub space: Space,
    /// The numbers, if the file holds them.
    pub constant: Option<Vec<f32>>,
}

/// Weights of a convolution with stride 1 and zero padding to the same size.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Side of the kernel: 1, 3 or 5.
    pub kernel: usize,
    /// `[outputs][inputs][kernel][kernel]`
    pub weights: Vec<f32>,
    /// `[outputs]`
    pub bias: Vec<f32>,
}

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// The larger of x and slope · x, for slopes from 0 to 1.
    Leaky(f32),
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// Limited to a range.
    Clip(f32, f32),
    /// e^x
    Exp,
    /// Natural logarithm. Numbers that are not positive count as the smallest normal number.
    Log,
    /// x
    Copy,
}

/// A function of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    /// x^y for x that is not negative.
    Pow,
}

/// An operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Convolution; on pooled values a dense layer.
    Conv(Filter),
    /// An element-wise function.
    Unary(Unary),
    /// An element-wise function of two values. A single channel applies to all channels, a pooled value to all pixels.
    Binary(Binary),
    /// Concatenation of channels.
    Concat,
    /// Channels from `start` on.
    Slice { start: usize },
    /// Mean of each channel over the frame.
    Mean,
    /// Channel `(dy·b + dx)·C + c` is pixel (dy, dx) of each b × b block of channel c.
    SpaceToDepth { block: usize },
    /// The inverse; `crd`: from channel `c·b² + dy·b + dx` instead.
    DepthToSpace { block: usize, crd: bool },
}

/// An operation with its operands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// Its operands.
    pub inputs: Vec<ValueId>,
    /// Its one result.
    pub output: ValueId,
}

/// A network in topological order.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Graph {
    /// All values.
    pub values: Vec<Value>,
    /// All operations, operands before their users.
    pub nodes: Vec<Node>,
    /// What the network takes.
    pub inputs: Vec<ValueId>,
    /// What the network gives.
    pub outputs: Vec<ValueId>,
}

/// A port of the network: name and channels.
pub type Port<'a> = (&'a str, usize);

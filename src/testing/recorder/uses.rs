//! What a kernel reads and writes: it follows from its arguments, and, for the frame, from the block of settings.

use crate::gpu::{
    ComposeArguments, ConvolutionArguments, FusionArguments, IngestArguments, Launch, MeanArguments, MoveArguments,
    PointsArguments, PooledArguments, ScaleArguments, UpdateArguments,
};

/// Device memory that an operation uses, by any address inside each allocation; 0 is none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uses {
    pub(super) reads: Vec<u64>,
    pub(super) writes: Vec<u64>,
    /// The block of settings whose input frame is read; 0: none.
    pub(super) input_of: u64,
    /// The block of settings whose output frame is written; 0: none.
    pub(super) output_of: u64,
}

impl Uses {
    /// Of memory alone, without a frame.
    pub fn new(reads: Vec<u64>, writes: Vec<u64>) -> Self {
        Self {
            reads,
            writes,
            ..Self::default()
        }
    }

    pub(super) fn reading(reads: &[u64]) -> Self {
        Self::new(reads.to_vec(), Vec::new())
    }

    pub(super) fn writing(writes: &[u64]) -> Self {
        Self::new(Vec::new(), writes.to_vec())
    }

    /// What a kernel uses, by its name and its arguments; `None` if the two do not go together.
    pub(super) fn of(launch: &Launch) -> Option<Self> {
        let kind = |prefix: &str| launch.kernel.starts_with(prefix);
        let arguments = &launch.arguments;
        // Addresses that are 0 are none.
        if matches!(launch.module.name, "convolve" | "tensor") {
            let a: ConvolutionArguments = arguments.get()?;
            let [input, residual, gated] = [a.input, a.residual, a.gated].map(|image| image.units);
            let reads = [&input[..], &residual, &gated, &[a.weights, a.bias]].concat();
            return Some(Self::new(reads, a.output.units.to_vec()));
        }
        Some(if kind("points_") {
            let a: PointsArguments = arguments.get()?;
            let of = |written: bool| {
                let units = a.units.iter().enumerate();
                let units = units.filter(move |(i, _)| (a.written >> i & 1 == 1) == written);
                units.map(|(_, unit)| unit.address).collect::<Vec<_>>()
            };
            Self::new([of(false), vec![a.instructions, a.pooled]].concat(), of(true))
        } else if kind("move_channels") {
            let a: MoveArguments = arguments.get()?;
            Self::new(
                a.channels.map(|c| c.from.address).to_vec(),
                a.channels.map(|c| c.to.address).to_vec(),
            )
        } else if kind("mean_") {
            let a: MeanArguments = arguments.get()?;
            Self::new(a.input.units.to_vec(), vec![a.sums])
        } else if kind("pooled_steps") {
            let a: PooledArguments = arguments.get()?;
            let reads = [&a.inputs[..], &[a.steps, a.constants, a.sums]].concat();
            Self::new(reads, vec![a.values])
        } else if kind("scale_weights") {
            let a: ScaleArguments = arguments.get()?;
            Self::new(vec![a.weights, a.factors], vec![a.to])
        } else if kind("ingest_") {
            let a: IngestArguments = arguments.get()?;
            Self {
                reads: vec![a.settings],
                writes: vec![a.settings, a.image, a.image_half],
                input_of: a.settings,
                output_of: 0,
            }
        } else if kind("update_") {
            let a: UpdateArguments = arguments.get()?;
            Self::new(vec![a.image, a.r, a.l, a.q], vec![a.p, a.q])
        } else if let Some(a) = arguments.get::<FusionArguments>() {
            let (reads, writes) = match launch.kernel {
                "pyramid_half" => (vec![a.image, a.past], vec![a.now, a.before]),
                "pyramid_next" => (vec![a.now, a.before], vec![a.now, a.before]),
                "motion_search" => (vec![a.now, a.before, a.state], vec![a.vectors]),
                "motion_follow" | "motion_vectors" => (vec![a.now, a.before, a.state, a.vectors], vec![a.vectors]),
                "camera_start" => (vec![a.vectors], vec![a.state]),
                "camera_sums" => (vec![a.now, a.before, a.state], vec![a.sums]),
                "camera_step" => (vec![a.sums, a.state], vec![a.state]),
                "fuse_expect" => (vec![a.past, a.count, a.vectors], vec![a.expected]),
                "fuse_cells" => (vec![a.image, a.expected, a.before], vec![a.cells, a.texture, a.state]),
                "trust_limit" | "trust_learn" => (vec![a.state], vec![a.state]),
                "trust_flat" => (vec![a.cells, a.texture, a.state], vec![a.broad, a.state]),
                "trust_share" => (vec![a.cells, a.broad, a.state], vec![a.trust, a.state]),
                "fuse_merge" => (
                    vec![a.image, a.expected, a.trust, a.state],
                    vec![a.settings, a.image, a.image_half, a.past, a.count, a.vectors],
                ),
                _ => return None,
            };
            Self::new([reads, vec![a.settings]].concat(), writes)
        } else {
            let a: ComposeArguments = arguments.get()?;
            let composes = |planes: &[u64]| Self {
                reads: [&[a.settings], planes].concat(),
                writes: vec![a.settings],
                input_of: a.settings,
                output_of: a.settings,
            };
            if kind("guide_fit_") {
                Self::new(vec![a.image, a.r, a.adjusted], vec![a.fitted])
            } else if kind("guide_smooth") {
                Self::new(vec![a.fitted], vec![a.smooth])
            } else if kind("compose_guided") {
                composes(&[a.smooth])
            } else if kind("compose_") {
                composes(&[a.r, a.adjusted])
            } else {
                return None;
            }
        })
    }
}

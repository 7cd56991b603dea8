//! The four subnetworks, run by the engine.

use std::sync::Arc;

use crate::cpu::colour::Planes;
use crate::cpu::engine::{Kernels, Network, Workspace, workspace};
use crate::cpu::threads::Pool;
use crate::error::{Error, ErrorKind, Result};
use crate::network::Graph;
use crate::pack::onnx::Onnx;
use crate::pack::{Pack, Precision, Precisions, Subnetwork, Variant};
use crate::registry::Registry;

/// The number format of each subnetwork on a processor that computes in `precision`.
///
/// In bfloat16 the decomposition stays in 32-bit floats: all else is made from its results, and it is 2 % of the work of
/// `full`, which would lose 14 dB by it (docs/performance.md).
pub(crate) fn precisions(precision: Precision) -> Precisions {
    let all = Precisions::from(precision);
    match precision {
        Precision::Bf16 => all.with(Subnetwork::Decomposition, Precision::Fp32),
        _ => all,
    }
}

/// The error of a subnetwork's file, which it names.
fn named(e: Error, pack: &Pack, which: Subnetwork) -> Error {
    match e.kind() {
        ErrorKind::OutOfMemory => e,
        kind => Error::new(
            kind,
            format!(
                "{} ({} bytes) is not the {} network: {e}; it is damaged, cut short or swapped with another: copy it again \
                 or make the pack again with training/convert.py",
                pack.describe(which, Variant::Fp32),
                pack.onnx(which, Variant::Fp32).map_or(0, <[u8]>::len),
                which.name()
            ),
        ),
    }
}

/// A pack's subnetworks, ready to run from several threads at once.
pub(crate) struct Networks {
    subnetworks: [Network; 4],
    /// All four as one, of a pack with a single round: `L'·R` of I and the ratio. In 32-bit floats alone.
    round: Option<Network>,
}

/// The networks' parts of a workspace: the subnetworks' are their numbers, this is the one of all four.
const ROUND: usize = 4;

impl Networks {
    /// The networks of `pack` with weights packed for `kernels`. Streams share them.
    ///
    /// # Errors
    /// [`ErrorKind::ModelInvalid`] if a file is damaged or not of the shape that its subnetwork has;
    /// [`ErrorKind::OutOfMemory`].
    pub fn shared(pack: &Pack, kernels: Kernels) -> Result<Arc<Self>> {
        static LOADED: Registry<(String, Kernels), Networks> = Registry::new();
        let key = (pack.digest(Variant::Fp32), kernels);
        LOADED.get_or_make(key, || Self::load(pack, kernels))
    }

    fn load(pack: &Pack, kernels: Kernels) -> Result<Self> {
        let precisions = precisions(kernels.precision());
        let graphs = Subnetwork::ALL.map(|which| Self::graph(pack, which));
        let [a, b, c, d] = graphs;
        let graphs = [a?, b?, c?, d?];
        let [a, b, c, d] = Subnetwork::ALL.map(|which| {
            let kernels = match precisions.of(which) {
                Precision::Fp32 => kernels.in_floats(),
                _ => kernels,
            };
            Network::of(&graphs[which as usize], kernels).map_err(|e| named(e, pack, which))
        });
        let single = pack.manifest().schedule.rounds == 1 && kernels.precision() == Precision::Fp32;
        Ok(Self {
            subnetworks: [a?, b?, c?, d?],
            round: match single {
                true => Self::round(graphs, kernels)?,
                false => None,
            },
        })
    }

    /// The four as one; none where no plan has them so, in which case they run one after the other.
    fn round(graphs: [Graph; 4], kernels: Kernels) -> Result<Option<Network>> {
        match Graph::round(graphs).and_then(|round| Network::of(&round, kernels)) {
            Ok(network) => Ok(Some(network)),
            Err(e) if e.kind() == ErrorKind::OutOfMemory => Err(e),
            Err(e) => {
                log::debug!("the subnetworks run one after the other: {e}");
                Ok(None)
            }
        }
    }

    fn graph(pack: &Pack, which: Subnetwork) -> Result<Graph> {
        let bytes = pack.onnx(which, Variant::Fp32)?;
        let onnx = Onnx::parse(bytes).map_err(|e| named(e, pack, which))?;
        Graph::new(&onnx, which.inputs(), which.outputs()).map_err(|e| named(e, pack, which))
    }

    /// Whether [`run_round`](Self::run_round) is there.
    pub fn have_round(&self) -> bool {
        self.round.is_some()
    }

    /// `L'·R` of I and the ratio.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if a length is wrong, or the networks do not [have it](Self::have_round).
    pub fn run_round(
        &self,
        pool: &Pool,
        workspace: &mut Workspace,
        image: &Planes,
        ratio: f32,
        lit: &mut Planes,
    ) -> Result<()> {
        let Some(round) = &self.round else {
            return Err(Error::new(
                ErrorKind::BackendFailed,
                "these networks do not run as one".to_string(),
            ));
        };
        let (inputs, mut outputs) = ([&image.data[..], &[ratio]], [&mut lit.data[..]]);
        round.run(pool, workspace, ROUND, &inputs, &mut outputs)
    }

    /// Allocates the memory of one stream for planes of `width` × `height`.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`].
    pub fn workspace(&self, (width, height): (usize, usize), threads: usize) -> Result<Workspace> {
        let networks: Vec<_> = self.subnetworks.iter().chain(&self.round).collect();
        workspace(&networks, width, height, threads)
    }

    /// Runs a subnetwork. Inputs are planes of the workspace's size, or single numbers where the subnetwork takes
    /// those.
    pub fn run<const I: usize, const O: usize>(
        &self,
        which: Subnetwork,
        pool: &Pool,
        workspace: &mut Workspace,
        inputs: [&[f32]; I],
        outputs: [&mut Planes; O],
    ) -> Result<()> {
        let mut outputs = outputs.map(|planes| &mut planes.data[..]);
        self.subnetworks[which as usize].run(pool, workspace, which as usize, &inputs, &mut outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::capabilities::Capabilities;
    use crate::network::{Target, lower};

    /// A pack with one round moves less memory as one network, and has it in 32-bit floats alone.
    #[test]
    fn a_round_as_one_network_moves_less() {
        for (name, single) in [("video", true), ("lite", false), ("full", false)] {
            let pack = Pack::open(name).unwrap();
            let networks = Networks::shared(&pack, Kernels::floats(Capabilities::detected())).unwrap();
            assert_eq!(networks.have_round(), single, "{name}");
            let graphs = || Subnetwork::ALL.map(|which| Networks::graph(&pack, which).unwrap());
            let traffic = |graph: &Graph| lower(graph, Target::Margins).unwrap().traffic();
            // Composition then reads L' beside R.
            let apart = graphs().iter().map(traffic).sum::<f64>() + 4.0;
            let whole = traffic(&Graph::round(graphs()).unwrap());
            println!("{name}: {apart:.0} bytes for each pixel one after the other, {whole:.0} as one");
            assert!(whole < apart, "{name}");
        }
        // Subnetworks that do not go together as one still run one after the other.
        let pack = Pack::open("video").unwrap();
        let [a, b, c, _] = Subnetwork::ALL.map(|which| Networks::graph(&pack, which).unwrap());
        let kernels = Kernels::floats(Capabilities::detected());
        assert!(Networks::round([a, b, c.clone(), c], kernels).unwrap().is_none());
        if let Some(kernels) = Kernels::new(Capabilities::current(), Precision::Bf16) {
            assert!(!Networks::shared(&pack, kernels).unwrap().have_round());
        }
    }
}

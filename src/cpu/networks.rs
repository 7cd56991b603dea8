//! The four subnetworks, run by the `rten` crate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use rten::{Dimension, Model, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, NdTensorView};

use crate::colour::Planes;
use crate::error::{Error, ErrorKind, Result};
use crate::pack::{Pack, Precision, Subnetwork};
use crate::pool::Pool;

/// A pack's subnetworks, ready to run from several threads at once.
pub(super) struct Networks {
    subnetworks: [Loaded; 4],
}

struct Loaded {
    which: Subnetwork,
    model: Model,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
}

impl Networks {
    /// The networks of `pack`, loaded unless another stream has them already.
    ///
    /// # Errors
    /// [`ErrorKind::ModelInvalid`] if a file is damaged or not of the shape that its subnetwork has.
    pub fn shared(pack: &Pack, precision: Precision) -> Result<Arc<Self>> {
        static LOADED: OnceLock<Mutex<HashMap<String, Weak<Networks>>>> = OnceLock::new();
        let table = || {
            LOADED
                .get_or_init(Mutex::default)
                .lock()
                .unwrap_or_else(|e| e.into_inner())
        };
        let key = pack.digest(precision);
        if let Some(networks) = table().get(&key).and_then(Weak::upgrade) {
            return Ok(networks);
        }
        // Nobody waits while a pack loads; if two streams load the same one at once, the first to finish is kept.
        let loaded = Arc::new(Self::load(pack, precision)?);
        let mut table = table();
        table.retain(|_, weak| weak.strong_count() > 0);
        if let Some(networks) = table.get(&key).and_then(Weak::upgrade) {
            return Ok(networks);
        }
        table.insert(key, Arc::downgrade(&loaded));
        Ok(loaded)
    }

    fn load(pack: &Pack, precision: Precision) -> Result<Self> {
        let [a, b, c, d] = Subnetwork::ALL.map(|which| {
            let path = pack.describe(which, precision);
            let bytes = pack.onnx(which, precision)?.into_owned();
            Loaded::new(which, bytes)
                .map_err(|message| Error::new(ErrorKind::ModelInvalid, format!("{path}: {message}")))
        });
        Ok(Self {
            subnetworks: [a?, b?, c?, d?],
        })
    }

    /// Runs a subnetwork on planes of one size.
    pub fn run(&self, which: Subnetwork, pool: &Pool, inputs: &[&Planes], outputs: &mut [&mut Planes]) -> Result<()> {
        let views = inputs.iter().map(|p| ValueOrView::from(view(p))).collect();
        self.subnetworks[which as usize].run(pool, views, outputs)
    }

    /// Runs the adjustment.
    pub fn adjust(&self, pool: &Pool, l: &Planes, ratio: f32, adjusted: &mut Planes) -> Result<()> {
        let ratio: Value = NdTensor::<f32, 4>::full([1, 1, 1, 1], ratio).into();
        let views = vec![ValueOrView::from(view(l)), ValueOrView::from(ratio)];
        self.subnetworks[Subnetwork::Adjustment as usize].run(pool, views, &mut [adjusted])
    }
}

fn view(planes: &Planes) -> NdTensorView<'_, f32, 4> {
    NdTensorView::from_data([1, planes.channels, planes.height, planes.width], &planes.data[..])
}

impl Loaded {
    fn new(which: Subnetwork, bytes: Vec<u8>) -> std::result::Result<Self, String> {
        let size = bytes.len();
        let model = Model::load(bytes).map_err(|e| {
            format!(
                "{size} bytes that are not an ONNX file of known operators ({e}); it is damaged or cut short: copy it \
                 again or make the pack anew with engines/convert.py"
            )
        })?;
        let inputs = ports(&model, "input", model.input_ids(), which, which.inputs())?;
        let outputs = ports(&model, "output", model.output_ids(), which, which.outputs())?;
        Ok(Self {
            which,
            model,
            inputs,
            outputs,
        })
    }

    fn run(&self, pool: &Pool, inputs: Vec<ValueOrView<'_>>, outputs: &mut [&mut Planes]) -> Result<()> {
        let failed =
            |message: String| Error::new(ErrorKind::BackendFailed, format!("{}: {message}", self.which.name()));
        let inputs = self.inputs.iter().copied().zip(inputs).collect();
        let options = RunOptions::default().with_thread_pool(Some(threads(pool.threads())));
        let values = self
            .model
            .run(inputs, &self.outputs, Some(options))
            .map_err(|e| failed(e.to_string()))?;
        for ((value, planes), (name, _)) in values.iter().zip(outputs).zip(self.which.outputs()) {
            let wanted = [1, planes.channels, planes.height, planes.width];
            let Value::FloatTensor(tensor) = value else {
                return Err(failed(format!("{name} is not of 32-bit floats")));
            };
            if tensor.shape() != wanted {
                return Err(failed(format!("{name} is {:?}, expected {wanted:?}", tensor.shape())));
            }
            for (to, from) in planes.data.iter_mut().zip(tensor.iter()) {
                *to = *from;
            }
        }
        Ok(())
    }
}

/// One rten thread pool for each number of threads.
fn threads(count: usize) -> Arc<ThreadPool> {
    static POOLS: OnceLock<Mutex<HashMap<usize, Arc<ThreadPool>>>> = OnceLock::new();
    let mut pools = POOLS
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(|e| e.into_inner());
    pools
        .entry(count)
        .or_insert_with(|| Arc::new(ThreadPool::with_num_threads(count)))
        .clone()
}

/// The nodes of the ports that a subnetwork has to have, by name, with their channels.
fn ports(
    model: &Model,
    side: &str,
    found: &[NodeId],
    which: Subnetwork,
    expected: &[(&str, usize)],
) -> std::result::Result<Vec<NodeId>, String> {
    let describe = |id: NodeId| {
        let info = model.node_info(id);
        let name = info.as_ref().and_then(|i| i.name()).unwrap_or("?").to_string();
        let shape = info.and_then(|i| i.shape()).map_or("of unknown shape".into(), |s| {
            let sides: Vec<_> = s
                .iter()
                .map(|d| match d {
                    Dimension::Fixed(n) => n.to_string(),
                    Dimension::Symbolic(s) => s.clone(),
                })
                .collect();
            format!("[{}]", sides.join(", "))
        });
        format!("{name} {shape}")
    };
    let wrong = || {
        let wanted: Vec<_> = expected
            .iter()
            .map(|(name, c)| format!("{name} [1, {c}, height, width]"))
            .collect();
        let found: Vec<_> = found.iter().map(|&id| describe(id)).collect();
        format!(
            "expected the {side}s of the {} network, {}; found {}: the file is of another network or the files are \
             swapped; make the pack anew with engines/convert.py",
            which.name(),
            wanted.join(" and "),
            if found.is_empty() {
                "none".into()
            } else {
                found.join(" and ")
            },
        )
    };
    if found.len() != expected.len() {
        return Err(wrong());
    }
    let fits = |id: NodeId, name: &str, channels: usize| {
        let Some(info) = model.node_info(id) else { return false };
        let shape = info.shape();
        let channels_fit = match shape.as_deref() {
            Some([_, Dimension::Fixed(c), _, _]) => *c == channels,
            Some([_, Dimension::Symbolic(_), _, _]) | None => true,
            Some(_) => false,
        };
        info.name() == Some(name) && channels_fit
    };
    expected
        .iter()
        .map(|&(name, channels)| {
            found
                .iter()
                .copied()
                .find(|&id| fits(id, name, channels))
                .ok_or_else(wrong)
        })
        .collect()
}

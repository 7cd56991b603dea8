//! From a subnetwork's ONNX file to a serialized engine.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::frame::MIN_SIDE;
use crate::gpu::tensorrt::library::Library;
use crate::gpu::tensorrt::objects::{Config, Monitor, Network, Profile, Selector};
use crate::gpu::tensorrt::tables::Table;
use crate::pack::{Precision, Subnetwork};

/// The sizes that an engine takes, width and height, and the one that it is fastest at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub min: (usize, usize),
    pub opt: (usize, usize),
    pub max: (usize, usize),
}

/// Engines take frames up to this size at least: most cameras' largest. Larger ones get engines for their own size.
/// More would cost memory, which TensorRT takes for the largest size.
const USUAL: (usize, usize) = (1920, 1080);

impl Span {
    /// From the smallest frame there is to the larger, in width and in height, of `opt` and 1920×1080; all rounded up
    /// to the pack's `multiple`.
    pub fn around(opt: (usize, usize), multiple: usize) -> Self {
        let up = |(w, h): (usize, usize)| (w.next_multiple_of(multiple), h.next_multiple_of(multiple));
        Self {
            min: up((MIN_SIDE, MIN_SIDE)),
            opt: up(opt),
            max: up((opt.0.max(USUAL.0), opt.1.max(USUAL.1))),
        }
    }

    /// Whether engines for these sizes take frames of `size`.
    pub fn contains(&self, (w, h): (usize, usize)) -> bool {
        (self.min.0..=self.max.0).contains(&w) && (self.min.1..=self.max.1).contains(&h)
    }

    /// Smallest, best and largest, as a text.
    pub fn describe(&self) -> String {
        let [min, opt, max] = [self.min, self.opt, self.max].map(|(w, h)| format!("{w}x{h}"));
        format!("{min} to {max}, best {opt}")
    }
}

/// What is asked of the builder, as a text: engines built otherwise are other engines.
pub(crate) fn options(table: &Table, precision: Precision) -> String {
    let numbers = &table.numbers;
    let fp16 = numbers.flag_fp16.filter(|_| precision == Precision::Fp16);
    format!(
        "network {:#x}, fp16 {fp16:?}, no tf32, tactics {:x?}, linear formats, one profile",
        numbers.network_flags, numbers.tactic_sources
    )
}

/// Asked while an engine is built whether that is still wanted, from another thread.
pub(crate) type Ask<'a> = dyn FnMut() -> Result<()> + Send + 'a;

/// How often it is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Builds an engine on the current CUDA device. `measured` is the timing cache of earlier builds, or empty, and is
/// replaced by a fuller one. `ask` is called once a second; its error cancels the build, which ends at its next step.
/// TensorRT 8 cannot stop a build: it is finished, and the engine returned in spite of the error.
///
/// # Errors
/// [`ErrorKind::ModelInvalid`] if TensorRT does not take the file or it is not this subnetwork,
/// [`ErrorKind::BackendUnavailable`] without the ONNX parser, [`ErrorKind::BackendFailed`] if the build fails, and that
/// of `ask` if it was cancelled.
pub(crate) fn build(
    library: &'static Library,
    onnx: &[u8],
    subnetwork: Subnetwork,
    precision: Precision,
    span: Span,
    measured: &mut Vec<u8>,
    ask: &mut Ask<'_>,
) -> Result<Vec<u8>> {
    // Dropped after the builder and all that it makes.
    let monitor = Monitor::new();
    let builder = library.builder()?;
    let mut network = Network::create(&builder)?;
    network.parse(onnx)?;
    let mut config = Config::create(&builder)?;
    set_options(&mut config, library.table, precision)?;
    let mut profile = Profile::create(&builder)?;
    for (name, shape) in inputs(&mut network, subnetwork)? {
        for (selector, (w, h)) in [
            (Selector::Min, span.min),
            (Selector::Opt, span.opt),
            (Selector::Max, span.max),
        ] {
            let sized = sized(&shape, w, h);
            profile.set(&name, selector, &sized)?;
        }
    }
    config.add(&profile)?;
    if !config.use_timing_cache(measured)? && !measured.is_empty() {
        log::warn!("the timing cache is of another TensorRT or GPU and is begun anew");
    }
    config.set_monitor(&monitor);
    let plan = while_asking(&monitor, ask, || config.build(&network))?;
    match config.timing_cache() {
        Ok(fuller) => *measured = fuller,
        Err(e) => log::warn!("what was measured while building is lost: {e}"),
    }
    Ok(plan)
}

/// Does `work`, and has another thread call `ask` meanwhile. The first error of `ask` cancels `monitor`; it is returned if
/// `work` fails from there on.
fn while_asking<T>(monitor: &Monitor, ask: &mut Ask<'_>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (ended, wait) = channel::<()>();
    thread::scope(|scope| {
        let asking = move || -> Result<()> {
            while wait.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                ask().inspect_err(|_| monitor.cancel())?;
            }
            Ok(())
        };
        let asker = thread::Builder::new()
            .name("uretinex-build".into())
            .spawn_scoped(scope, asking);
        if let Err(e) = &asker {
            log::debug!("the build cannot be cancelled, as the system gives no thread: {e}");
        }
        let outcome = work();
        drop(ended);
        let asked = asker.map_or(Ok(Ok(())), |asker| asker.join());
        match (outcome, asked) {
            (Err(_), Ok(Err(cancelled))) => Err(cancelled),
            (outcome, _) => outcome,
        }
    })
}

fn set_options(config: &mut Config<'_>, table: &Table, precision: Precision) -> Result<()> {
    let numbers = &table.numbers;
    if precision == Precision::Fp16
        && let Some(fp16) = numbers.flag_fp16
    {
        config.set_flag(fp16, true)?;
    }
    // TF32 has the mantissa of FP16: FP32 is to be FP32.
    config.set_flag(numbers.flag_tf32, false)?;
    match numbers.tactic_sources {
        Some(mask) => config.set_tactic_sources(mask),
        None => Ok(()),
    }
}

/// Names and shapes of the inputs that have no fixed shape, if the network's ports are those of the subnetwork.
fn inputs(network: &mut Network<'_>, subnetwork: Subnetwork) -> Result<Vec<(String, Vec<i64>)>> {
    let ports = network.ports()?;
    let names = |wanted: bool| {
        let mut names: Vec<_> = ports.iter().filter(|p| p.2 == wanted).map(|p| p.0.as_str()).collect();
        names.sort_unstable();
        names
    };
    let expected = |ports: &[(&'static str, usize)]| {
        let mut names: Vec<_> = ports.iter().map(|p| p.0).collect();
        names.sort_unstable();
        names
    };
    let (inputs, outputs) = (names(true), names(false));
    if inputs != expected(subnetwork.inputs()) || outputs != expected(subnetwork.outputs()) {
        return Err(Error::new(
            ErrorKind::ModelInvalid,
            format!(
                "it takes {inputs:?} and gives {outputs:?}, which is not the {} network",
                subnetwork.name()
            ),
        ));
    }
    ports
        .into_iter()
        .filter(|(_, shape, input)| *input && shape.contains(&-1))
        .map(|(name, shape, _)| match shape.as_slice() {
            [1, channels, -1, -1] if *channels > 0 => Ok((name, shape)),
            _ => Err(Error::new(
                ErrorKind::ModelInvalid,
                format!("its input {name} has the shape {shape:?} instead of [1, channels, any height, any width]"),
            )),
        })
        .collect()
}

fn sized(shape: &[i64], w: usize, h: usize) -> [i64; 4] {
    [shape[0], shape[1], h as i64, w as i64]
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_is_asked_for_until_it_ends() {
        let refused = |what: &str| Error::new(ErrorKind::BackendFailed, what);
        let asked = AtomicU32::new(0);
        // Works until it has been asked for so many times.
        let work = |times: u32| {
            let until = Instant::now() + Duration::from_secs(60);
            while asked.load(Ordering::Relaxed) < times {
                assert!(Instant::now() < until, "it is asked for every second");
                thread::sleep(Duration::from_millis(10));
            }
        };
        // From the second time on it is not wanted.
        let mut ask = || match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(refused("cancelled")),
        };
        for (what, times, outcome, expected) in [
            ("it ends at once", 0, Ok("done"), Ok("done")),
            ("it fails at once", 0, Err("failed"), Err("failed")),
            ("it ends while it is wanted", 1, Ok("done"), Ok("done")),
            ("it fails while it is wanted", 1, Err("failed"), Err("failed")),
            ("it ends though it is cancelled", 2, Ok("done"), Ok("done")),
            ("it is stopped", 2, Err("stopped"), Err("cancelled")),
        ] {
            asked.store(0, Ordering::Relaxed);
            let found = while_asking(&Monitor::new(), &mut ask, || {
                work(times);
                outcome.map_err(refused)
            });
            let found = found.map_err(|e| e.to_string());
            assert_eq!(found, expected.map_err(String::from), "{what}");
        }
    }

    #[test]
    fn spans_hold_the_usual_sizes() {
        for (opt, multiple, min, best, max) in [
            ((1280, 720), 1, (16, 16), (1280, 720), (1920, 1080)),
            ((1280, 720), 8, (16, 16), (1280, 720), (1920, 1080)),
            ((1081, 1921), 64, (64, 64), (1088, 1984), (1920, 1984)),
            ((3840, 2160), 8, (16, 16), (3840, 2160), (3840, 2160)),
            ((16, 16), 32, (32, 32), (32, 32), (1920, 1088)),
        ] {
            let span = Span::around(opt, multiple);
            assert_eq!((span.min, span.opt, span.max), (min, best, max), "{opt:?} {multiple}");
            assert!(span.contains(span.min) && span.contains(span.opt) && span.contains(span.max));
            assert!(!span.contains((span.max.0 + 1, span.max.1)) && !span.contains((span.min.0, span.min.1 - 1)));
        }
    }
}

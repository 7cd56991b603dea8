//! Which subnetworks work in 16 bits: those whose numbers come near the processor's there.

use super::gate::{LEAST, Nearness};
use crate::error::{Error, ErrorKind, Result};
use crate::pack::{Precision, Precisions};

/// Makes networks of the pack `name` in `precisions` by `attempt`, which also says how near they come, until all come
/// near enough: those that are too far in 16 bits go on in 32, and `precisions` is what the networks work in at last.
/// A mixture that is refused, as a TensorRT may that does not take files edited for it, gives way to 32 bits for all.
///
/// # Errors
/// Those of `attempt`; [`ErrorKind::BackendFailed`] if a network is too far in 32 bits.
pub(super) fn choose<T>(
    name: &str,
    precisions: &mut Precisions,
    attempt: &mut dyn FnMut(Precisions) -> Result<(T, Nearness)>,
) -> Result<T> {
    let refused = |e: &Error| matches!(e.kind(), ErrorKind::ModelInvalid | ErrorKind::BackendFailed);
    // Each time around, at least one network goes from 16 bits to 32.
    loop {
        let (made, nearness) = match attempt(*precisions) {
            Err(e) if precisions.uniform().is_none() && refused(&e) => {
                *precisions = Precision::Fp32.into();
                log::warn!("{name} in 16 and 32 bits is refused, so that the pack runs in {precisions}: {e}");
                continue;
            }
            attempted => attempted?,
        };
        let (far, told) = (nearness.too_far(), nearness.describe(*precisions));
        if far.is_empty() {
            log::info!("engines of {name}: {told}");
            return Ok(made);
        }
        if far.iter().any(|w| precisions.of(*w) == Precision::Fp32) {
            return Err(Error::new(
                ErrorKind::BackendFailed,
                format!(
                    "the engines of {name} give other numbers than the processor: {told}, and {LEAST} dB are needed; \
                     run uretinex engines clear, and if it happens again use backend=cpu and report it with the \
                     versions that uretinex doctor lists"
                ),
            ));
        }
        // What was found wanting goes before what takes its place comes.
        drop(made);
        for which in &far {
            *precisions = precisions.with(*which, Precision::Fp32);
        }
        let names: Vec<_> = far.iter().map(|w| w.name()).collect();
        log::warn!(
            "{} of {name} in 16 bits is too far from the processor ({told}; {LEAST} dB are needed): the pack runs in \
             {precisions}",
            names.join(" and ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::Subnetwork;

    const NAN: f64 = f64::NEG_INFINITY;

    /// What networks of one pack come to: dB in 16 bits, beside others in 32, and in 32 bits, in the order of
    /// [`Subnetwork::ALL`].
    struct Figures {
        alone: [f64; 4],
        mixed: [f64; 4],
        wide: [f64; 4],
    }

    #[test]
    fn each_subnetwork_has_what_its_numbers_allow() {
        use Precision::{Fp16, Fp32};
        let near = [60.0; 4];
        let one = [60.0, NAN, 60.0, 60.0];
        let wide = [f64::INFINITY; 4];
        let good = Figures {
            alone: near,
            mixed: near,
            wide,
        };
        let overflows = Figures {
            alone: one,
            mixed: one,
            wide,
        };
        let another = Figures {
            alone: one,
            mixed: [60.0, NAN, 60.0, 44.9],
            wide,
        };
        let none = Figures {
            alone: [20.0; 4],
            mixed: [20.0; 4],
            wide,
        };
        let broken = Figures {
            alone: one,
            mixed: one,
            wide: [60.0, 30.0, 60.0, 60.0],
        };
        let both = Figures {
            alone: one,
            mixed: [20.0, NAN, 60.0, 60.0],
            wide: [60.0, 30.0, 60.0, 60.0],
        };
        for (what, start, figures, attempts, outcome) in [
            ("all near", [Fp16; 4], &good, 1, Ok([Fp16; 4])),
            ("one overflows", [Fp16; 4], &overflows, 2, Ok([Fp16, Fp32, Fp16, Fp16])),
            ("then another", [Fp16; 4], &another, 3, Ok([Fp16, Fp32, Fp16, Fp32])),
            ("all far", [Fp16; 4], &none, 2, Ok([Fp32; 4])),
            (
                "found before",
                [Fp16, Fp32, Fp16, Fp16],
                &overflows,
                1,
                Ok([Fp16, Fp32, Fp16, Fp16]),
            ),
            ("32 bits asked for", [Fp32; 4], &overflows, 1, Ok([Fp32; 4])),
            (
                "wrong in 32 bits too",
                [Fp16; 4],
                &broken,
                2,
                Err("restoration fp32 30.0 dB, illumination fp16 60.0 dB"),
            ),
            (
                "wrong in 32 bits, beside one that is far in 16",
                [Fp16; 4],
                &both,
                2,
                Err("decomposition fp16 20.0 dB, restoration fp32 30.0 dB"),
            ),
            (
                "wrong, 32 bits asked for",
                [Fp32; 4],
                &broken,
                1,
                Err("restoration fp32 30.0 dB"),
            ),
        ] {
            let of = |formats: [Precision; 4]| {
                let formats = Subnetwork::ALL.into_iter().zip(formats);
                formats.fold(Precisions::from(Fp16), |all, (which, format)| all.with(which, format))
            };
            let (mut precisions, mut tried) = (of(start), Vec::new());
            let found = choose("a pack", &mut precisions, &mut |precisions| {
                tried.push(precisions);
                assert!(tried.len() < 6, "{what}: {tried:?}");
                let figure = |which| match (precisions.of(which), precisions.uniform()) {
                    (Fp32, _) => figures.wide,
                    (Fp16, None) => figures.mixed,
                    (Fp16, Some(_)) => figures.alone,
                }[which as usize];
                let psnr = Subnetwork::ALL.map(figure);
                Ok((precisions, Nearness { psnr }))
            });
            assert_eq!(tried.len(), attempts, "{what}: {tried:?}");
            match (found, outcome) {
                (Ok(made), Ok(expected)) => assert_eq!((made, precisions), (of(expected), of(expected)), "{what}"),
                (Err(e), Err(part)) => {
                    assert_eq!(e.kind(), ErrorKind::BackendFailed, "{what}");
                    assert!(
                        e.to_string().contains(part) && e.to_string().contains("engines clear"),
                        "{what}: {e}"
                    );
                }
                (found, _) => panic!("{what}: {:?}", found.map_err(|e| e.to_string())),
            }
        }
    }

    #[test]
    fn a_mixture_that_is_refused_gives_way_to_32_bits() {
        use ErrorKind::{BackendFailed, BackendUnavailable, Cancelled, ModelInvalid};
        let psnr = [60.0, NAN, 60.0, 60.0];
        let (mixed, wide) = ("fp16 (restoration in fp32)", "fp32");
        for (of_mixed, of_wide, outcome, at_last) in [
            (ModelInvalid, None, Ok(()), wide),
            (BackendFailed, None, Ok(()), wide),
            // Neither that there is no memory nor that nobody waits any more is mended by other files.
            (ErrorKind::OutOfMemory, None, Err(ErrorKind::OutOfMemory), mixed),
            (BackendUnavailable, None, Err(BackendUnavailable), mixed),
            (Cancelled, None, Err(Cancelled), mixed),
            (ModelInvalid, Some(BackendFailed), Err(BackendFailed), wide),
        ] {
            let mut precisions = Precisions::from(Precision::Fp16);
            let mut tried = 0;
            let found = choose("a pack", &mut precisions, &mut |now| {
                tried += 1;
                assert!(tried < 5, "{of_mixed:?}");
                let failed = |kind| Err(Error::new(kind, "no"));
                match (now.uniform(), of_wide) {
                    (Some(Precision::Fp16), _) => Ok(((), Nearness { psnr })),
                    (None, _) => failed(of_mixed),
                    (_, Some(kind)) => failed(kind),
                    (_, None) => Ok((
                        (),
                        Nearness {
                            psnr: [f64::INFINITY; 4],
                        },
                    )),
                }
            });
            assert_eq!(found.map_err(|e| e.kind()), outcome, "{of_mixed:?}");
            assert_eq!(precisions.to_string(), at_last, "{of_mixed:?}");
        }
    }

    #[test]
    fn what_was_found_is_kept_where_it_ends_with_an_error() {
        let mut precisions = Precisions::from(Precision::Fp16);
        let psnr = [60.0, NAN, 60.0, 60.0];
        let error = choose("a pack", &mut precisions, &mut |now| match now.uniform() {
            Some(_) => Ok(((), Nearness { psnr })),
            None => Err(Error::new(ErrorKind::OutOfMemory, "full")),
        });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::OutOfMemory);
        assert_eq!(precisions.to_string(), "fp16 (restoration in fp32)");
    }
}

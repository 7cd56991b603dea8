//! Chooses a number format for each subnetwork, on an ordered ladder of formats.

use super::gate::{LEAST_PSNR, Nearness};
use crate::error::{Error, ErrorKind, Result};
use crate::pack::{Precision, Precisions, Subnetwork};

/// The formats that networks on a GPU compute in, from the fastest to the most accurate.
pub(crate) const RUNGS: [Precision; 2] = [Precision::Fp16, Precision::Fp32];

/// Number formats from the fastest to the most accurate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ladder(Vec<Precision>);

impl Ladder {
    /// The formats of `rungs` that come after `first`, and `first` itself.
    ///
    /// # Panics
    /// If `first` is none of them.
    pub fn from(first: Precision, rungs: &[Precision]) -> Self {
        let start = rungs.iter().position(|p| *p == first);
        Self(rungs[start.expect("a rung of the ladder")..].to_vec())
    }

    /// The fastest format.
    pub fn first(&self) -> Precision {
        self.0[0]
    }

    /// The most accurate format.
    pub fn last(&self) -> Precision {
        self.0[self.0.len() - 1]
    }

    /// The format after `precision`; `None` if there is none.
    fn after(&self, precision: Precision) -> Option<Precision> {
        let at = self.0.iter().position(|p| *p == precision)?;
        self.0.get(at + 1).copied()
    }
}

/// Chooses a format for each subnetwork: makes the networks in `precisions`, compares their results with the processor's,
/// and moves each one whose difference exceeds the bound to the next format of the ladder, until all are near enough.
/// `precisions` is updated as it goes. Where networks of different formats are refused together, all move to the last.
///
/// # Errors
/// Those of `attempt`; [`ErrorKind::BackendFailed`], with `remedy`, if a network in the last format exceeds the bound.
pub(crate) fn choose<T>(
    name: &str,
    remedy: &str,
    ladder: &Ladder,
    precisions: &mut Precisions,
    attempt: &mut dyn FnMut(Precisions) -> Result<(T, Nearness)>,
) -> Result<T> {
    let refused = |e: &Error| matches!(e.kind(), ErrorKind::ModelInvalid | ErrorKind::BackendFailed);
    // Each round moves at least one network up the ladder, so this ends.
    loop {
        let (made, nearness) = match attempt(*precisions) {
            Err(e) if precisions.uniform().is_none() && refused(&e) => {
                let mixture = std::mem::replace(precisions, ladder.last().into());
                log::warn!("{name} in {mixture} is refused, so the pack runs in {precisions}: {e}");
                continue;
            }
            attempted => attempted?,
        };
        let (far, figures) = (nearness.too_far(), nearness.describe(*precisions));
        if far.is_empty() {
            log::info!("networks of {name}: {figures}");
            return Ok(made);
        }
        let moved = far.iter().try_fold(*precisions, |all, &which| {
            Some(all.with(which, ladder.after(all.of(which))?))
        });
        let Some(moved) = moved else {
            return Err(Error::new(
                ErrorKind::BackendFailed,
                format!(
                    "the networks of {name} give other numbers than the processor: {figures}, and {LEAST_PSNR} dB are \
                     needed; {remedy}"
                ),
            ));
        };
        // The rejected engines are freed before others are made.
        drop(made);
        let names: Vec<_> = far.into_iter().map(Subnetwork::name).collect();
        log::warn!(
            "{} of {name} in {precisions} differs too much from the processor ({figures}; {LEAST_PSNR} dB are needed): the \
             pack runs in {moved}",
            names.join(" and ")
        );
        *precisions = moved;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NEG_INFINITY;

    fn ladder() -> Ladder {
        Ladder::from(Precision::Fp16, &[Precision::Fp16, Precision::Fp32])
    }

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
            let found = choose(
                "a pack",
                "run engines clear",
                &ladder(),
                &mut precisions,
                &mut |precisions| {
                    tried.push(precisions);
                    assert!(tried.len() < 6, "{what}: {tried:?}");
                    let figure = |which| match (precisions.of(which), precisions.uniform()) {
                    (Fp32, _) => figures.wide,
                    (_, None) => figures.mixed,
                    (_, Some(_)) => figures.alone,
                }[which as usize];
                    let psnr = Subnetwork::ALL.map(figure);
                    Ok((precisions, Nearness { psnr }))
                },
            );
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
            let found = choose("a pack", "run engines clear", &ladder(), &mut precisions, &mut |now| {
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
        let error = choose(
            "a pack",
            "run engines clear",
            &ladder(),
            &mut precisions,
            &mut |now| match now.uniform() {
                Some(_) => Ok(((), Nearness { psnr })),
                None => Err(Error::new(ErrorKind::OutOfMemory, "full")),
            },
        );
        assert_eq!(error.unwrap_err().kind(), ErrorKind::OutOfMemory);
        assert_eq!(precisions.to_string(), "fp16 (restoration in fp32)");
    }

    /// A ladder of three: each network climbs on its own, one rung at a time.
    #[test]
    fn networks_climb_rung_by_rung() {
        use Precision::{Bfp16, Fp16, Fp32};
        let ladder = Ladder::from(Bfp16, &[Bfp16, Fp16, Fp32]);
        assert_eq!((ladder.first(), ladder.last()), (Bfp16, Fp32));
        assert_eq!(Ladder::from(Fp32, &[Bfp16, Fp16, Fp32]), Ladder(vec![Fp32]));
        // The least format in which each is near enough.
        let needed = [Bfp16, Fp32, Fp16, Bfp16];
        let (mut precisions, mut tried) = (Precisions::from(Bfp16), Vec::new());
        choose("a pack", "run engines clear", &ladder, &mut precisions, &mut |now| {
            tried.push(now.to_string());
            let psnr = Subnetwork::ALL.map(|which| {
                let climbed = |p| ladder.0.iter().position(|q| *q == p);
                match climbed(now.of(which)) >= climbed(needed[which as usize]) {
                    true => 60.0,
                    false => 20.0,
                }
            });
            Ok(((), Nearness { psnr }))
        })
        .unwrap();
        assert_eq!(
            tried,
            [
                "bfp16",
                "bfp16 (restoration, illumination in fp16)",
                "bfp16 (restoration in fp32; illumination in fp16)"
            ]
        );
    }
}

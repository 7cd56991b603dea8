//! What a frame is made with.

use std::ops::RangeInclusive;

use crate::error::{Error, ErrorKind, Result};

/// The ratio of whom the scene is to decide.
pub const AUTOMATIC: f32 = 0.0;
/// The range of [`Parameters::ratio`], beside [`AUTOMATIC`].
pub const RATIO_RANGE: RangeInclusive<f32> = 1.0..=20.0;
/// The range of [`Parameters::strength`].
pub const STRENGTH_RANGE: RangeInclusive<f32> = 0.0..=1.0;
/// The range of [`Parameters::brightness`].
pub const BRIGHTNESS_RANGE: RangeInclusive<f32> = -1.0..=1.0;
/// The range of [`Parameters::temporal`].
pub const TEMPORAL_RANGE: RangeInclusive<f32> = 0.0..=1.0;

/// What the user may change with every frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    /// The factor on the illumination, within [`RATIO_RANGE`]; 1 leaves brightness alone. [`AUTOMATIC`] takes what the scene
    /// bears, followed over time. That needs frames in system memory; frames in device memory get the ratio of the last one
    /// that was not, or 4.
    pub ratio: f32,
    /// What an automatic ratio lifts the scene to, within [`BRIGHTNESS_RANGE`]: darker below 0, brighter above.
    pub brightness: f32,
    /// The weight of the result over the input, within [`STRENGTH_RANGE`].
    pub strength: f32,
    /// How much of the stream's memory goes into a frame, within [`TEMPORAL_RANGE`]. At 0 each frame stands alone and goes
    /// through the pack's own number of rounds. Above, one round is made, with the picture fused over up to
    /// `1 + 11·temporal` frames. Of no effect on a backend that does not remember: see
    /// [`Enhancer::remembers`](crate::Enhancer::remembers).
    pub temporal: f32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            ratio: 4.0,
            brightness: 0.0,
            strength: 1.0,
            temporal: 0.0,
        }
    }
}

impl Parameters {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a value outside its range, NaN included.
    pub fn check(self) -> Result<()> {
        let Parameters {
            ratio,
            brightness,
            strength,
            temporal,
        } = self;
        if (ratio == AUTOMATIC || RATIO_RANGE.contains(&ratio))
            && BRIGHTNESS_RANGE.contains(&brightness)
            && STRENGTH_RANGE.contains(&strength)
            && TEMPORAL_RANGE.contains(&temporal)
        {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidOption,
            format!(
                "ratio {ratio} must be 0 (automatic) or within {} to {}, brightness {brightness} within {} to {}, strength \
                 {strength} within {} to {}, temporal {temporal} within {} to {}",
                RATIO_RANGE.start(),
                RATIO_RANGE.end(),
                BRIGHTNESS_RANGE.start(),
                BRIGHTNESS_RANGE.end(),
                STRENGTH_RANGE.start(),
                STRENGTH_RANGE.end(),
                TEMPORAL_RANGE.start(),
                TEMPORAL_RANGE.end()
            ),
        ))
    }
}

/// How one frame of a stream is made: the user's parameters, and what the stream's memory adds to them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// The user's parameters, which have been checked.
    pub parameters: Parameters,
    /// The frame stands alone: no state of earlier frames may be used for it.
    pub fresh: bool,
    /// The frame is the one before once more, byte for byte: it adds nothing to the stream's memory.
    pub repeated: bool,
}

impl Plan {
    /// The plan of a single frame.
    pub const fn single(parameters: Parameters) -> Self {
        Self {
            parameters,
            fresh: true,
            repeated: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_outside_their_ranges_are_refused() {
        for (ratio, strength, temporal, valid) in [
            (1.0, 0.0, 0.0, true),
            (20.0, 1.0, 1.0, true),
            (AUTOMATIC, 1.0, 0.0, true),
            (0.01, 1.0, 0.0, false),
            (0.99, 1.0, 0.0, false),
            (20.01, 1.0, 0.0, false),
            (4.0, -0.1, 0.0, false),
            (4.0, 1.1, 0.0, false),
            (4.0, 1.0, -0.1, false),
            (4.0, 1.0, 1.1, false),
            (f32::NAN, 1.0, 0.0, false),
            (4.0, f32::NAN, 0.0, false),
            (4.0, 1.0, f32::NAN, false),
        ] {
            let checked = Parameters {
                ratio,
                brightness: 0.0,
                strength,
                temporal,
            }
            .check();
            assert_eq!(checked.is_ok(), valid, "{ratio} {strength} {temporal}");
            if let Err(error) = checked {
                assert_eq!(error.kind(), ErrorKind::InvalidOption);
            }
        }
        for (brightness, valid) in [(-1.0, true), (1.0, true), (1.1, false), (f32::NAN, false)] {
            let parameters = Parameters {
                brightness,
                ..Parameters::default()
            };
            assert_eq!(parameters.check().is_ok(), valid, "{brightness}");
        }
    }
}

//! The noise of a stream by intensity, learnt from what changes between its frames.

/// Intensities that noise is known at; they lie closer in the dark.
pub(crate) const BINS: usize = 24;
/// Quarter octaves of squared differences, from 2^-10 to 2^14 squared codes.
const OCTAVES: usize = 24;
const LEVELS: usize = 4 * OCTAVES;
/// The lowest octave.
const LOWEST: i32 = -10;
/// What a bin needs to be believed.
const LEAST: u32 = 24;
/// How much of a frame's noise is learnt, of a sensor's and of an encoder's.
const RATE: (f32, f32) = (0.25, 0.5);
/// How far a frame's noise may be above what was learnt, as encoders have it at key frames. What is above is motion.
const BURST: (f32, f32) = (2.0, 4.0);

/// How quickly a curve follows a stream.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    rate: f32,
    burst: f32,
}

impl Pace {
    /// The pace where the noise is so far an encoder's, from 0 to 1.
    pub fn of(encoded: f32) -> Self {
        let between = |(sensor, encoder): (f32, f32)| sensor + (encoder - sensor) * encoded;
        Self {
            rate: between(RATE),
            burst: between(BURST),
        }
    }
}

/// Where an intensity from 0 to 1 lies, counted in bins.
#[inline(always)]
pub(super) fn bins(intensity: f32) -> f32 {
    intensity.clamp(0.0, 1.0).sqrt() * (BINS - 1) as f32
}

/// The standard deviation at an intensity from 0 to 1, of the variances at each of the bins.
pub(crate) fn deviation(variances: &[f32; BINS], intensity: f32) -> f32 {
    let Place { bin, part } = Place::of(intensity);
    (variances[bin] + (variances[bin + 1] - variances[bin]) * part).sqrt()
}

/// Where an intensity lies among the bins.
#[derive(Clone, Copy)]
pub(super) struct Place {
    bin: usize,
    /// The part of the way to the next bin.
    part: f32,
}

impl Place {
    /// The place of an intensity from 0 to 1.
    #[inline(always)]
    pub fn of(intensity: f32) -> Self {
        Self::at(bins(intensity))
    }

    /// The place of [`bins`].
    #[inline(always)]
    pub fn at(at: f32) -> Self {
        let bin = (at as usize).min(BINS - 2);
        Self {
            bin,
            part: at - bin as f32,
        }
    }
}

/// Counts of squared differences for each intensity.
pub(super) struct Histogram {
    counts: Box<[[u32; LEVELS]; BINS]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: Box::new([[0; LEVELS]; BINS]),
        }
    }
}

impl Histogram {
    /// What it takes.
    pub const BYTES: usize = BINS * LEVELS * size_of::<u32>();

    /// Forgets what was counted.
    pub fn clear(&mut self) {
        for row in self.counts.iter_mut() {
            row.fill(0);
        }
    }

    /// Counts a squared difference, in squared codes of 8 bits, at an intensity of so many [`bins`].
    #[inline(always)]
    pub fn add(&mut self, at: f32, square: f32) {
        let bin = (at + 0.5) as usize;
        // A float's exponent with two bits of its fraction counts quarter octaves.
        let level = (square.max(0.0).to_bits() >> 21) as i32 - ((127 + LOWEST) << 2);
        self.counts[bin.min(BINS - 1)][level.clamp(0, LEVELS as i32 - 1) as usize] += 1;
    }

    /// Becomes what others have counted together.
    pub fn sum<'a>(&mut self, others: impl Iterator<Item = &'a Histogram>) {
        self.clear();
        for other in others {
            let counts = self.counts.as_flattened_mut().iter_mut();
            for (count, other) in counts.zip(other.counts.as_flattened()) {
                *count += other;
            }
        }
    }

    /// The `quantile` of a bin; `None` where too little was counted.
    fn quantile(&self, bin: usize, quantile: f32) -> Option<f32> {
        let row = &self.counts[bin];
        let total: u32 = row.iter().sum();
        if total < LEAST {
            return None;
        }
        let wanted = quantile * total as f32;
        let mut below = 0.0;
        for (level, &count) in row.iter().enumerate() {
            let count = count as f32;
            if below + count >= wanted {
                if level == 0 {
                    return Some(0.0);
                }
                let edge = |level: usize| f32::from_bits((level as u32 + ((127 + LOWEST) << 2) as u32) << 21);
                let part = (wanted - below) / count.max(1.0);
                return Some(edge(level) + (edge(level + 1) - edge(level)) * part);
            }
            below += count;
        }
        None
    }
}

/// A variance by intensity, in squared codes of 8 bits.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    values: [f32; BINS],
    /// Whether anything was learnt.
    known: bool,
    least: f32,
}

impl Curve {
    /// A curve of which nothing is known, and that is nowhere below `least`.
    pub fn new(least: f32) -> Self {
        Self {
            values: [least; BINS],
            known: false,
            least,
        }
    }

    /// Whether anything was learnt.
    pub fn known(&self) -> bool {
        self.known
    }

    /// The variance at a place.
    #[inline(always)]
    pub fn at(&self, Place { bin, part }: Place) -> f32 {
        self.values[bin] + (self.values[bin + 1] - self.values[bin]) * part
    }

    /// Learns from a frame's squared differences: their `quantile`, over `share`, which that quantile is of their mean.
    /// Returns the variance to judge this very frame by, which follows bursts at once.
    pub fn learn(&mut self, histogram: &Histogram, quantile: f32, share: f32, pace: Pace) -> Curve {
        let mut seen = [None; BINS];
        for (bin, seen) in seen.iter_mut().enumerate() {
            *seen = histogram.quantile(bin, quantile).map(|v| (v / share).max(self.least));
        }
        let nearest = |bin: usize| {
            let known = (0..BINS).filter(|&other| seen[other].is_some());
            known
                .min_by_key(|&other| other.abs_diff(bin))
                .and_then(|other| seen[other])
        };
        let mut filled = [0.0; BINS];
        for (bin, filled) in filled.iter_mut().enumerate() {
            let Some(value) = nearest(bin) else {
                // Nothing was seen.
                return self.clone();
            };
            *filled = value;
        }
        let mut now = self.clone();
        for bin in 0..BINS {
            let (before, after) = (filled[bin.saturating_sub(1)], filled[(bin + 1).min(BINS - 1)]);
            let value = 0.25 * before + 0.5 * filled[bin] + 0.25 * after;
            let learnt = &mut self.values[bin];
            match self.known {
                true => {
                    let value = value.min(*learnt * pace.burst);
                    *learnt += (value - *learnt) * pace.rate;
                    now.values[bin] = learnt.max(value);
                }
                false => (*learnt, now.values[bin]) = (value, value),
            }
        }
        self.known = true;
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Squares whose `quantile` is that of an exponential distribution of mean 1.
    fn exponential(histogram: &mut Histogram, intensity: f32, mean: f32) {
        for i in 0..1000 {
            let part = (i as f32 + 0.5) / 1000.0;
            histogram.add(bins(intensity), -mean * (1.0 - part).ln());
        }
    }

    #[test]
    fn a_curve_learns_the_variance_of_each_intensity() {
        let (quantile, share) = (0.5, std::f32::consts::LN_2);
        let mut histogram = Histogram::default();
        let mut curve = Curve::new(0.01);
        assert_eq!(curve.at(Place::of(0.3)), 0.01);
        // Nothing seen, nothing learnt.
        assert_eq!(
            curve
                .learn(&histogram, quantile, share, Pace::of(0.0))
                .at(Place::of(0.3)),
            0.01
        );
        for (intensity, mean) in [(0.01, 2.0), (0.25, 8.0), (0.9, 32.0)] {
            exponential(&mut histogram, intensity, mean);
        }
        curve.learn(&histogram, quantile, share, Pace::of(0.0));
        for (intensity, mean) in [(0.0, 2.0), (0.25, 8.0), (1.0, 32.0)] {
            let found = curve.at(Place::of(intensity));
            assert!((found / mean - 1.0).abs() < 0.15, "{intensity}: {found}, {mean}");
        }
        // A burst is followed at once and learnt slowly; what is far above is taken for motion.
        histogram.clear();
        exponential(&mut histogram, 0.25, 800.0);
        let now = curve.learn(&histogram, quantile, share, Pace::of(0.0));
        let (learnt, now) = (curve.at(Place::of(0.25)), now.at(Place::of(0.25)));
        assert!((9.0..11.0).contains(&learnt), "{learnt}");
        assert!((14.0..18.0).contains(&now), "{now}");
        // An encoder's is followed further, and learnt faster.
        let before = learnt;
        let now = curve.learn(&histogram, quantile, share, Pace::of(1.0));
        let (learnt, now) = (curve.at(Place::of(0.25)), now.at(Place::of(0.25)));
        assert!((2.3 * before..2.7 * before).contains(&learnt), "{before}, {learnt}");
        assert!((3.7 * before..4.3 * before).contains(&now), "{before}, {now}");
    }

    #[test]
    fn numbers_that_are_none_are_counted_without_harm() {
        let mut histogram = Histogram::default();
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, 0.0, 1e30] {
            histogram.add(bins(value), value);
            histogram.add(bins(0.5), value);
        }
        assert!(
            Curve::new(1.0)
                .learn(&histogram, 0.5, 1.0, Pace::of(1.0))
                .at(Place::of(0.3))
                .is_finite()
        );
    }
}

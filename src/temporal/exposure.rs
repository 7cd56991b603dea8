//! The ratio of a scene whose user has not picked one.
//!
//! An [`Outlook`] says how bright a frame would be at several ratios, and how much of it would be clipped. From it follows
//! the largest ratio that the scene bears. [`Exposure`] follows that without haste: at once in a new scene, not at all for
//! small changes, else within about a second.

use std::time::Duration;

/// The ratios that a frame is looked at with.
pub const RATIOS: [f32; 9] = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0];

/// What is darker, from 0 to 1, has no signal to lift: bars beside the picture, and black.
const NO_SIGNAL: f32 = 1.5 / 255.0;
/// A scene of which less than this share has a signal is left as it is.
const LEAST_SIGNAL: f32 = 0.002;
/// The mean that a scene is lifted to, of the greatest channel of pixels with a signal: the first where there is light
/// enough, less where the scene's own mean is not far above the second. A night stays a night.
const MEAN: (f32, f32) = (0.58, 0.03);
/// From here on a pixel is clipped in the result, if it was darker than the second in the frame.
const CLIPPED: (f32, f32) = (247.0 / 255.0, 200.0 / 255.0);
/// The share of pixels that may be clipped anew.
const MOST_CLIPPED: f32 = 0.009;
/// How far a brightness of 1 or −1 moves the mean, in powers of two.
const STOPS: f32 = 0.7;
/// Changes of the wanted ratio below this share are not followed.
const DEAD_BAND: f32 = 0.06;
/// Seconds in which most of a change is made.
const TIME: f32 = 0.7;
/// Seconds after which a scene is looked at again.
const AGAIN: f32 = 0.4;
/// From this share of pixels on that have changed in brightness, a scene is looked at again at once ...
const CHANGE: f32 = 0.08;
/// ... and is another one.
const CUT: f32 = 0.25;
/// Classes that brightness is counted in.
const CLASSES: usize = 16;

/// How many of a frame's pixels are how bright, by the greatest of R', G' and B', and how many have a colour.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scene {
    counts: [u32; CLASSES],
    coloured: u32,
}

impl Scene {
    /// Counts a pixel of a brightness from 0 to 1; NaN counts as black.
    #[inline(always)]
    pub fn add(&mut self, brightness: f32, coloured: bool) {
        self.coloured += u32::from(coloured);
        // Classes are narrower in the dark.
        let class = (brightness.clamp(0.0, 1.0).sqrt() * CLASSES as f32) as usize;
        self.counts[class.min(CLASSES - 1)] += 1;
    }

    /// The share of pixels that have a colour.
    pub fn coloured(&self) -> f32 {
        self.coloured as f32 / self.counts.iter().sum::<u32>().max(1) as f32
    }

    /// The mean square root of the brightness of all pixels that are not black, which bars beside a picture are; 0 for a
    /// black frame.
    pub fn lightness(&self) -> f32 {
        let lit = || self.counts.iter().zip(0u32..).skip(1);
        let sum = lit()
            .map(|(count, class)| *count as f32 * (class as f32 + 0.5))
            .sum::<f32>();
        sum / CLASSES as f32 / lit().map(|(count, _)| *count).sum::<u32>().max(1) as f32
    }

    /// Counts the pixels of R'G'B' planes `[3, h, w]`.
    pub fn of(planes: &[f32]) -> Self {
        let (r, rest) = planes.split_at(planes.len() / 3);
        let (g, b) = rest.split_at(rest.len() / 2);
        let mut scene = Self::default();
        for ((r, g), b) in r.iter().zip(g).zip(b) {
            scene.add(r.max(*g).max(*b), false);
        }
        scene
    }

    /// The share of pixels that are of another class than in `other`.
    fn change(&self, other: &Self) -> f32 {
        let total = |scene: &Self| scene.counts.iter().sum::<u32>().max(1) as f32;
        let (a, b) = (total(self), total(other));
        let pairs = self.counts.iter().zip(&other.counts);
        // Of sums up to each class, so that a small change at the edge of a class is a small one.
        let (mut x, mut y, mut most) = (0, 0, 0.0f32);
        for (&count, &other) in pairs {
            (x, y) = (x + count, y + other);
            most = most.max((x as f32 / a - y as f32 / b).abs());
        }
        most
    }
}

/// What a frame would look like at each of [`RATIOS`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outlook {
    /// The mean of the greatest channel of the frame's pixels with a signal, and their share of all.
    own: f32,
    signal: f32,
    /// For each ratio the mean of the greatest channel of these pixels, and the share of all that is clipped anew.
    found: [(f32, f32); RATIOS.len()],
    /// How many of the ratios were looked at.
    looked_at: usize,
}

impl Outlook {
    /// Adds the next ratio, after which there are no more than there are [`RATIOS`]: rows of three channels of the frame,
    /// three of its reflectance, and the illumination adjusted to the ratio.
    pub fn add<'a>(&mut self, rows: impl Iterator<Item = [&'a [f32]; 7]>) {
        let (mut own, mut result, mut all, mut signal, mut clipped) = (0.0f32, 0.0f32, 0usize, 0usize, 0usize);
        for [r, g, b, p, q, s, light] in rows {
            for (i, light) in light.iter().enumerate() {
                let before = r[i].max(g[i]).max(b[i]);
                let after = (light * p[i].max(q[i]).max(s[i])).clamp(0.0, 1.0);
                if before > NO_SIGNAL {
                    (own, result, signal) = (own + before, result + after, signal + 1);
                    clipped += usize::from(before < CLIPPED.1 && after >= CLIPPED.0);
                }
            }
            all += light.len();
        }
        let (count, all) = (signal.max(1) as f32, all.max(1) as f32);
        (self.own, self.signal) = (own / count, signal as f32 / all);
        if let Some(found) = self.found.get_mut(self.looked_at) {
            *found = (result / count, clipped as f32 / all);
            self.looked_at += 1;
        }
    }

    /// The ratio that the scene should have. `brightness`, from −1 to 1, moves what it is lifted to.
    pub fn wanted(&self, brightness: f32) -> f32 {
        if self.signal < LEAST_SIGNAL {
            return RATIOS[0];
        }
        let goal = MEAN.0 * (1.0 - (-self.own / MEAN.1).exp()) * (STOPS * brightness).exp2();
        // By how much a ratio misses what is asked: at most 0 if it fits.
        let miss = |&(mean, clipped): &(f32, f32)| ((mean - goal) / goal).max((clipped - MOST_CLIPPED) / MOST_CLIPPED);
        let mut ratio = RATIOS[0];
        for (i, pair) in self.found[..self.looked_at].windows(2).enumerate() {
            let (below, above) = (miss(&pair[0]), miss(&pair[1]));
            if below > 0.0 {
                break;
            }
            let part = if above <= 0.0 { 1.0 } else { -below / (above - below) };
            ratio = RATIOS[i] * (RATIOS[i + 1] / RATIOS[i]).powf(part);
            if above > 0.0 {
                break;
            }
        }
        ratio
    }
}

/// The ratio of a stream over time.
#[derive(Debug, Clone, Default)]
pub struct Exposure {
    state: Option<State>,
}

#[derive(Debug, Clone)]
struct State {
    /// The ratio of the frame before, and the one that it is on its way to.
    ratio: f32,
    goal: f32,
    /// What the brightness was when the goal was found.
    brightness: f32,
    /// The scene that was looked at, that of the frame before, and the seconds since the look.
    looked_at: Scene,
    before: Scene,
    since: f32,
}

impl Exposure {
    /// The ratio for a frame of `scene`, `interval` after the one before. `look` is called where the scene has to be looked
    /// at.
    ///
    /// # Errors
    /// Those of `look`.
    pub fn follow<E>(
        &mut self,
        scene: Scene,
        brightness: f32,
        interval: Duration,
        look: impl FnOnce() -> Result<Outlook, E>,
    ) -> Result<f32, E> {
        let seconds = interval.as_secs_f32();
        let Some(state) = self.state.as_mut().filter(|state| state.before.change(&scene) < CUT) else {
            let ratio = look()?.wanted(brightness);
            self.state = Some(State {
                ratio,
                goal: ratio,
                brightness,
                looked_at: scene.clone(),
                before: scene,
                since: 0.0,
            });
            return Ok(ratio);
        };
        state.since += seconds;
        let other_brightness = state.brightness != brightness;
        if state.since >= AGAIN || other_brightness || state.looked_at.change(&scene) > CHANGE {
            let wanted = look()?.wanted(brightness);
            if other_brightness || Self::is_far(state.goal, wanted) {
                state.goal = wanted;
            }
            (state.looked_at, state.since, state.brightness) = (scene.clone(), 0.0, brightness);
        }
        state.before = scene;
        let part = 1.0 - (-seconds / TIME).exp();
        state.ratio *= (state.goal / state.ratio).powf(part);
        Ok(state.ratio)
    }

    /// The ratio of the frame before.
    pub fn ratio(&self) -> Option<f32> {
        self.state.as_ref().map(|state| state.ratio)
    }

    /// Whether a frame made at the ratio `used` must not be shown where it should have had `wanted`.
    pub fn is_far(used: f32, wanted: f32) -> bool {
        (wanted / used).ln().abs() > DEAD_BAND
    }

    /// Forgets the scene: the next frame has its ratio at once.
    pub fn reset(&mut self) {
        self.state = None;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const FRAME: Duration = Duration::from_millis(40);

    /// A grey picture with parts of several brightnesses, which a pack multiplies.
    fn outlook(parts: &[(f32, usize)]) -> Outlook {
        let row: Vec<f32> = parts.iter().flat_map(|&(value, count)| vec![value; count]).collect();
        let mut outlook = Outlook::default();
        for ratio in RATIOS {
            let light = vec![ratio; row.len()];
            let [grey, light] = [&row[..], &light[..]];
            outlook.add([[grey, grey, grey, grey, grey, grey, light]].into_iter());
        }
        outlook
    }

    fn scene(parts: &[(f32, usize)]) -> Scene {
        let mut scene = Scene::default();
        for &(brightness, count) in parts {
            (0..count).for_each(|_| scene.add(brightness, false));
        }
        scene
    }

    #[test]
    fn a_scene_is_lifted_as_far_as_it_bears() {
        for (what, parts, least, most) in [
            ("dark", &[(0.1, 1000)][..], 5.3, 5.7),
            ("bright", &[(0.6, 1000)], 1.0, 1.01),
            ("black", &[(0.0, 1000)], 1.0, 1.0),
            ("all but black", &[(0.1, 1), (0.0, 999)], 1.0, 1.0),
            ("bars beside it do not count", &[(0.1, 1000), (0.0, 3000)], 5.3, 5.7),
            ("lamps are clipped anyway", &[(0.08, 990), (1.0, 10)], 6.5, 7.0),
            ("a lit wall is not clipped", &[(0.05, 900), (0.3, 100)], 2.9, 3.4),
            ("no pack can lift it further", &[(0.012, 1000)], 8.0, 8.0),
        ] {
            let found = outlook(parts).wanted(0.0);
            assert!((least..=most).contains(&found), "{what}: {found}");
        }
        let by = |brightness| outlook(&[(0.1, 1000)]).wanted(brightness);
        assert!(by(-1.0) < 0.7 * by(0.0) && by(1.0) > 1.3 * by(0.0));
    }

    #[test]
    fn the_ratio_follows_without_haste() {
        let mut exposure = Exposure::default();
        let mut follow = |value: f32, interval| {
            let parts = [(value, 1000)];
            let look = || Ok::<_, Infallible>(outlook(&parts));
            exposure.follow(scene(&parts), 0.0, interval, look).unwrap()
        };
        let first = follow(0.1, FRAME);
        assert!((5.3..5.7).contains(&first), "at once: {first}");
        for i in 0..50 {
            assert_eq!(
                follow(0.1 + 0.002 * (i % 2) as f32, FRAME),
                first,
                "small changes are not followed"
            );
        }
        let mut ratio = first;
        for _ in 0..75 {
            let next = follow(0.115, FRAME);
            assert!(next <= ratio && ratio / next < 1.03, "{ratio} → {next}");
            ratio = next;
        }
        assert!((4.5..5.1).contains(&ratio), "three seconds later: {ratio}");
        let day = follow(0.55, FRAME);
        assert!(day < 1.1, "another scene has its ratio at once: {day}");
    }

    #[test]
    fn a_scene_is_looked_at_only_now_and_then() {
        let mut exposure = Exposure::default();
        let mut looks = 0;
        let dark = [(0.1, 1000)];
        for _ in 0..100 {
            let look = || {
                looks += 1;
                Ok::<_, Infallible>(outlook(&dark))
            };
            exposure.follow(scene(&dark), 0.0, FRAME, look).unwrap();
        }
        // Four seconds.
        assert!((9..=11).contains(&looks), "{looks}");
        assert!(exposure.ratio().is_some());
        exposure.reset();
        assert_eq!(exposure.ratio(), None);
        let failed = exposure.follow(scene(&dark), 0.0, FRAME, || Err("no"));
        assert_eq!((failed, exposure.ratio()), (Err("no"), None));
    }
}

//! Day or night, colour or grey: what the light of a stream is, followed with hysteresis so that neither flickers.

use std::time::Duration;

use super::exposure::Scene;

/// Lightness from which on a scene is daylight, and below which it is night. Well-lit clips have 0.58 and more, clips of
/// dusk and night 0.50 and less (`docs/operation.md`).
const DAY: f32 = 0.565;
const NIGHT: f32 = 0.525;
/// Seconds that a scene has to be beyond a threshold before the other state is taken.
const HOLD: f32 = 3.0;
/// The share of coloured pixels below which a stream becomes grey, and above which it is no longer.
const GREY: f32 = 0.0005;
const COLOURED: f32 = 0.002;
/// The share of coloured pixels that comes or goes within one frame where a camera switches to infrared or back.
const SWITCH: f32 = 0.02;
/// Seconds without colour before a stream that had any is taken for grey.
const GREY_HOLD: f32 = 0.5;

/// What the light is at a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Light {
    /// Whether it is day.
    pub day: bool,
    /// How much of a frame is to be enhanced: 1 at night, 0 by day, between them while one passes into the other.
    pub night: f32,
    /// Whether the stream has no colour: what differs from grey is within what encoders round.
    pub grey: bool,
    /// Whether colour came or went as a whole with this frame, as where a camera switches to infrared.
    pub switched: bool,
    /// The lightness of the scene, 0 to 1: the mean square root of the greatest channel, of pixels that are not black.
    pub lightness: f32,
}

/// Follows the light of a stream.
#[derive(Debug, Clone, Default)]
pub struct LightMeter {
    state: Option<State>,
}

#[derive(Debug, Clone)]
struct State {
    light: Light,
    /// Seconds for which the scene has spoken against the state of day and night, and against colour.
    against: f32,
    without_colour: f32,
    /// The share of coloured pixels of the frame before.
    coloured: f32,
}

impl LightMeter {
    /// The light at a frame of `scene`, `interval` after the one before. A change from night to day or back takes `fade`.
    /// The first frame has its light at once.
    pub fn follow(&mut self, scene: &Scene, interval: Duration, fade: Duration) -> Light {
        self.follow_measured(scene.lightness(), scene.coloured(), interval, fade)
    }

    /// The light at a frame that was not looked at: its scene is taken to be that of the frame before. None if there was no
    /// frame before.
    pub fn follow_unseen(&mut self, interval: Duration, fade: Duration) -> Option<Light> {
        let (lightness, coloured) = self
            .state
            .as_ref()
            .map(|state| (state.light.lightness, state.coloured))?;
        Some(self.follow_measured(lightness, coloured, interval, fade))
    }

    fn follow_measured(&mut self, lightness: f32, coloured: f32, interval: Duration, fade: Duration) -> Light {
        let seconds = interval.as_secs_f32();
        let Some(state) = &mut self.state else {
            let day = lightness >= DAY;
            let light = Light {
                day,
                night: if day { 0.0 } else { 1.0 },
                grey: coloured < GREY,
                switched: false,
                lightness,
            };
            self.state = Some(State {
                light,
                against: 0.0,
                without_colour: 0.0,
                coloured,
            });
            return light;
        };
        let light = &mut state.light;
        light.lightness = lightness;
        let against = if light.day { lightness < NIGHT } else { lightness >= DAY };
        state.against = if against { state.against + seconds } else { 0.0 };
        if state.against >= HOLD {
            light.day = !light.day;
            state.against = 0.0;
        }
        let step = if fade.is_zero() {
            1.0
        } else {
            seconds / fade.as_secs_f32()
        };
        light.night = match light.day {
            true => (light.night - step).max(0.0),
            false => (light.night + step).min(1.0),
        };
        state.without_colour = if coloured < GREY {
            state.without_colour + seconds
        } else {
            0.0
        };
        let before = std::mem::replace(&mut state.coloured, coloured);
        let gone = before >= SWITCH && coloured < GREY;
        light.switched = gone || light.grey && coloured >= SWITCH;
        if light.grey {
            light.grey = coloured < COLOURED;
        } else if gone || state.without_colour >= GREY_HOLD {
            light.grey = true;
        }
        *light
    }

    /// Forgets the stream: the next frame has its light at once.
    pub fn reset(&mut self) {
        self.state = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(40);
    const FADE: Duration = Duration::from_secs(2);

    fn scene(brightness: f32, coloured: usize) -> Scene {
        let mut scene = Scene::default();
        (0..10_000).for_each(|i| scene.add(brightness, i < coloured));
        scene
    }

    #[test]
    fn day_and_night_change_after_a_while_and_without_a_step() {
        let mut meter = LightMeter::default();
        let mut follow = |brightness| meter.follow(&scene(brightness, 500), FRAME, FADE);
        assert_eq!((follow(0.1).day, follow(0.1).night), (false, 1.0), "at once");
        let mut night = 1.0;
        for frame in 0..140 {
            let light = follow(0.5);
            assert!(light.day == (frame >= 74) || frame == 74, "three seconds: {frame}");
            assert!((night - light.night).abs() < 0.021, "frame {frame}");
            night = light.night;
        }
        assert_eq!(night, 0.0);
        // A car's lamps, and what lies between the thresholds.
        (0..70).for_each(|_| assert!(follow(0.05).day));
        (0..500).for_each(|_| assert!(follow(0.3).day));
        (0..76).for_each(|_| {
            follow(0.05);
        });
        let light = follow(0.05);
        assert!(!light.day && light.night > 0.0 && light.night < 0.1);
        assert_eq!(
            LightMeter::default().follow(&scene(0.5, 0), FRAME, FADE).night,
            0.0,
            "at once"
        );
    }

    #[test]
    fn without_a_fade_the_change_is_a_step() {
        let mut meter = LightMeter::default();
        let mut follow = |brightness| meter.follow(&scene(brightness, 500), FRAME, Duration::ZERO).night;
        follow(0.1);
        let found: Vec<_> = (0..80).map(|_| follow(0.6)).collect();
        assert!(found.iter().all(|&night| night == 0.0 || night == 1.0) && found[79] == 0.0);
    }

    #[test]
    fn frames_that_are_not_looked_at_go_on_as_the_one_before() {
        let mut meter = LightMeter::default();
        assert_eq!(meter.follow_unseen(FRAME, FADE), None);
        meter.follow(&scene(0.1, 500), FRAME, FADE);
        // Every third frame is looked at: it takes no longer than if all were.
        let lights: Vec<_> = (0..140)
            .map(|frame| match frame % 3 {
                0 => meter.follow(&scene(0.5, 500), FRAME, FADE),
                _ => meter.follow_unseen(FRAME, FADE).unwrap(),
            })
            .collect();
        let turn = lights.iter().position(|light| light.day).unwrap();
        assert!((74..=76).contains(&turn), "{turn}");
        assert!(
            lights
                .windows(2)
                .all(|pair| (pair[0].night - pair[1].night).abs() < 0.021)
        );
        assert_eq!(lights[139].night, 0.0);
    }

    #[test]
    fn a_switch_to_infrared_and_back_is_seen_at_once() {
        let mut meter = LightMeter::default();
        let mut follow = |coloured| {
            let light = meter.follow(&scene(0.1, coloured), FRAME, FADE);
            (light.grey, light.switched)
        };
        assert_eq!([follow(3000), follow(3000)], [(false, false); 2]);
        assert_eq!([follow(0), follow(0)], [(true, true), (true, false)]);
        assert_eq!([follow(3000), follow(3000)], [(false, true), (false, false)]);
    }

    #[test]
    fn colour_comes_back_at_once_and_goes_after_a_while() {
        let mut meter = LightMeter::default();
        let mut follow = |coloured| meter.follow(&scene(0.1, coloured), FRAME, FADE).grey;
        assert!(follow(0), "the first frame");
        assert!(follow(10), "a few pixels");
        assert!(!follow(100), "a coloured thing, which goes away");
        (0..11).for_each(|_| assert!(!follow(0)));
        (0..3).for_each(|_| {
            follow(0);
        });
        assert!(follow(0));
        (0..3).for_each(|_| {
            meter.follow(&scene(0.1, 100), FRAME, FADE);
        });
        meter.reset();
        assert!(meter.follow(&scene(0.1, 0), FRAME, FADE).grey, "another stream");
    }
}

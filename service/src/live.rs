//! The settings that act on a running camera: their values, their ranges, and the properties of the element behind them.

use std::ops::RangeInclusive;

use gst::glib;
use gst::prelude::*;
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize};
use uretinex::{AUTOMATIC, BRIGHTNESS_RANGE, RATIO_RANGE};

/// What goes from 0 to 1.
const SHARE: RangeInclusive<f32> = 0.0..=1.0;
/// The longest deadline, in milliseconds; the element's.
const LONGEST_DEADLINE: i64 = 10_000;

/// What is done by day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Daylight {
    /// Frames go through untouched.
    Bypass,
    /// Frames are enhanced as by night.
    Enhance,
}

/// How long a frame may take before a simpler one is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// It follows from the frame rate.
    Automatic,
    /// Any time.
    Off,
    /// So many milliseconds.
    Milliseconds(u16),
}

/// The settings of a camera that can be changed while it runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Live {
    /// How bright, 1 to 20; 0 is what the scene bears.
    #[serde(serialize_with = "ratio_out")]
    pub ratio: f32,
    /// What an automatic ratio lifts a scene to, -1 to 1.
    pub brightness: f32,
    /// How much of the result is blended over the input, 0 to 1.
    pub strength: f32,
    /// How much of the frames before goes into a frame, 0 to 1.
    pub temporal: f32,
    /// Whether frames are enhanced at all.
    pub enabled: bool,
    pub daylight: Daylight,
    pub deadline: Deadline,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            ratio: AUTOMATIC,
            brightness: 0.0,
            strength: 1.0,
            temporal: 1.0,
            enabled: true,
            daylight: Daylight::Bypass,
            deadline: Deadline::Automatic,
        }
    }
}

impl Live {
    /// Sets the element's properties.
    pub fn apply(&self, element: &impl IsA<glib::Object>) {
        element.set_property("ratio", self.ratio);
        element.set_property("brightness", self.brightness);
        element.set_property("strength", self.strength);
        element.set_property("temporal", self.temporal);
        element.set_property("enabled", self.enabled);
        element.set_property("auto-bypass", self.daylight == Daylight::Bypass);
        let deadline = match self.deadline {
            Deadline::Automatic => -1,
            Deadline::Off => 0,
            Deadline::Milliseconds(milliseconds) => milliseconds.into(),
        };
        element.set_property("deadline", deadline);
    }

    /// The element's properties that [`apply`](Self::apply) sets.
    pub const PROPERTIES: [&str; 7] = [
        "ratio",
        "brightness",
        "strength",
        "temporal",
        "enabled",
        "auto-bypass",
        "deadline",
    ];
}

/// Some of the settings, as a file or a request gives them. Values outside their ranges are errors that name the range.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    #[serde(deserialize_with = "ratio")]
    pub ratio: Option<f32>,
    #[serde(deserialize_with = "brightness")]
    pub brightness: Option<f32>,
    #[serde(deserialize_with = "share")]
    pub strength: Option<f32>,
    #[serde(deserialize_with = "share")]
    pub temporal: Option<f32>,
    pub enabled: Option<bool>,
    pub daylight: Option<Daylight>,
    #[serde(deserialize_with = "deadline")]
    pub deadline: Option<Deadline>,
}

impl Change {
    /// `live` with these settings instead of its own.
    pub fn on(&self, live: &Live) -> Live {
        Live {
            ratio: self.ratio.unwrap_or(live.ratio),
            brightness: self.brightness.unwrap_or(live.brightness),
            strength: self.strength.unwrap_or(live.strength),
            temporal: self.temporal.unwrap_or(live.temporal),
            enabled: self.enabled.unwrap_or(live.enabled),
            daylight: self.daylight.unwrap_or(live.daylight),
            deadline: self.deadline.unwrap_or(live.deadline),
        }
    }
}

fn ratio_out<S: serde::Serializer>(ratio: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    match *ratio == AUTOMATIC {
        true => serializer.serialize_str("auto"),
        false => serializer.serialize_f32(*ratio),
    }
}

impl Serialize for Deadline {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Automatic => serializer.serialize_str("auto"),
            Self::Off => serializer.serialize_str("off"),
            Self::Milliseconds(milliseconds) => serializer.serialize_u16(*milliseconds),
        }
    }
}

/// A number, or one of some words that stand for numbers.
struct NumberOrWord<'a> {
    words: &'a [(&'a str, f64)],
    range: RangeInclusive<f64>,
    /// Numbers outside the range that are taken, too.
    besides: &'a [f64],
    expected: &'a str,
}

impl Visitor<'_> for NumberOrWord<'_> {
    type Value = f64;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<f64, E> {
        match self.range.contains(&number) || self.besides.contains(&number) {
            true => Ok(number),
            false => Err(E::invalid_value(Unexpected::Float(number), &self)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<f64, E> {
        self.visit_f64(number as f64)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<f64, E> {
        self.visit_f64(number as f64)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
        let word = self.words.iter().find(|(word, _)| *word == text);
        word.map(|(_, number)| *number)
            .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

fn wide(range: RangeInclusive<f32>) -> RangeInclusive<f64> {
    f64::from(*range.start())..=f64::from(*range.end())
}

/// A ratio: `auto` or 0, or 1 to 20.
pub fn ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f32>, D::Error> {
    let automatic = f64::from(AUTOMATIC);
    let number = deserializer.deserialize_any(NumberOrWord {
        words: &[("auto", automatic)],
        range: wide(RATIO_RANGE),
        besides: &[automatic],
        expected: "\"auto\" or a number from 1 to 20",
    })?;
    Ok(Some(number as f32))
}

/// A brightness: -1 to 1.
pub fn brightness<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f32>, D::Error> {
    let number = deserializer.deserialize_any(NumberOrWord {
        words: &[],
        range: wide(BRIGHTNESS_RANGE),
        besides: &[],
        expected: "a number from -1 to 1",
    })?;
    Ok(Some(number as f32))
}

/// A strength or a share of memory: 0 to 1.
pub fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f32>, D::Error> {
    let number = deserializer.deserialize_any(NumberOrWord {
        words: &[],
        range: wide(SHARE),
        besides: &[],
        expected: "a number from 0 to 1",
    })?;
    Ok(Some(number as f32))
}

/// A deadline: `auto`, `off`, or whole milliseconds from 1 to 10000.
pub fn deadline<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Deadline>, D::Error> {
    let expected = "\"auto\", \"off\" or milliseconds from 1 to 10000";
    let number = deserializer.deserialize_any(NumberOrWord {
        words: &[("auto", -1.0), ("off", 0.0)],
        range: 1.0..=LONGEST_DEADLINE as f64,
        besides: &[],
        expected,
    })?;
    if number.fract() != 0.0 {
        return Err(D::Error::invalid_value(Unexpected::Float(number), &expected));
    }
    Ok(Some(match number {
        ..0.0 => Deadline::Automatic,
        0.0 => Deadline::Off,
        _ => Deadline::Milliseconds(number as u16),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_name_the_range() {
        for (text, expected) in [
            (r#"{"ratio": 0.5}"#, "\"auto\" or a number from 1 to 20"),
            (r#"{"ratio": "bright"}"#, "\"auto\" or a number from 1 to 20"),
            (r#"{"ratio": 21}"#, "from 1 to 20"),
            (r#"{"brightness": -1.5}"#, "from -1 to 1"),
            (r#"{"strength": 1.01}"#, "from 0 to 1"),
            (r#"{"temporal": true}"#, "from 0 to 1"),
            (r#"{"deadline": -1}"#, "\"auto\", \"off\" or milliseconds"),
            (r#"{"deadline": 0}"#, "\"auto\", \"off\" or milliseconds"),
            (r#"{"deadline": 12.5}"#, "milliseconds from 1 to 10000"),
            (r#"{"deadline": 10001}"#, "milliseconds from 1 to 10000"),
            (r#"{"deadline": null}"#, "milliseconds from 1 to 10000"),
            (r#"{"deadline": "soon"}"#, "milliseconds from 1 to 10000"),
            (r#"{"daylight": "moon"}"#, "`bypass` or `enhance`"),
            (r#"{"contrast": 1}"#, "unknown field `contrast`"),
        ] {
            let error = serde_json::from_str::<Change>(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_change_leaves_the_rest_alone() {
        let text = r#"{"ratio": "auto", "strength": 0, "deadline": 40, "daylight": "enhance"}"#;
        let before = Live {
            ratio: 4.0,
            temporal: 0.5,
            ..Live::default()
        };
        let after = serde_json::from_str::<Change>(text).unwrap().on(&before);
        let expected = Live {
            ratio: 0.0,
            strength: 0.0,
            temporal: 0.5,
            deadline: Deadline::Milliseconds(40),
            daylight: Daylight::Enhance,
            ..Live::default()
        };
        assert_eq!(after, expected);
        assert_eq!(serde_json::to_value(&after).unwrap()["ratio"], "auto");
    }
}

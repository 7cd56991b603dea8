//! Versions of TensorRT, and those that this library knows.

use std::fmt;

/// A version of TensorRT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 8, 10 or 11, if it is one that can be used.
    pub major: u32,
    /// The minor version.
    pub minor: u32,
    /// The patch.
    pub patch: u32,
}

impl Version {
    /// From what `getInferLibVersion` returns: 8.6.1 is 8601, and from 10.0 on 10.3.0 is 100300.
    pub(crate) fn decode(told: i32) -> Self {
        let v = told.max(0) as u32;
        let (major, minor) = if v >= 10_000 {
            (v / 10_000, v / 100 % 100)
        } else {
            (v / 1000, v / 100 % 10)
        };
        Self {
            major,
            minor,
            patch: v % 100,
        }
    }

    /// Whether it takes a timing cache that it wrote. 8.5 does not: an error in Myelin, and it measures all anew (8.5.3 on
    /// an H100; 8.5.2 in KataGo, issue 739). 8.6 seems not to either (KataGo 1.14.1, issue 945).
    pub(crate) fn takes_timing_cache(self) -> bool {
        self.major >= 10
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_decoded() {
        for (told, version) in [
            (8601, "8.6.1"),
            (8503, "8.5.3"),
            (8510, "8.5.10"),
            (9300, "9.3.0"),
            (100_000, "10.0.0"),
            (100_300, "10.3.0"),
            (101_601, "10.16.1"),
            (110_400, "11.4.0"),
            (-1, "0.0.0"),
        ] {
            assert_eq!(Version::decode(told).to_string(), version, "{told}");
        }
    }
}

//! The four networks of a pack.

/// One of the four networks of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subnetwork {
    /// I → P, Q.
    Decomposition,
    /// P, Q → R.
    Restoration,
    /// Q → L.
    Illumination,
    /// L, ratio → L'.
    Adjustment,
}

/// An input or output of a subnetwork: its name in the ONNX file and its channels.
pub(crate) type Port = (&'static str, usize);

impl Subnetwork {
    /// All four, in the order of the network.
    pub const ALL: [Subnetwork; 4] = [
        Subnetwork::Decomposition,
        Subnetwork::Restoration,
        Subnetwork::Illumination,
        Subnetwork::Adjustment,
    ];

    /// The name in manifests and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Subnetwork::Decomposition => "decomposition",
            Subnetwork::Restoration => "restoration",
            Subnetwork::Illumination => "illumination",
            Subnetwork::Adjustment => "adjustment",
        }
    }

    /// The inputs. All are `[1, channels, height, width]`, but `ratio`, which is `[1, 1, 1, 1]`.
    pub(crate) const fn inputs(self) -> &'static [Port] {
        match self {
            Subnetwork::Decomposition => &[("image", 3)],
            Subnetwork::Restoration => &[("p", 3), ("q", 1)],
            Subnetwork::Illumination => &[("q", 1)],
            Subnetwork::Adjustment => &[("l", 1), ("ratio", 1)],
        }
    }

    /// The outputs, `[1, channels, height, width]`.
    pub(crate) const fn outputs(self) -> &'static [Port] {
        match self {
            Subnetwork::Decomposition => &[("p", 3), ("q", 1)],
            Subnetwork::Restoration => &[("r", 3)],
            Subnetwork::Illumination => &[("l", 1)],
            Subnetwork::Adjustment => &[("l_adjusted", 1)],
        }
    }
}

//! Audio that goes along without being coded anew: what each kind is taken out of RTP with and put back into it with.

/// A kind of audio that RTSP carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codec {
    /// As the camera's description names it (`a=rtpmap`), in capitals.
    name: &'static str,
    /// From RTP to coded audio.
    pub unpack: &'static str,
    /// From coded audio to RTP.
    pub pack: &'static str,
}

const CODECS: [Codec; 11] = [
    Codec {
        name: "PCMU",
        unpack: "rtppcmudepay",
        pack: "rtppcmupay pt=0",
    },
    Codec {
        name: "PCMA",
        unpack: "rtppcmadepay",
        pack: "rtppcmapay pt=8",
    },
    Codec {
        name: "MPEG4-GENERIC",
        unpack: "rtpmp4gdepay ! aacparse ! audio/mpeg,stream-format=raw",
        pack: AAC,
    },
    Codec {
        name: "MP4A-LATM",
        unpack: "rtpmp4adepay ! aacparse ! audio/mpeg,stream-format=raw",
        pack: AAC,
    },
    Codec {
        name: "OPUS",
        unpack: "rtpopusdepay",
        pack: "rtpopuspay pt=97",
    },
    Codec {
        name: "G722",
        unpack: "rtpg722depay",
        pack: "rtpg722pay pt=9",
    },
    Codec {
        name: "G726-16",
        unpack: "rtpg726depay",
        pack: "rtpg726pay pt=97",
    },
    Codec {
        name: "G726-32",
        unpack: "rtpg726depay",
        pack: "rtpg726pay pt=97",
    },
    Codec {
        name: "L16",
        unpack: "rtpL16depay",
        pack: "rtpL16pay pt=97",
    },
    Codec {
        name: "MPA",
        unpack: "rtpmpadepay ! mpegaudioparse",
        pack: "rtpmpapay pt=14",
    },
    Codec {
        name: "AC3",
        unpack: "rtpac3depay ! ac3parse",
        pack: "rtpac3pay pt=97",
    },
];

const AAC: &str = "rtpmp4gpay pt=97";

impl Codec {
    /// The codec of a stream of RTP, or the name of one that is not passed on.
    pub fn of(caps: &gst::StructureRef) -> Result<&'static Codec, String> {
        let named = caps.get::<&str>("encoding-name").map(str::to_ascii_uppercase).ok();
        // Types of payload below 96 are known without a name.
        let name = named.unwrap_or_else(|| match caps.get::<i32>("payload") {
            Ok(0) => "PCMU".into(),
            Ok(8) => "PCMA".into(),
            Ok(9) => "G722".into(),
            Ok(10 | 11) => "L16".into(),
            Ok(14) => "MPA".into(),
            _ => "unknown".into(),
        });
        CODECS.iter().find(|codec| codec.name == name).ok_or(name)
    }

    /// The name in the camera's description.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_has_its_elements() {
        gst::init().unwrap();
        for codec in CODECS {
            let caps = gst::Structure::builder("application/x-rtp")
                .field("encoding-name", codec.name)
                .build();
            assert_eq!(
                Codec::of(&caps),
                Ok(CODECS.iter().find(|c| c.name == codec.name).unwrap())
            );
            for launch in [codec.unpack, codec.pack] {
                gst::parse::bin_from_description(&format!("{launch} ! identity"), true)
                    .unwrap_or_else(|e| panic!("{launch}: {e}"));
            }
        }
        for (payload, expected) in [(0, Some("PCMU")), (8, Some("PCMA")), (98, None)] {
            let caps = gst::Structure::builder("application/x-rtp")
                .field("payload", payload)
                .build();
            assert_eq!(Codec::of(&caps).ok().map(Codec::name), expected, "payload {payload}");
        }
    }
}

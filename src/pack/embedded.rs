//! The packs that are part of the library.

type Files = &'static [(&'static str, &'static [u8])];

macro_rules! pack {
    ($name:literal: $($file:literal),+) => {
        ($name, &[$(($file, include_bytes!(concat!("../../engines/", $name, "/", $file)) as &[u8])),+] as Files)
    };
}

macro_rules! packs {
    ($($name:literal),+) => {
        &[$(pack!($name: "model.toml",
            "decomposition.onnx", "restoration.onnx", "illumination.onnx", "adjustment.onnx",
            "decomposition.fp16.onnx", "restoration.fp16.onnx", "illumination.fp16.onnx", "adjustment.fp16.onnx")),+]
    };
}

pub(super) const PACKS: &[(&str, Files)] = packs!("full", "lite", "video");

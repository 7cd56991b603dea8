//! Packs for tests: copies of `lite` in a folder of their own, with some files left out or changed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::pack::onnx::{Value, fields, push};
use crate::pack::{Pack, Subnetwork, Variant, sha256_hex};

/// How `model.toml` lists the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    /// A table for each variant.
    Variants,
    /// The digests by file name, as packs had them before there were variants.
    Digests,
}

/// A pack's folder, gone at its end.
pub(crate) struct PackFolder(PathBuf);

impl PackFolder {
    /// `lite` with those variants, each file as `change` makes it.
    pub fn new(variants: &[Variant], listing: Listing, change: impl Fn(Subnetwork, &[u8]) -> Vec<u8>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = Self(std::env::temp_dir().join(format!("uretinex-pack-{}-{n}", std::process::id())));
        std::fs::create_dir_all(&folder.0).unwrap();
        let lite = Pack::open("lite").unwrap();
        let (manifest, schedule) = (lite.manifest(), lite.manifest().schedule);
        let mut text = format!(
            "name = 'copy'\nversion = '1'\nrounds = {}\ngamma = {:?}\ngamma_step = {:?}\nlambda = {:?}\n\
             lambda_step = {:?}\nmultiple = {}\nmac_per_pixel = {}\n",
            schedule.rounds,
            schedule.gamma,
            schedule.gamma_step,
            schedule.lambda,
            schedule.lambda_step,
            manifest.multiple,
            manifest.mac_per_pixel,
        );
        if listing == Listing::Digests {
            text += "[sha256]\n";
        }
        for &variant in variants {
            if listing == Listing::Variants {
                text += &format!("[variants.{}]\n", variant.name());
            }
            for which in Subnetwork::ALL {
                let bytes = change(which, lite.onnx(which, variant).unwrap());
                let (name, digest) = (which.name(), sha256_hex([&bytes]));
                let file = match variant {
                    Variant::Fp32 => format!("{name}.onnx"),
                    Variant::Fp16 => format!("{name}.fp16.onnx"),
                };
                std::fs::write(folder.0.join(&file), bytes).unwrap();
                text += &match listing {
                    Listing::Variants => format!("{name} = {{ file = '{file}', sha256 = '{digest}' }}\n"),
                    Listing::Digests => format!("'{file}' = '{digest}'\n"),
                };
            }
        }
        std::fs::write(folder.0.join("model.toml"), text).unwrap();
        folder
    }

    /// `lite` with those variants, its files as they are.
    pub fn copy(variants: &[Variant], listing: Listing) -> Self {
        Self::new(variants, listing, |_, file| file.to_vec())
    }

    /// The folder, as a model's name.
    pub fn name(&self) -> String {
        self.0.display().to_string()
    }

    pub fn open(&self) -> Pack {
        Pack::open(&self.name()).unwrap()
    }
}

impl Drop for PackFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An ONNX file whose convolutions have other weights: `change` is called for each tensor of 32-bit floats with four axes.
pub(crate) fn with_weights(onnx: &[u8], change: &mut dyn FnMut(&mut [f32])) -> Vec<u8> {
    let mut changed = 0;
    let edited = nested(onnx, 7, &mut |graph| {
        nested(graph, 5, &mut |tensor| {
            let (mut axes, mut kind) = (Vec::new(), 0);
            for (number, value) in fields(tensor).map(Result::unwrap) {
                match number {
                    1 => value.ints(&mut axes).unwrap(),
                    2 => kind = value.int().unwrap(),
                    _ => {}
                }
            }
            // `TensorProto.raw_data`, if the values are FLOAT.
            nested(tensor, 9, &mut |raw| {
                if kind != 1 || axes.len() != 4 {
                    return raw.to_vec();
                }
                let mut values: Vec<f32> = raw.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                change(&mut values);
                changed += 1;
                values.iter().flat_map(|v| v.to_le_bytes()).collect()
            })
        })
    });
    assert!(changed > 0, "no weights were found");
    edited
}

/// A message with the messages in one of its fields changed.
fn nested(message: &[u8], number: u32, change: &mut dyn FnMut(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut edited = Vec::with_capacity(message.len());
    for (found, value) in fields(message).map(Result::unwrap) {
        match value {
            Value::Bytes(bytes) if found == number => push(&mut edited, found, Value::Bytes(&change(bytes))),
            value => push(&mut edited, found, value),
        }
    }
    edited
}

//! What is no network of ours is refused.

use super::*;
use crate::cpu::capabilities::{Capabilities, Level};
use crate::cpu::engine::cases::cases;
use crate::cpu::engine::testing::{Model, noise};

fn portable() -> Kernels {
    Kernels::floats(Capabilities::at(Level::Portable))
}

#[test]
fn unsuitable_models_are_refused() {
    type Build = fn(&mut Model);
    let cases: &[(&str, Build)] = &[
        ("HardSwish", |m| {
            m.node("HardSwish", &["x"], &["y"]);
        }),
        ("strides", |m| {
            let w = m.floats(&[3, 3, 3, 3], noise(81, 1));
            m.node("Conv", &["x", &w], &["y"])
                .ints("pads", &[1; 4])
                .ints("strides", &[2, 2]);
        }),
        ("k of 1, 3 or 5", |m| {
            let w = m.floats(&[3, 3, 7, 7], noise(441, 1));
            m.node("Conv", &["x", &w], &["y"]).ints("pads", &[3; 4]);
        }),
        ("expected weights [outputs, 3", |m| {
            let v = m.conv("x", 4, 3, 3, true);
            m.node("Relu", &[&v], &["y"]);
        }),
        ("go together", |m| {
            let v = m.unshuffle("x", 2);
            m.node("Add", &["x", &v], &["y"]);
        }),
        ("expected output 'y'", |m| {
            m.node("Relu", &["x"], &["other"]);
        }),
        ("expected 3 channels", |m| {
            let v = m.conv("x", 3, 5, 3, true);
            m.node("Relu", &[&v], &["y"]);
        }),
        ("given by no operator", |m| {
            m.node("Relu", &["nothing"], &["y"]);
        }),
    ];
    for (part, build) in cases {
        let mut model = Model::new(&[("x", 3)], &[("y", 3)]);
        build(&mut model);
        let error = Network::load(&model.bytes(), &[("x", 3)], &[("y", 3)], portable())
            .err()
            .expect(part);
        assert_eq!(error.kind(), crate::error::ErrorKind::ModelInvalid, "{part}");
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[test]
fn damaged_files_give_errors() {
    let case = cases().swap_remove(7);
    let mut model = Model::new(case.inputs, case.outputs);
    (case.build)(&mut model);
    let bytes = model.bytes();
    let load = |bytes: &[u8]| Network::load(bytes, case.inputs, case.outputs, portable()).map(|_| ());
    assert!(load(&[]).is_err());
    for len in (0..bytes.len()).step_by(997) {
        assert!(load(&bytes[..len]).is_err(), "cut to {len}");
    }
    // Names, shapes and attributes lie behind the weights; those may change without harm.
    let mut random = 1u32;
    for _ in 0..300 {
        let mut damaged = bytes.clone();
        for _ in 0..4 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = bytes.len() - 1 - (random >> 8) as usize % 6000.min(bytes.len());
            damaged[at] ^= 1 << (random & 7);
        }
        let _ = load(&damaged);
    }
}

//! Fragments of matrices on the host that stands in for tensor cores, and the order of weights, against the formulas of
//! NVIDIA's manual (PTX ISA: "Matrix Fragments for mma.m16n8k16 with floating point type", "ldmatrix").

use super::cases::Random;
use crate::gpu::kernels::convolution::{Division, Products};
use crate::gpu::kernels::launch::{Arguments, Launch, Module, Plain};
use crate::gpu::kernels::storage::Storage;
use crate::network::Filter;
use crate::testing::{HostKernels, Rounding};

static PROBE: Module = Module {
    name: "probe",
    ptx: "",
    kernels: &["host_multiply", "host_load_rows"],
    since: (8, 0),
};

#[repr(C)]
#[derive(Clone, Copy)]
struct FragmentArguments {
    a: u64,
    b: u64,
    sums: u64,
    rows: u64,
    words: u64,
}

// SAFETY: five numbers of 8 bytes.
unsafe impl Plain for FragmentArguments {}

fn run(host: &HostKernels, kernel: &'static str, arguments: FragmentArguments) {
    let launch = Launch {
        module: &PROBE,
        kernel,
        grid: [1; 3],
        block: [32, 1, 1],
        shared: 0,
        arguments: Arguments::new(&arguments),
    };
    // SAFETY: the callers' arrays are as long as 32 lanes need.
    unsafe { host.run(&launch) };
}

/// Row and column of element `i` of a lane's fragment of A, 16 × 16, as the manual has them.
fn element_of_a(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    let row = if matches!(i, 0 | 1 | 4 | 5) { group } else { group + 8 };
    let column = thread * 2 + (i & 1) + if i >= 4 { 8 } else { 0 };
    (row, column)
}

/// The same of B, 16 × 8.
fn element_of_b(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    (thread * 2 + (i & 1) + if i >= 2 { 8 } else { 0 }, group)
}

/// The same of the sums, 16 × 8.
fn element_of_c(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    let row = if i < 2 { group } else { group + 8 };
    (row, thread * 2 + (i & 1))
}

#[test]
fn the_host_multiplies_fragments_as_the_manual_says() {
    let host = HostKernels::new(Rounding::Fused);
    let mut random = Random(3);
    // Whole numbers that 16 bits hold, so that sums are exact.
    let mut number = || (random.next() % 31) as f32 - 15.0;
    let a: Vec<f32> = (0..256).map(|_| number()).collect();
    let b: Vec<f32> = (0..128).map(|_| number()).collect();
    let half = |v: f32| Storage::F16.bits(v);
    let (mut words_a, mut words_b) = (vec![0u32; 128], vec![[0u32; 2]; 32]);
    for lane in 0..32 {
        for i in 0..8 {
            let (row, column) = element_of_a(lane, i);
            words_a[lane * 4 + i / 2] |= half(a[row * 16 + column]) << (16 * (i % 2));
        }
        for i in 0..4 {
            let (row, column) = element_of_b(lane, i);
            words_b[lane][i / 2] |= half(b[row * 8 + column]) << (16 * (i % 2));
        }
    }
    let mut sums = vec![f32::NAN; 128];
    // `uint2` is aligned to 8 bytes.
    let aligned: Vec<u64> = words_b
        .iter()
        .map(|w| u64::from(w[0]) | u64::from(w[1]) << 32)
        .collect();
    let arguments = FragmentArguments {
        a: words_a.as_ptr() as u64,
        b: aligned.as_ptr() as u64,
        sums: sums.as_mut_ptr() as u64,
        rows: 0,
        words: 0,
    };
    run(&host, "host_multiply", arguments);
    for lane in 0..32 {
        for i in 0..4 {
            let (row, column) = element_of_c(lane, i);
            let expected: f32 = (0..16).map(|k| a[row * 16 + k] * b[k * 8 + column]).sum();
            assert_eq!(
                sums[lane * 4 + i],
                expected,
                "lane {lane}, sum {i}: row {row}, column {column}"
            );
        }
    }
}

#[test]
fn the_host_loads_rows_as_the_manual_says() {
    let host = HostKernels::new(Rounding::Fused);
    // Row r, element e of the matrix whose rows a lane gives.
    let name = |lane: usize, element: usize| (lane * 8 + element) as u16;
    let rows: Vec<u128> = (0..32)
        .map(|lane| (0..8).fold(0, |row, e| row | u128::from(name(lane, e)) << (16 * e)))
        .collect();
    let mut words = vec![0u32; 128];
    let arguments = FragmentArguments {
        a: 0,
        b: 0,
        sums: 0,
        rows: rows.as_ptr() as u64,
        words: words.as_mut_ptr() as u64,
    };
    run(&host, "host_load_rows", arguments);
    for lane in 0..32 {
        for (matrix, word) in words[lane * 4..][..4].iter().enumerate() {
            for e in 0..2 {
                // "Thread 0..7 hold the addresses of matrix 0", and so on; a thread gets two elements of row lane / 4.
                let expected = name(8 * matrix + lane / 4, lane % 4 * 2 + e);
                assert_eq!(
                    (word >> (16 * e)) as u16,
                    expected,
                    "lane {lane}, matrix {matrix}, element {e}"
                );
            }
        }
    }
    // Lane i gives half i / 16 of pixel i % 16: the words are then elements 2w and 2w + 1 of A.
    for lane in 0..32 {
        for i in 0..8 {
            let (row, column) = element_of_a(lane, i);
            let (giver, element) = (row + column / 8 * 16, column % 8);
            assert_eq!(
                (words[lane * 4 + i / 2] >> (16 * (i % 2))) as u16,
                name(giver, element),
                "lane {lane}, {i}"
            );
        }
    }
}

/// Every weight is where a lane reads it as its element of B, in the column whose sums that lane stores as the weight's
/// channel.
#[test]
fn weights_lie_as_lanes_read_them() {
    for (inputs, outputs, side, from_planes, to_planes) in [
        (32, 64, 3, false, false),
        (16, 32, 5, false, false),
        (64, 16, 1, false, false),
        (16, 150, 1, false, false),
        (32, 3, 3, false, true),
        (3, 32, 3, true, false),
        (7, 20, 5, true, false),
    ] {
        let what = format!("{inputs} to {outputs}, {side}x{side}");
        let count = outputs * inputs * side * side;
        let filter = Filter {
            inputs,
            outputs,
            kernel: side,
            weights: (0..count).map(|i| (i + 1) as f32).collect(),
            bias: vec![0.0; outputs],
        };
        let division = Division::new(Products::Tensor, &filter, from_planes, to_planes);
        let packed = division.weights(&filter);
        let tiles = division.group / 8;
        let mut seen = vec![false; count];
        let step = 16 * division.group;
        for (number, weights) in packed.chunks(step).enumerate() {
            let (group, rest) = (
                number / (division.chunks * division.taps),
                number % (division.chunks * division.taps),
            );
            let (chunk, tap) = (rest / division.taps, rest % division.taps);
            for lane in 0..32 {
                for tile in 0..tiles {
                    for i in 0..4 {
                        let at = match tiles {
                            1 => lane * 4 + i,
                            _ => tile / 2 * 256 + lane * 8 + tile % 2 * 4 + i,
                        };
                        let (k, n) = element_of_b(lane, i);
                        // The lane of the sums that has this column, and what it stores them as.
                        let (thread, e) = (n / 2, n % 2);
                        let channel = match tiles {
                            1 => n,
                            _ => tile / 2 * 16 + thread * 4 + tile % 2 * 2 + e,
                        };
                        let (input_lane, channel) = (chunk * 16 + k, group * division.group + channel);
                        let (input, y, x) = match from_planes {
                            true => (input_lane / side, tap, input_lane % side),
                            false => (input_lane, tap / side, tap % side),
                        };
                        let inside = group < division.groups && input < inputs && channel < outputs;
                        let index = ((channel * inputs + input) * side + y) * side + x;
                        let expected = if inside { filter.weights[index] } else { 0.0 };
                        assert_eq!(
                            weights[at], expected,
                            "{what}: step {number}, lane {lane}, tile {tile}, {i}"
                        );
                        if inside {
                            seen[index] = true;
                        }
                    }
                }
            }
        }
        assert!(seen.iter().all(|s| *s), "{what}: weights are missing");
    }
}

//! Draws a street at night, seen by a small noisy camera, as raw RGB frames on standard output.
//!
//! ```sh
//! night_clip 640 360 125 | gst-launch-1.0 fdsrc ! rawvideoparse width=640 height=360 format=rgb framerate=25/1 \
//!     ! videoconvert ! autovideosink
//! ```
//! With `camera` as a fourth argument half of the lamps are out, so that one side is near-black, and the cars have beams.
//!
//! Surfaces have a reflectance, lamps and the sky light them, and the sensor adds the noise of few photons: what
//! URetinex-Net takes apart. Everything follows from the frame number, so a clip is the same on every machine.

use std::io::{self, BufWriter, Write};

type Rgb = [f32; 3];

const SKY: Rgb = [0.004, 0.006, 0.012];
const SKY_LIGHT: Rgb = [0.0075, 0.0085, 0.0110];
const LAMP_LIGHT: Rgb = [1.0, 0.72, 0.42];
/// Centre of a lamp, in heights of the frame from the top left.
const LAMPS: [(f32, f32); 2] = [(0.52, 0.33), (1.42, 0.33)];
/// Where houses end and where the road begins.
const GROUND: f32 = 0.66;
const KERB: f32 = 0.74;
/// Colour of the walls, left to right; each house is 0.3 heights wide.
const WALLS: [Rgb; 7] = [
    [0.55, 0.20, 0.14],
    [0.70, 0.55, 0.25],
    [0.20, 0.42, 0.45],
    [0.62, 0.60, 0.55],
    [0.45, 0.16, 0.30],
    [0.30, 0.48, 0.24],
    [0.60, 0.34, 0.18],
];

/// A number from 0 to 1 that follows from three others.
fn hash(a: i32, b: i32, c: i32) -> f32 {
    let mut h = (a as u32).wrapping_mul(0x85eb_ca6b)
        ^ (b as u32).wrapping_mul(0xc2b2_ae35)
        ^ (c as u32).wrapping_mul(0x27d4_eb2f);
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ (h >> 12)).wrapping_mul(0x297a_2d39);
    ((h ^ (h >> 15)) >> 8) as f32 / (1 << 24) as f32
}

/// Smooth noise from 0 to 1 with features of about one unit.
fn clouds(x: f32, y: f32, seed: i32) -> f32 {
    let (ix, iy) = (x.floor() as i32, y.floor() as i32);
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (fx, fy) = (ease(x - x.floor()), ease(y - y.floor()));
    let row = |j| hash(ix, iy + j, seed) * (1.0 - fx) + hash(ix + 1, iy + j, seed) * fx;
    row(0) * (1.0 - fy) + row(1) * fy
}

fn scale(c: Rgb, by: f32) -> Rgb {
    c.map(|v| v * by)
}

/// What is seen at a point: the reflectance of a surface and the light it gives off itself.
struct Surface {
    reflectance: Rgb,
    glow: Rgb,
}

fn matt(reflectance: Rgb) -> Surface {
    Surface {
        reflectance,
        glow: [0.0; 3],
    }
}

fn wall(x: f32, y: f32) -> Surface {
    let house = (x / 0.3).floor() as i32;
    let (hx, colour) = (x - house as f32 * 0.3, WALLS[house.rem_euclid(7) as usize]);
    // Two columns of windows on four floors, a shop sign above the door.
    if (0.475..0.52).contains(&y) && (0.04..0.26).contains(&hx) {
        let letters = hash((hx * 60.0) as i32, (y * 110.0) as i32, house) > 0.55;
        let sign = WALLS[(house + 3).rem_euclid(7) as usize];
        return matt(if letters { [0.9, 0.9, 0.85] } else { sign });
    }
    let (wx, wy) = ((hx - 0.04).rem_euclid(0.12), (y - 0.02).rem_euclid(0.11));
    if y < 0.46 && (0.03..0.27).contains(&hx) && wx < 0.065 && wy < 0.075 {
        let (column, floor) = ((hx / 0.12) as i32, (y / 0.11) as i32);
        let frame = !(0.006..=0.059).contains(&wx) || (wx - 0.0325).abs() < 0.003;
        let lit = hash(house, column, floor) > 0.82;
        return match (frame, lit) {
            (true, _) => matt([0.8, 0.8, 0.78]),
            (_, true) => Surface {
                reflectance: [0.3; 3],
                glow: [0.20, 0.13, 0.05],
            },
            _ => matt([0.10, 0.13, 0.17]),
        };
    }
    let row = (y / 0.012).floor();
    let brick = ((x + row.rem_euclid(2.0) * 0.015) / 0.03).floor();
    let mortar = y.rem_euclid(0.012) < 0.002 || (x + row.rem_euclid(2.0) * 0.015).rem_euclid(0.03) < 0.002;
    let shade = 0.75 + 0.5 * hash(brick as i32, row as i32, 5);
    matt(if mortar {
        [0.55, 0.53, 0.50]
    } else {
        scale(colour, shade)
    })
}

fn car(x: f32, y: f32, at: f32, colour: Rgb) -> Option<Surface> {
    let (cx, cy) = (x - at, y - 0.80);
    let wheel = |wx: f32| ((cx - wx).powi(2) + (cy - 0.055).powi(2)).sqrt();
    if wheel(-0.12) < 0.035 || wheel(0.12) < 0.035 {
        let hub = wheel(-0.12).min(wheel(0.12)) < 0.016;
        return Some(matt(if hub { [0.6; 3] } else { [0.04; 3] }));
    }
    if cx > 0.175 && cx < 0.192 && (cy - 0.005).abs() < 0.012 {
        return Some(Surface {
            reflectance: [0.9; 3],
            glow: [1.2, 1.15, 1.0],
        });
    }
    if cx < -0.175 && cx > -0.192 && (cy - 0.005).abs() < 0.012 {
        return Some(Surface {
            reflectance: [0.6, 0.05, 0.05],
            glow: [0.35, 0.01, 0.01],
        });
    }
    let cabin = 0.105 - (cy + 0.03).min(0.0).abs() * 0.7;
    if (-0.085..-0.02).contains(&cy) && cx.abs() < cabin {
        let pane = cy > -0.075 && cx.abs() < cabin - 0.012 && (cx - 0.005).abs() > 0.006;
        return Some(matt(if pane { [0.10, 0.12, 0.14] } else { colour }));
    }
    ((-0.025..0.05).contains(&cy) && cx.abs() < 0.19).then(|| matt(scale(colour, 1.0 - cy * 5.0)))
}

/// Where the middles of the cars are.
fn cars(time: f32) -> [f32; 2] {
    [0.42 * time - 0.3, 0.42 * time - 0.9]
}

fn surface(x: f32, y: f32, time: f32, camera: bool) -> Surface {
    for (i, (lx, ly)) in LAMPS.into_iter().enumerate() {
        if (x - lx).powi(2) + (y - ly).powi(2) < 0.0004 {
            let glow = if camera && i > 0 { [0.0; 3] } else { [1.5, 1.2, 0.8] };
            return Surface {
                reflectance: [0.9; 3],
                glow,
            };
        }
        let pole = lx - 0.05 + 0.1 * i as f32;
        if (x - pole).abs() < 0.006 && (0.31..GROUND + 0.04).contains(&y) {
            return matt([0.18, 0.22, 0.20]);
        }
    }
    let colours = [[0.70, 0.06, 0.05], [0.08, 0.25, 0.65]];
    let mut cars = cars(time).into_iter().zip(colours);
    if let Some(seen) = cars.find_map(|(at, colour)| car(x, y, at, colour)) {
        return seen;
    }
    // A tree that moves a little in the wind.
    let (tx, ty) = (x - 0.97 - 0.004 * (time * 2.0 + y * 9.0).sin(), y - 0.40);
    let crown = (tx * tx + ty * ty * 1.3).sqrt() + 0.06 * clouds(x * 22.0, y * 22.0, 3);
    if crown < 0.17 {
        return matt(scale(
            [0.16, 0.34, 0.10],
            0.4 + 1.1 * clouds(x * 90.0 - time * 0.4, y * 90.0, 9),
        ));
    }
    if tx.abs() < 0.013 && (0.5..GROUND + 0.03).contains(&y) {
        return matt(scale([0.26, 0.17, 0.10], 0.6 + clouds(x * 200.0, y * 30.0, 4)));
    }
    if y < GROUND {
        return wall(x, y);
    }
    if y < KERB {
        let joint = (x + y).rem_euclid(0.07) < 0.003 || (y - GROUND).rem_euclid(0.04) < 0.002;
        return matt(scale(
            [0.42, 0.41, 0.39],
            if joint {
                0.5
            } else {
                0.8 + 0.3 * clouds(x * 60.0, y * 90.0, 6)
            },
        ));
    }
    let dash = (y - 0.92).abs() < 0.008 && x.rem_euclid(0.32) < 0.19;
    let grain = 0.7 + 0.4 * clouds(x * 260.0, y * 330.0, 7) + 0.3 * clouds(x * 9.0, y * 14.0, 8);
    matt(scale(if dash { [0.75, 0.74, 0.70] } else { [0.17, 0.17, 0.18] }, grain))
}

/// Light that falls on a point: the sky's, the lamps' and, for a camera, that of the cars' beams on the road.
fn light(x: f32, y: f32, time: f32, camera: bool) -> Rgb {
    let mut sum = if camera { scale(SKY_LIGHT, 0.06) } else { SKY_LIGHT };
    if camera && y > 0.76 {
        for at in cars(time) {
            let ahead = x - at - 0.19;
            let wide = 0.02 + 0.25 * ahead.max(0.0);
            let beam = if ahead > 0.0 {
                0.05 / (1.0 + 30.0 * ahead * ahead)
            } else {
                0.0
            };
            let beam = beam * (-((y - 0.84) / wide).powi(2)).exp();
            sum = sum.map(|s| s + beam);
        }
    }
    for (lx, ly) in LAMPS.into_iter().take(if camera { 1 } else { 2 }) {
        let strength = 0.0012 / ((x - lx).powi(2) + (y - ly).powi(2) + 0.012);
        for (s, l) in sum.iter_mut().zip(LAMP_LIGHT) {
            *s += strength * l;
        }
    }
    sum
}

/// A sum of three uniform numbers, near enough to a normal one: mean 0, deviation 1.
fn normal(x: usize, y: usize, seed: i32) -> f32 {
    let (x, y) = (x as i32, y as i32);
    2.0 * (hash(x, y, seed) + hash(x, y, seed ^ 0x5555_0000) + hash(x, y, seed ^ 0x2aaa_0000) - 1.5)
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<usize> = arguments.iter().take(3).filter_map(|a| a.parse().ok()).collect();
    let camera = arguments.get(3).is_some_and(|a| a == "camera");
    let ([width, height, frames], true) = (&numbers[..], camera || arguments.len() == 3) else {
        return Err(io::Error::other(
            "usage: night_clip WIDTH HEIGHT FRAMES [camera] > frames.rgb",
        ));
    };
    let [width, height, frames] = [*width, *height, *frames];
    let mut out = BufWriter::new(io::stdout().lock());
    let mut row = vec![0u8; width * 3];
    for frame in 0..frames {
        let time = frame as f32 / 25.0;
        for py in 0..height {
            for px in 0..width {
                let (x, y) = ((px as f32 + 0.5) / height as f32, (py as f32 + 0.5) / height as f32);
                let (seen, light) = (surface(x, y, time, camera), light(x, y, time, camera));
                for c in 0..3 {
                    let photons = seen.reflectance[c] * light[c] + seen.glow[c] + SKY[c] * 0.1;
                    // Shot noise grows with the root of the signal; the sensor adds its own.
                    let deviation = (photons * 0.9e-4 + 0.5e-6).sqrt();
                    let noisy = photons + deviation * normal(px, py, (frame * 3 + c) as i32);
                    row[px * 3 + c] = (noisy.clamp(0.0, 1.0).powf(1.0 / 2.2) * 255.0 + 0.5) as u8;
                }
            }
            out.write_all(&row)?;
        }
    }
    out.flush()
}

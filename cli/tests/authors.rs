//! The authors' checkpoint on the authors' protocol: the program gives the figures that PyTorch gives.

use std::path::PathBuf;
use std::process::Command;

/// Mean PSNR of the five pictures in dB, from PyTorch with the ratios of `gt_ratio.json`.
const PYTORCH: f64 = 24.83;

fn folder(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(default))
}

#[test]
fn psnr_of_the_authors_checkpoint() {
    let data = folder("URETINEX_SHARED", "../shared").join("data/lol_eval");
    let pack = folder("URETINEX_AUTHORS_PACK", "target/authors-pack");
    for needed in [&data, &pack] {
        if !needed.is_dir() {
            return eprintln!("SKIPPED: no {}", needed.display());
        }
    }
    let ratios = std::fs::read(data.join("gt_ratio.json")).unwrap();
    let ratios: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&ratios).unwrap();
    let out = std::env::temp_dir().join(format!("uretinex-authors-{}.png", std::process::id()));
    let mut sum = 0.0;
    for (name, ratio) in &ratios {
        let status = Command::new(env!("CARGO_BIN_EXE_uretinex"))
            .arg("image")
            .args([&data.join("low").join(name), &out])
            .args(["--ratio", &ratio.to_string()])
            .arg("--model")
            .arg(&pack)
            .output()
            .unwrap();
        assert!(
            status.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&status.stderr)
        );
        let [found, truth] = [&out, &data.join("high").join(name)].map(|p| image::open(p).unwrap().to_rgb8());
        let squares = found
            .iter()
            .zip(truth.iter())
            .map(|(a, b)| (*a as f64 - *b as f64).powi(2));
        let psnr = 10.0 * (255.0f64.powi(2) / (squares.sum::<f64>() / found.len() as f64)).log10();
        println!("{name} at ratio {ratio}: {psnr:.2} dB");
        sum += psnr;
    }
    let _ = std::fs::remove_file(out);
    let mean = sum / ratios.len() as f64;
    assert!((mean - PYTORCH).abs() < 0.02, "{mean:.3} dB, PyTorch gives {PYTORCH}");
}

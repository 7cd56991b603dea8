//! The NVIDIA driver with its GPUs, TensorRT, and the engine cache.

use uretinex::{EngineCache, probe, search_path};

use super::Finding::{self, Absent, Here};

pub fn driver() -> Vec<Finding> {
    let driver = &probe().driver;
    if driver.library.found.is_none() {
        return vec![Absent(
            format!(
                "driver: {} is not in {}",
                driver.library.names.join(", "),
                search_path()
            ),
            "with an NVIDIA GPU in the machine: install Debian's nvidia-driver, or in a container use the NVIDIA \
             container toolkit with --gpus all"
                .into(),
        )];
    }
    let mut findings = vec![Here(match driver.cuda {
        Some((major, minor)) => format!("driver: {} for CUDA up to {major}.{minor}", driver.library),
        None => format!("driver: {}", driver.library),
    })];
    for (i, gpu) in driver.gpus.iter().enumerate() {
        let ((major, minor), gib) = (gpu.compute_capability, gpu.memory as f64 / (1u64 << 30) as f64);
        findings.push(Here(format!(
            "device {i}: {}, compute capability {major}.{minor}, {gib:.0} GiB",
            gpu.name
        )));
    }
    if let Some(fault) = &driver.fault {
        findings.push(Absent(
            fault.clone(),
            "run nvidia-smi: it should list a GPU; after a driver update, restart the machine".into(),
        ));
    }
    findings
}

pub fn tensorrt() -> Vec<Finding> {
    let trt = &probe().tensorrt;
    let mut findings = Vec::new();
    if trt.library.found.is_some() {
        let version = trt
            .version
            .map_or("of unknown version".into(), |version| version.to_string());
        findings.push(Here(format!("TensorRT {version}: {}", trt.library)));
    }
    if trt.parser.found.is_some() {
        findings.push(Here(format!("ONNX parser: {}", trt.parser)));
    }
    if let Some(lack) = trt.lacks() {
        let (what, remedy) = lack.split_once("; install ").unwrap_or((&lack, "another TensorRT"));
        findings.push(Absent(what.into(), format!("with an NVIDIA GPU: install {remedy}")));
    }
    findings.push(cache());
    findings
}

fn cache() -> Finding {
    let cache = match EngineCache::new(None) {
        Ok(cache) => cache,
        Err(e) => {
            return Absent(
                format!("engine cache: {e}"),
                "set URETINEX_ENGINE_CACHE to a folder".into(),
            );
        }
    };
    let folder = cache.folder().display();
    match cache.entries() {
        Ok(entries) => match entries.iter().filter(|e| e.contents.is_err()).count() {
            0 => Here(format!("engine cache: {} files in {folder}", entries.len())),
            damaged => Absent(
                format!(
                    "engine cache: {damaged} of the {} files in {folder} are damaged",
                    entries.len()
                ),
                "nothing to do: they are built again when they are needed; uretinex engines verify lists them".into(),
            ),
        },
        Err(e) => Absent(
            format!("engine cache: {e}"),
            "set URETINEX_ENGINE_CACHE to another folder".into(),
        ),
    }
}

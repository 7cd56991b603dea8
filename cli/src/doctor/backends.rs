//! The backends, each tried with a model pack.

use std::process::Command;

use uretinex::{BackendChoice, Enhancer, Options, probe};

use super::Finding::{self, Absent, Broken, Here};

pub fn findings() -> Vec<Finding> {
    let options = |backend| Options {
        backend,
        ..Options::default()
    };
    let cpu = match Enhancer::new(&options(BackendChoice::Cpu)) {
        Ok(enhancer) => Here(format!("cpu: {} takes a picture", enhancer.model().name)),
        Err(e) => Broken(format!("cpu: {e}"), "please report it with this whole text".into()),
    };
    // Loading a mislabelled library can crash the process, so it is tried in a child process first.
    let tried = match probe().tensorrt_lacks() {
        Some(lack) => Err(lack),
        None => try_tensorrt(),
    };
    let own = match probe().cuda_lacks() {
        Some(lack) => Err(lack),
        None => Enhancer::new(&options(BackendChoice::Cuda))
            .map(drop)
            .map_err(|e| e.to_string()),
    };
    let own = match own {
        Ok(()) => Here("cuda: the driver takes the kernels (uretinex selftest --backend cuda checks all of it)".into()),
        Err(fault) => Absent(
            format!("cuda: {fault}"),
            "see the section NVIDIA GPU; the cpu backend needs none".into(),
        ),
    };
    let made = tried.and_then(|version| match Enhancer::new(&options(BackendChoice::TensorRt)) {
        Ok(_) => Ok(version),
        Err(e) => Err(e.to_string()),
    });
    let gpu = match made {
        Ok(version) => Here(format!(
            "tensorrt: {version} works; engines are built when they are first needed, or beforehand by uretinex engines \
             build (uretinex selftest --backend tensorrt checks all of it)"
        )),
        Err(fault) => Absent(
            format!("tensorrt: {fault}"),
            "see the sections NVIDIA GPU and TensorRT; the cpu backend needs neither".into(),
        ),
    };
    let auto = match (&gpu, &own) {
        (Here(_), _) => "auto: is tensorrt, and cuda or cpu if engines can be neither loaded nor built",
        (_, Here(_)) => "auto: is cuda, and cpu if that cannot be prepared",
        _ => "auto: is cpu",
    };
    vec![cpu, own, gpu, Here(auto.into())]
}

/// The output of `uretinex engines try`.
fn try_tensorrt() -> Result<String, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let out = Command::new(program)
        .args(["engines", "try"])
        .output()
        .map_err(|e| e.to_string())?;
    let (said, fault) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    match (out.status.success(), out.status.code()) {
        (true, _) => Ok(said.trim().into()),
        (false, Some(_)) => Err(fault.trim().trim_start_matches("error: ").into()),
        (false, None) => Err(format!(
            "{} crashes when it is used ({}); install an official build of TensorRT 8.5, 8.6, 10.x or 11.x",
            probe().tensorrt.library,
            out.status
        )),
    }
}

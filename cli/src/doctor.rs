//! `uretinex doctor`: what this machine offers, and for each absent thing what to do.

use std::path::Path;
use std::process::{Command, ExitCode};

use uretinex::{BackendChoice, EngineCache, Enhancer, Level, Options, Pack, SharedLibrary, probe, search_path};

/// Say what this machine offers, and what to do about what it lacks
///
/// Exit status 1 if nothing works here: no model pack, or no backend that takes a picture through one.
#[derive(clap::Args)]
pub struct Args {}

/// One line of the report.
enum Finding {
    /// It is there.
    Here(String),
    /// It is not there, and what to do for whoever wants it.
    Absent(String, String),
    /// Nothing works without it.
    Broken(String, String),
}
use Finding::{Absent, Broken, Here};

pub fn run(_: &Args) -> Result<ExitCode, String> {
    let mut report = format!("uretinex {}\n", env!("CARGO_PKG_VERSION"));
    let mut broken = false;
    for (title, findings) in [
        ("Processor", processor()),
        ("Model packs", packs()),
        ("Backends", backends()),
        ("NVIDIA GPU", gpu()),
        ("TensorRT", tensorrt()),
        ("GStreamer", gstreamer()),
    ] {
        report += &format!("\n{title}\n");
        for finding in findings {
            report += &match finding {
                Here(what) => format!("  yes  {what}\n"),
                Absent(what, remedy) => format!("  no   {what}\n       to have it: {remedy}\n"),
                Broken(what, remedy) => {
                    broken = true;
                    format!("  BAD  {what}\n       to mend it: {remedy}\n")
                }
            };
        }
    }
    crate::print(&report)?;
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn processor() -> Vec<Finding> {
    let field = |file: &str, key: &str| {
        let text = std::fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let name = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    let mut findings = vec![Here(format!("{name}, {cores} cores for this process"))];
    let (current, best) = (
        Level::current(),
        Level::available().last().copied().unwrap_or(Level::Portable),
    );
    let features = cpu_features();
    let detail = if features.is_empty() {
        String::new()
    } else {
        format!(" ({})", features.join(", "))
    };
    findings.push(Here(format!("vector units: kernels for {best}{detail}")));
    if current != best {
        findings.push(Absent(
            format!("{best} is not used: the environment variable URETINEX_CPU chooses {current}"),
            "unset URETINEX_CPU".into(),
        ));
    }
    #[cfg(target_arch = "x86_64")]
    if best == Level::Portable {
        findings.push(Absent(
            "AVX2, FMA and F16C: the networks run several times slower without".into(),
            "a processor from 2013 or later; in a virtual machine, pass the host's processor through".into(),
        ));
    }
    let kilobytes = |key| field("/proc/meminfo", key)?.split(' ').next()?.parse::<f64>().ok();
    if let (Some(total), Some(free)) = (kilobytes("MemTotal"), kilobytes("MemAvailable")) {
        let gib = |kb: f64| kb / (1 << 20) as f64;
        findings.push(Here(format!(
            "memory: {:.1} GiB, {:.1} GiB of it free",
            gib(total),
            gib(free)
        )));
    }
    findings
}

fn cpu_features() -> Vec<&'static str> {
    let mut names = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! list {
            ($($feature:tt),+) => { $(if std::arch::is_x86_feature_detected!($feature) { names.push($feature); })+ };
        }
        list!(
            "avx2",
            "fma",
            "f16c",
            "avx512f",
            "avx512bw",
            "avx512dq",
            "avx512vl",
            "avx512vnni",
            "avx512fp16"
        );
    }
    #[cfg(target_arch = "aarch64")]
    {
        macro_rules! list {
            ($($feature:tt),+) => { $(if std::arch::is_aarch64_feature_detected!($feature) { names.push($feature); })+ };
        }
        list!("neon", "fp16", "dotprod", "i8mm", "bf16");
    }
    names
}

fn packs() -> Vec<Finding> {
    let mut findings: Vec<_> = Pack::embedded()
        .map(|name| match Pack::open(name) {
            Ok(pack) => {
                let m = pack.manifest();
                let thousands = m.mac_per_pixel / 1e3;
                Here(format!(
                    "{name} {}: {} ({thousands:.0} k multiplications per pixel)",
                    m.version, m.description
                ))
            }
            Err(e) => Broken(
                format!("{name}: {e}"),
                "build uretinex again from a clean checkout".into(),
            ),
        })
        .collect();
    if findings.is_empty() {
        findings.push(Broken(
            "none is built in".into(),
            "give --model a pack's folder (engines/README.md says how to make one), or build from a release".into(),
        ));
    }
    findings
}

fn backends() -> Vec<Finding> {
    let Some(model) = Pack::embedded()
        .find(|name| *name == "lite")
        .or_else(|| Pack::embedded().next())
    else {
        return vec![Absent("not tried: there is no model pack".into(), "see above".into())];
    };
    let options = |backend| Options {
        model: model.into(),
        backend,
        ..Options::default()
    };
    let cpu = match Enhancer::new(&options(BackendChoice::Cpu)) {
        Ok(_) => Here(format!("cpu: {model} takes a picture")),
        Err(e) => Broken(format!("cpu: {e}"), "please report it with this whole text".into()),
    };
    // TensorRT is tried in a process of its own first: a library that is not what it says may crash.
    let tried = match probe().tensorrt_lacks() {
        Some(lack) => Err(lack),
        None => try_tensorrt(),
    };
    let made = tried.and_then(|version| match Enhancer::new(&options(BackendChoice::TensorRt)) {
        Ok(_) => Ok(version),
        Err(e) => Err(e.to_string()),
    });
    let gpu = match made {
        Ok(version) => Here(format!(
            "tensorrt: {version} makes its objects; engines are built when they are first needed, or by uretinex \
             engines build (uretinex selftest --backend tensorrt tries all of it)"
        )),
        Err(fault) => Absent(
            format!("tensorrt: {fault}"),
            "see NVIDIA GPU and TensorRT; the cpu backend needs neither".into(),
        ),
    };
    let auto = match gpu {
        Here(_) => Here("auto: takes tensorrt, and cpu if engines cannot be had".into()),
        _ => Here("auto: takes cpu".into()),
    };
    vec![cpu, gpu, auto]
}

/// What `uretinex engines try` says.
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

fn gpu() -> Vec<Finding> {
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

fn tensorrt() -> Vec<Finding> {
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
    findings.push(engines());
    findings
}

/// What is kept of engines that were built.
fn engines() -> Finding {
    let cache = match EngineCache::new(None) {
        Ok(cache) => cache,
        Err(e) => return Absent(format!("engines: {e}"), "set URETINEX_ENGINE_CACHE to a folder".into()),
    };
    let folder = cache.folder().display();
    match cache.entries() {
        Ok(entries) if entries.iter().any(|e| e.contents.is_err()) => Absent(
            format!("engines: some of the {} files in {folder} are damaged", entries.len()),
            "nothing has to be done, they are built anew; uretinex engines verify lists them".into(),
        ),
        Ok(entries) => Here(format!("engines kept: {} files in {folder}", entries.len())),
        Err(e) => Absent(
            format!("engines: {e}"),
            "set URETINEX_ENGINE_CACHE to another folder".into(),
        ),
    }
}

fn gstreamer() -> Vec<Finding> {
    let Some(version) = output("gst-inspect-1.0", &["--version"]) else {
        return vec![Absent(
            "gst-inspect-1.0 is not on the PATH; uretinex itself does not need it".into(),
            "apt install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good, or make demo, which \
             installs all"
                .into(),
        )];
    };
    let version = version
        .lines()
        .find_map(|l| l.strip_prefix("GStreamer "))
        .unwrap_or("of unknown version")
        .to_string();
    let mut findings = vec![Here(format!("GStreamer {version}"))];
    findings.push(match output("gst-inspect-1.0", &["uretinexenhance"]) {
        Some(text) => {
            let file = text
                .lines()
                .find_map(|l| l.trim().strip_prefix("Filename"))
                .unwrap_or("")
                .trim()
                .to_string();
            Here(format!("element uretinexenhance: {file}"))
        }
        None => Absent(
            "element uretinexenhance: GStreamer does not see the plugin".into(),
            plugin_remedy(),
        ),
    });
    let library = SharedLibrary::find(&["libgstcuda-1.0.so.0"]);
    findings.push(match library.found {
        Some(_) => Here(format!("CUDA memory: {library}")),
        None => Absent(
            format!("CUDA memory: libgstcuda-1.0.so.0 is not in {}", search_path()),
            "GStreamer 1.22 or later: apt install libgstreamer-plugins-bad1.0-0 (of use with an NVIDIA GPU only)"
                .into(),
        ),
    });
    findings
}

/// Where the plugin is, if it lies beside this program, and how GStreamer finds it.
fn plugin_remedy() -> String {
    let folder = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_path_buf()));
    match folder {
        Some(folder) if Path::new(&folder).join("libgsturetinex.so").exists() => {
            format!("make install, or export GST_PLUGIN_PATH={}", folder.display())
        }
        _ => "make build && make install, or set GST_PLUGIN_PATH to the folder of libgsturetinex.so; if it was seen \
              broken before, remove ~/.cache/gstreamer-1.0 first"
            .into(),
    }
}

/// What a program printed, if it is there and went well.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok()?;
    out.status
        .success()
        .then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

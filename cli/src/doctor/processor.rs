//! The processor and its memory.

use uretinex::Level;

use super::Finding::{self, Absent, Here};

pub fn findings() -> Vec<Finding> {
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
    let features = features();
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
            "AVX2, FMA and F16C: without them the networks run several times slower".into(),
            "use a processor from 2013 or later; in a virtual machine, pass the host's processor through".into(),
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

/// The extensions of the processor that kernels use or may come to use.
fn features() -> Vec<&'static str> {
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

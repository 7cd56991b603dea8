//! `uretinex engines`: TensorRT engines built beforehand, and the cache that holds them.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use uretinex::{
    BackendChoice, CacheEntry, Colorimetry, EngineCache, Enhancer, FrameSpec, MIN_SIDE, Options, Phase, PixelFormat,
    try_tensorrt,
};

use crate::options::{self, PrecisionArg};

/// Build the TensorRT engines of this machine; list, verify and clear the engine cache
///
/// Engines are built when they are first needed, which takes minutes; `build` does it beforehand. The other commands work
/// without a GPU.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build the engines of a model pack for this machine's GPU, unless the cache has them
    Build(BuildArgs),
    /// List the files of the cache
    List(FolderArgs),
    /// Check that the files of the cache are whole; exit status 1 if one is not
    Verify(FolderArgs),
    /// Remove the files of the cache
    Clear(FolderArgs),
    /// Make TensorRT's first objects, for `uretinex doctor`
    #[command(hide = true)]
    Try,
}

#[derive(clap::Args)]
struct FolderArgs {
    /// Folder of the engine cache [default: the environment variable URETINEX_ENGINE_CACHE, or uretinex/engines in the
    /// user's cache folder]
    #[arg(long, value_name = "DIR")]
    engine_cache: Option<PathBuf>,
}

#[derive(clap::Args)]
struct BuildArgs {
    /// Model pack: `full`, `lite`, `video`, `auto` (`video`) or a pack's folder
    #[arg(long, value_name = "NAME|DIR", default_value = "auto")]
    model: String,
    /// Number format of the networks' arithmetic
    #[arg(long, value_enum, default_value_t = PrecisionArg::AUTO)]
    precision: PrecisionArg,
    /// Size of frames that the engines are fastest at; they take others, up to 1920x1080 at least
    #[arg(long, value_name = "WxH", default_value = "1920x1080", value_parser = options::size)]
    size: (usize, usize),
    /// GPU, counted from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    device_id: u32,
    #[command(flatten)]
    folder: FolderArgs,
}

pub fn run(args: &Args) -> Result<ExitCode, String> {
    match &args.action {
        Action::Build(args) => build(args),
        Action::List(args) => list(&args.open()?),
        Action::Verify(args) => verify(&args.open()?),
        Action::Clear(args) => clear(&args.open()?),
        Action::Try => {
            let version = try_tensorrt().map_err(|e| e.to_string())?;
            crate::print(&format!("TensorRT {version}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl FolderArgs {
    fn open(&self) -> Result<EngineCache, String> {
        EngineCache::new(self.engine_cache.as_deref()).map_err(|e| e.to_string())
    }
}

fn build(args: &BuildArgs) -> Result<ExitCode, String> {
    let cache = args.folder.open()?;
    let (width, height) = args.size;
    // Engines depend on the size alone.
    let frames_of = |width, height| FrameSpec {
        format: PixelFormat::Rgb,
        width,
        height,
        colorimetry: Colorimetry::default(),
    };
    let spec = frames_of(width, height);
    spec.validate().map_err(|e| e.to_string())?;
    let options = Options {
        model: args.model.clone(),
        backend: BackendChoice::TensorRt,
        precision: args.precision.into(),
        device_id: args.device_id,
        engine_cache: Some(cache.folder().to_path_buf()),
        ..Options::default()
    };
    let mut enhancer = Enhancer::new(&options).map_err(|e| e.to_string())?;
    if let Some(job) = enhancer.preparation(&spec).map_err(|e| e.to_string())? {
        job.run(&mut |progress| {
            let time = match progress.phase {
                Phase::Ready => format!(" ({} s)", progress.elapsed.as_secs()),
                _ => String::new(),
            };
            // The engines are wanted even if nobody reads the progress any more.
            let _ = crate::print(&format!("{progress}{time}\n"));
            ControlFlow::Continue(())
        })
        .map_err(|e| e.to_string())?;
    }
    // The precisions are known once a size is prepared. The engines take the smallest size too, which needs little memory.
    enhancer
        .prepare(&frames_of(MIN_SIDE, MIN_SIDE))
        .map_err(|e| e.to_string())?;
    crate::print(&format!(
        "engines of {}, {}, are in {}\n",
        enhancer.model().name,
        enhancer.precisions(),
        cache.folder().display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn entries(cache: &EngineCache) -> Result<Vec<CacheEntry>, String> {
    cache.entries().map_err(|e| e.to_string())
}

fn name(entry: &CacheEntry) -> String {
    entry
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn list(cache: &EngineCache) -> Result<ExitCode, String> {
    let entries = entries(cache)?;
    let mut text = String::new();
    for entry in &entries {
        let what = match &entry.contents {
            Ok(c) if c.kind == "engine" => {
                format!(
                    "{}, {}, {}, TensorRT {}, {}",
                    c.network, c.precision, c.sizes, c.tensorrt, c.gpu
                )
            }
            Ok(c) => format!("measurements for building, TensorRT {}, {}", c.tensorrt, c.gpu),
            Err(fault) => format!("DAMAGED: {fault}"),
        };
        let _ = writeln!(text, "{}\n  {what}, {}", name(entry), mebibytes(entry.bytes));
    }
    let total = entries.iter().map(|e| e.bytes).sum();
    let _ = writeln!(
        text,
        "{} files, {} in {}",
        entries.len(),
        mebibytes(total),
        cache.folder().display()
    );
    crate::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn verify(cache: &EngineCache) -> Result<ExitCode, String> {
    let entries = entries(cache)?;
    let mut text = String::new();
    for entry in &entries {
        let _ = match &entry.contents {
            Ok(_) => writeln!(text, "  yes  {}", name(entry)),
            Err(fault) => writeln!(text, "  BAD  {}: {fault}", name(entry)),
        };
    }
    let damaged = entries.iter().filter(|e| e.contents.is_err()).count();
    let folder = cache.folder().display();
    let _ = match damaged {
        0 => writeln!(text, "{} files in {folder}, all of them whole", entries.len()),
        _ => writeln!(
            text,
            "{damaged} of {} files in {folder} are damaged; they are built again when they are needed, or at once by \
             uretinex engines build",
            entries.len()
        ),
    };
    crate::print(&text)?;
    Ok(if damaged == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn clear(cache: &EngineCache) -> Result<ExitCode, String> {
    let (files, bytes) = cache.clear().map_err(|e| e.to_string())?;
    let folder = cache.folder().display();
    crate::print(&format!("removed {files} files, {} from {folder}\n", mebibytes(bytes)))?;
    Ok(ExitCode::SUCCESS)
}

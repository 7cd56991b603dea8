//! `uretinex image`: one picture, or a folder of them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use uretinex::{Enhancer, Parameters};

use crate::options::{self, NetworkArgs};
use crate::picture::{Picture, format_of};

/// Brighten a picture, or every picture of a folder
///
/// Takes PNG and JPEG, grey or colour; alpha, the ICC profile and the camera's orientation are respected. A file
/// gives a file in the format of its name; a folder gives a folder of PNG files with the same stems. 16-bit PNG is
/// rounded to 8 bits.
#[derive(clap::Args)]
pub struct Args {
    /// A PNG or JPEG file, or a folder of them
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The file to write (.png, .jpg, .jpeg), or a folder, which is made if it is not there
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// How bright, 1 to 20: 1 leaves brightness alone; 0 takes what the picture bears
    #[arg(long, value_name = "R", default_value_t = 4.0, value_parser = options::ratio)]
    ratio: f32,
    /// What ratio 0 lifts the picture to, -1 to 1: darker below 0, brighter above
    #[arg(long, value_name = "B", default_value_t = 0.0, value_parser = options::brightness, allow_hyphen_values = true)]
    brightness: f32,
    /// How much of the result is blended over the input, 0 to 1
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = options::strength)]
    strength: f32,
    /// Model pack: `full`, `lite`, `video`, `auto` (`video`) or a pack's folder
    #[arg(long, value_name = "NAME|DIR", default_value = "full")]
    model: String,
    #[command(flatten)]
    network: NetworkArgs,
}

/// One picture to make.
struct Job {
    input: PathBuf,
    output: PathBuf,
}

pub fn run(args: &Args) -> Result<ExitCode, String> {
    let metadata = fs::metadata(&args.input).map_err(|e| format!("{}: {e}", args.input.display()))?;
    if metadata.is_dir() { folder(args) } else { file(args) }
}

fn file(args: &Args) -> Result<ExitCode, String> {
    let job = file_job(&args.input, &args.output)?;
    let mut network = Network::new(args)?;
    let spinner = ProgressBar::new_spinner().with_message(format!("{} {}", network.description(), job.input.display()));
    spinner.enable_steady_tick(Duration::from_millis(100));
    let made = network.make(&job);
    spinner.finish_and_clear();
    let made = made?;
    if let Some(note) = made.note {
        crate::tell(format_args!("note: {}: {note}", job.input.display()));
    }
    crate::print(&format!("{}: {}\n", job.output.display(), made.summary))?;
    Ok(ExitCode::SUCCESS)
}

fn file_job(input: &Path, output: &Path) -> Result<Job, String> {
    let output = match output.is_dir() {
        true => output
            .join(input.file_stem().unwrap_or_default())
            .with_added_extension("png"),
        false => output.to_path_buf(),
    };
    if format_of(&output).is_none() {
        return Err(format!(
            "{}: pictures are written as PNG or JPEG: end the name in .png, .jpg or .jpeg",
            output.display()
        ));
    }
    if same_place(input, &output) {
        return Err(format!(
            "{}: the result would overwrite the original: give another name",
            output.display()
        ));
    }
    Ok(Job {
        input: input.to_path_buf(),
        output,
    })
}

fn same_place(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn folder(args: &Args) -> Result<ExitCode, String> {
    let named = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    if args.output.exists() && !args.output.is_dir() {
        return Err(format!(
            "{} is a folder and {} is a file: give a folder to write to",
            args.input.display(),
            args.output.display()
        ));
    }
    if same_place(&args.input, &args.output) {
        return Err(format!(
            "{}: the results would overwrite the originals: give another folder",
            args.output.display()
        ));
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(&args.input).map_err(|e| named(&args.input, e))? {
        paths.push(entry.map_err(|e| named(&args.input, e))?.path());
    }
    paths.sort();
    let (pictures, others): (Vec<_>, Vec<_>) = paths.into_iter().partition(|p| p.is_file() && format_of(p).is_some());
    for path in &others {
        crate::tell(format_args!(
            "note: {} is skipped: neither a PNG nor a JPEG file by its name",
            path.display()
        ));
    }
    if pictures.is_empty() {
        return Err(format!("{} holds no PNG or JPEG file", args.input.display()));
    }
    let mut network = Network::new(args)?;
    fs::create_dir_all(&args.output).map_err(|e| named(&args.output, e))?;

    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg} {elapsed} (left {eta})");
    let bar =
        ProgressBar::new(pictures.len() as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut taken: HashMap<OsString, PathBuf> = HashMap::new();
    let mut failed = 0;
    for input in &pictures {
        bar.set_message(format!("{} {}", network.description(), input.display()));
        let stem = input.file_stem().unwrap_or_default().to_os_string();
        let made = match taken.get(&stem) {
            Some(first) => Err(format!(
                "{}: its result would overwrite that of {}: rename one of the two",
                input.display(),
                first.display()
            )),
            None => network.make(&Job {
                input: input.clone(),
                output: args.output.join(&stem).with_added_extension("png"),
            }),
        };
        taken.entry(stem).or_insert_with(|| input.clone());
        bar.suspend(|| match made {
            Ok(Made { note: Some(note), .. }) => crate::tell(format_args!("note: {}: {note}", input.display())),
            Ok(_) => {}
            Err(message) => {
                failed += 1;
                crate::tell(format_args!("error: {message}"));
            }
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    crate::print(&format!(
        "{}: {} written, {failed} failed, {} skipped\n",
        args.output.display(),
        pictures.len() - failed,
        others.len()
    ))?;
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is told of a picture that was made.
struct Made {
    summary: String,
    note: Option<&'static str>,
}

/// The network with what stays the same for every picture.
struct Network {
    enhancer: Enhancer,
    parameters: Parameters,
}

impl Network {
    fn new(args: &Args) -> Result<Self, String> {
        Ok(Self {
            enhancer: Enhancer::new(&args.network.options(&args.model)).map_err(|e| e.to_string())?,
            parameters: Parameters {
                ratio: args.ratio,
                strength: args.strength,
                brightness: args.brightness,
                temporal: 0.0,
            },
        })
    }

    fn description(&self) -> String {
        format!("{} on {}", self.enhancer.model().name, self.enhancer.backend_name())
    }

    fn make(&mut self, job: &Job) -> Result<Made, String> {
        let mut picture = Picture::read(&job.input)?;
        if picture.has_alpha() && format_of(&job.output) == Some(image::ImageFormat::Jpeg) {
            return Err(format!(
                "{} has an alpha channel, which JPEG cannot keep: give {} the ending .png",
                job.input.display(),
                job.output.display()
            ));
        }
        let (report, time) = picture
            .enhance(&mut self.enhancer, self.parameters)
            .map_err(|e| format!("{}: {e}", job.input.display()))?;
        picture.write(&job.output)?;
        let (width, height) = picture.size();
        Ok(Made {
            summary: format!(
                "{width}x{height}, {}, {:.0} ms, ratio {:.2}, mean luma {:.3} before, {:.3} after",
                self.description(),
                time.as_secs_f64() * 1e3,
                report.ratio,
                report.luma_in,
                report.luma_out
            ),
            note: picture.note,
        })
    }
}

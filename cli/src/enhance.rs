//! `uretinex image`: one picture, or a folder of them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use image::ImageFormat;
use indicatif::{ProgressBar, ProgressStyle};
use uretinex::{Enhancer, Parameters};

use crate::options::{self, NetworkArgs};
use crate::part;
use crate::picture::{Picture, format_of};
use crate::progress::Spinner;

/// Brighten a picture, or every picture of a folder
///
/// Takes PNG and JPEG, grey or colour; alpha, ICC profile and EXIF data are kept, and the camera's orientation is applied. A file
/// gives a file in the format of its name; a folder gives a folder of PNG files with the same stems. PNG of 16
/// bits stays so.
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
    match (metadata.is_dir(), metadata.is_file()) {
        (true, _) => folder(args),
        (_, true) => file(args),
        _ => Err(format!(
            "{} is a pipe, a socket or a device: save it as a PNG or JPEG file first",
            args.input.display()
        )),
    }
}

fn file(args: &Args) -> Result<ExitCode, String> {
    let job = file_job(&args.input, &args.output)?;
    let mut network = Network::new(args)?;
    let spinner = Spinner::new(format!("{} {}", network.description(), job.input.display()));
    let made = network.make(&job);
    drop(spinner);
    let made = made?;
    made.tell_notes(&job.input);
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
    let mut pictures = Vec::new();
    let mut skipped = 0;
    for path in paths {
        match no_picture(&path) {
            Some(why) => {
                crate::tell(format_args!("note: {} is skipped: {why}", path.display()));
                skipped += 1;
            }
            None => pictures.push(path),
        }
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
    let mut failed = Vec::new();
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
            Ok(made) => made.tell_notes(input),
            Err(message) => {
                failed.push(input.display().to_string());
                crate::tell(format_args!("error: {message}"));
            }
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    crate::print(&format!(
        "{}: {} written, {} failed, {skipped} skipped\n",
        args.output.display(),
        pictures.len() - failed.len(),
        failed.len(),
    ))?;
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    crate::tell(format_args!("failed: {}", failed.join(", ")));
    Ok(ExitCode::FAILURE)
}

/// Why a folder's entry is passed over, if it is.
fn no_picture(path: &Path) -> Option<&'static str> {
    if !path.is_file() {
        return Some("not a file");
    }
    if format_of(path).is_none() {
        return Some("neither a PNG nor a JPEG file by its name");
    }
    // Beside `a.png`, macOS keeps in `._a.png` what other file systems have no place for.
    let sidecar = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"._"));
    let mut magic = [0; APPLE_DOUBLE.len()];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    (sidecar && read.is_ok() && magic == APPLE_DOUBLE).then_some("macOS's data about another file")
}

/// How an AppleDouble file begins (RFC 1740, appendix B).
const APPLE_DOUBLE: [u8; 4] = [0, 5, 22, 7];

/// What is told of a picture that was made.
struct Made {
    summary: String,
    notes: Vec<&'static str>,
}

impl Made {
    fn tell_notes(&self, input: &Path) {
        for note in &self.notes {
            crate::tell(format_args!("note: {}: {note}", input.display()));
        }
    }
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
        let format = format_of(&job.output).unwrap_or(ImageFormat::Png);
        if picture.has_alpha() && format == ImageFormat::Jpeg {
            return Err(format!(
                "{} has an alpha channel, which JPEG cannot keep: give {} the ending .png",
                job.input.display(),
                job.output.display()
            ));
        }
        let (report, time) = picture
            .enhance(&mut self.enhancer, self.parameters)
            .map_err(|e| format!("{}: {e}", job.input.display()))?;
        let written = |e: &dyn std::fmt::Display| format!("{}: {e}", job.output.display());
        let bytes = picture.encode(format).map_err(|e| written(&e))?;
        part::write(&job.output, &bytes).map_err(|e| written(&e))?;
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
            notes: picture.notes,
        })
    }
}

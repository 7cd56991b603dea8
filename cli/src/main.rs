//! `uretinex`: URetinex-Net on picture files, its speed, and what this machine offers for it.
//!
//! Exit status: 0 all went well, 1 something failed, 2 the command line is wrong.

mod bench;
mod doctor;
mod documents;
mod engines;
mod enhance;
mod night;
mod options;
mod part;
mod picture;
mod progress;
mod ready;
mod selftest;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "uretinex",
    version,
    about = "Makes dark pictures bright and clean with URetinex-Net",
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Image(enhance::Args),
    Bench(bench::Args),
    Engines(engines::Args),
    Doctor(doctor::Args),
    #[command(hide = true)]
    Selftest(selftest::Args),
    #[command(hide = true)]
    Documents(documents::Args),
}

/// Messages of the library, on standard error.
struct Log;

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("uretinex")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            tell(format_args!(
                "{}: {}",
                record.level().as_str().to_lowercase(),
                record.args()
            ));
        }
    }

    fn flush(&self) {}
}

/// Writes a line to standard error. Where that is closed or full there is nobody to tell, which changes no result.
fn tell(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes a result to standard output. A reader that closes it early, as `head` does, is no error.
fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(format!("standard output: {e}")),
        _ => Ok(()),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if log::set_logger(&Log).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
    let outcome = match &cli.command {
        Command::Image(args) => enhance::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Engines(args) => engines::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Selftest(args) => selftest::run(args),
        Command::Documents(args) => documents::run(args, Cli::command()),
    };
    outcome.unwrap_or_else(|message| {
        tell(format_args!("error: {message}"));
        ExitCode::FAILURE
    })
}

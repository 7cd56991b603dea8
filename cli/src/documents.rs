//! `uretinex documents`: man pages and completions for shells, as packages install them.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

/// Write man pages (DIR/man) and completions for bash, fish and zsh (DIR/completions)
#[derive(clap::Args)]
pub struct Args {
    /// The folder to write to
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub fn run(args: &Args, command: Command) -> Result<ExitCode, String> {
    // `help image` says what `image --help` says: no pages of its own.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let (man, completions) = (args.folder.join("man"), args.folder.join("completions"));
    let failed = |e| format!("{}: {e}", args.folder.display());
    for folder in [&man, &completions] {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut command, "uretinex", &completions).map_err(failed)?;
    }
    clap_mangen::generate_to(command, &man).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

//! `cargo pmiscope`: builds a project's kernel by its own settings, and runs it.

mod build;
mod metadata;
mod settings;

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::exit::Exit;
use metadata::{Package, Project};
use settings::{Settings, merged};

const EXAMPLES: &str = "\
Examples:
  cargo pmiscope run                               the kernel of this folder's package
  cargo pmiscope run --release -- --smp 8          options of pmiscope run behind --
  cargo pmiscope run -p kernel -- --period 100 -o kernel.pmi

In Cargo.toml, all of it as needed:
  [package.metadata.pmiscope]
  cargo = [\"--release\", \"-Zbuild-std=core,alloc\"]    more of the command line of cargo build
  build = [\"make\", \"kernel\"]                         what builds, in place of cargo build
  kernel = \"build/kernel.elf\"                        what is run, if not what cargo has built
  run = [\"--smp\", \"4\", \"--period\", \"1000\"]           options of pmiscope run

In .cargo/config.toml, for cargo run:
  runner = \"cargo pmiscope runner\"";

/// Builds a project's kernel, and profiles it.
#[derive(Parser, Debug)]
#[command(
    name = "cargo pmiscope",
    bin_name = "cargo pmiscope",
    version,
    max_term_width = 100
)]
struct CargoCli {
    #[command(subcommand)]
    command: CargoCommand,
}

#[derive(Subcommand, Debug)]
enum CargoCommand {
    /// Build the kernel by the project's settings, and profile it by pmiscope run
    #[command(after_help = EXAMPLES)]
    Run(RunArgs),
    /// Profile a kernel that cargo run has built: for `runner` in .cargo/config.toml
    Runner(RunnerArgs),
}

/// What `cargo pmiscope run` takes.
#[derive(Args, Debug, Default)]
struct RunArgs {
    /// The package with the kernel [default: that of this folder, or the one that has settings]
    #[arg(short, long, value_name = "NAME")]
    package: Option<String>,

    /// The program that is the kernel, if the package has several
    #[arg(long, value_name = "NAME")]
    bin: Option<String>,

    /// Build by the profile `release`
    #[arg(short, long)]
    release: bool,

    /// Build by this profile
    #[arg(long, value_name = "NAME", conflicts_with = "release")]
    profile: Option<String>,

    /// Build for this target
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,

    /// Features to build with
    #[arg(short = 'F', long, value_name = "LIST")]
    features: Vec<String>,

    /// The Cargo.toml [default: of this folder, or one above]
    #[arg(long, value_name = "FILE")]
    manifest_path: Option<PathBuf>,

    /// Options of pmiscope run, behind `--`
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<OsString>,
}

/// What `cargo pmiscope runner` takes.
#[derive(Args, Debug)]
struct RunnerArgs {
    /// The kernel
    #[arg(value_name = "ELF")]
    kernel: PathBuf,

    /// Options of pmiscope run: what stands behind `--` of cargo run
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTIONS"
    )]
    options: Vec<OsString>,
}

/// Does what the command line asks for; returns only if something is wrong.
pub(crate) fn run() -> Result<Exit> {
    // Cargo says its own word for it first.
    let words = env::args_os().enumerate();
    let words = words.filter(|(place, word)| !(*place == 1 && word == "pmiscope"));
    let cli = match CargoCli::try_parse_from(words.map(|(_, word)| word)) {
        Ok(cli) => cli,
        Err(error) => {
            let is_wrong = error.use_stderr();
            if is_wrong {
                let command = CargoCli::command();
                let mistake = crate::cli::Mistake::new(&command, env::args_os());
                crate::output::say!("cargo pmiscope: {}", mistake.line(&error));
                return Ok(Exit::Usage);
            }
            error
                .print()
                .context("cannot write to the standard output")?;
            return Ok(Exit::Success);
        }
    };
    match cli.command {
        CargoCommand::Run(arguments) => build_and_run(&arguments),
        CargoCommand::Runner(arguments) => {
            let project = Project::find(None)?;
            let package = project.of_folder(&env::current_dir()?);
            let settings = package.map_or_else(|| Ok(Settings::default()), Package::settings)?;
            let kernel = arguments.kernel;
            start(&project, &kernel, merged(&settings.run, arguments.options))
        }
    }
}

fn build_and_run(arguments: &RunArgs) -> Result<Exit> {
    let project = Project::find(arguments.manifest_path.as_deref())?;
    let package = project.package(arguments.package.as_deref(), &env::current_dir()?)?;
    let settings = package.settings()?;
    let kernel = build::kernel(package, &settings, arguments)?;
    let options = merged(&settings.run, arguments.options.clone());
    start(&project, &kernel, options)
}

/// Becomes `pmiscope run`, with the profile in the project's build directory if nothing else is
/// said.
fn start(project: &Project, kernel: &Path, options: Vec<OsString>) -> Result<Exit> {
    let tool = tool()?;
    let mut command = Command::new(&tool);
    command.arg("run").arg("--kernel").arg(kernel);
    if !settings::has(&options, "--output", Some("-o")) {
        let name = kernel.file_stem().unwrap_or(kernel.as_os_str());
        let mut name = name.to_owned();
        name.push(".pmi");
        command
            .arg("--output")
            .arg(project.build_directory.join(name));
    }
    let error = command.args(options).exec();
    Err(error).with_context(|| format!("cannot start {}", tool.display()))
}

/// The tool: `PMISCOPE`, else the one beside this program, else the one in PATH.
fn tool() -> Result<PathBuf> {
    if let Some(named) = env::var_os("PMISCOPE") {
        return Ok(named.into());
    }
    let own = env::current_exe().context("cannot tell where this program is")?;
    let beside = own.with_file_name("pmiscope");
    Ok(if beside.is_file() {
        beside
    } else {
        "pmiscope".into()
    })
}

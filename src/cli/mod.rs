//! The command line: what was asked, and which part of the program does it.

mod cache;
mod check;
mod dial;
mod http;
mod join;
pub mod logging;
mod manifest;
mod setup;
mod span;
mod status;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use argh::FromArgs;

use crate::config::{self, Config};
use crate::error::Exit;

const USAGE: &str = "Usage: edge-hub run|join|check|status|cache|setup|manifest|version [--config FILE]; edge-hub --help tells more";

/// Keeps a Kubernetes node at the edge working while its API server is out of reach.
#[derive(FromArgs)]
struct Args {
    /// print the version
    #[argh(switch)]
    version: bool,
    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Run(Run),
    Join(join::Join),
    Check(Check),
    Status(Status),
    Cache(cache::Cache),
    Setup(setup::Setup),
    Manifest(manifest::Manifest),
    Version(Version),
}

/// Run the hub in the foreground until SIGTERM; SIGHUP rereads the configuration and certificates.
#[derive(FromArgs)]
#[argh(subcommand, name = "run")]
struct Run {
    /// the configuration (default /etc/edge-hub/config.json)
    #[argh(option, default = "default_path()")]
    config: PathBuf,
}

/// Try everything that `run` would need, and say what is wrong. Changes nothing.
#[derive(FromArgs)]
#[argh(subcommand, name = "check")]
struct Check {
    /// the configuration (default /etc/edge-hub/config.json)
    #[argh(option, default = "default_path()")]
    config: PathBuf,
}

/// Ask the running hub how it is.
#[derive(FromArgs)]
#[argh(subcommand, name = "status")]
struct Status {
    /// the configuration, which says where the hub is asked (default /etc/edge-hub/config.json)
    #[argh(option, default = "default_path()")]
    config: PathBuf,
    /// print what the hub answered, for programs
    #[argh(switch)]
    json: bool,
}

/// Print the version.
#[derive(FromArgs)]
#[argh(subcommand, name = "version")]
struct Version {}

fn default_path() -> PathBuf {
    PathBuf::from(config::DEFAULT_PATH)
}

/// Does what the arguments ask. They come without the program's own name.
pub fn main(args: Vec<OsString>) -> Exit {
    let args: Result<Vec<String>, OsString> = args.into_iter().map(OsString::into_string).collect();
    let Ok(args) = args else {
        complain("an argument is not UTF-8");
        return Exit::Usage;
    };
    // argh knows `--config FILE` only; everybody's fingers know `--config=FILE` too.
    let args: Vec<&str> = args.iter().flat_map(|arg| split(arg)).collect();
    match Args::from_args(&["edge-hub"], &args) {
        Ok(args) => obey(args),
        Err(end) if end.status.is_ok() => {
            say(end.output.trim_end());
            Exit::Ok
        }
        Err(end) => {
            complain(end.output.trim_end());
            complain(USAGE);
            Exit::Usage
        }
    }
}

fn split(arg: &str) -> Vec<&str> {
    match arg.split_once('=') {
        Some((name, value)) if name.starts_with("--") => vec![name, value],
        _ => vec![arg],
    }
}

fn obey(args: Args) -> Exit {
    match args.command {
        _ if args.version => version(),
        Some(Command::Version(_)) => version(),
        Some(Command::Run(run)) => serve(run.config),
        Some(Command::Join(_)) if !cfg!(feature = "join") => left_out("join"),
        Some(Command::Join(asked)) => join::join(asked),
        Some(Command::Check(_)) if !cfg!(feature = "check") => left_out("check"),
        Some(Command::Check(check)) => check::check(&check.config),
        Some(Command::Cache(_)) if !cfg!(feature = "cache-cli") => left_out("cache-cli"),
        Some(Command::Cache(asked)) => cache::cache(asked),
        Some(Command::Manifest(_)) if !cfg!(feature = "setup") => left_out("setup"),
        Some(Command::Setup(_)) if !cfg!(feature = "setup") => left_out("setup"),
        Some(Command::Setup(asked)) => setup::setup(&asked),
        Some(Command::Manifest(asked)) => manifest::manifest(&asked),
        Some(Command::Status(status)) => status::status(&status.config, status.json),
        None => {
            complain("No command was given.");
            complain(USAGE);
            Exit::Usage
        }
    }
}

/// The maker of this firmware did not want it.
fn left_out(feature: &str) -> Exit {
    complain(&format!(
        "this program was built without the feature `{feature}`, which has this command"
    ));
    Exit::Usage
}

fn version() -> Exit {
    say(concat!("edge-hub ", env!("CARGO_PKG_VERSION")));
    Exit::Ok
}

fn serve(path: PathBuf) -> Exit {
    let config = match load(&path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    logging::set(&config.log);
    match crate::hub::run(path, config) {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            // Not by way of the log filter: why a process ended is never noise.
            complain(&logging::one_line(&failure.text));
            failure.exit
        }
    }
}

fn load(path: &Path) -> Result<Config, Exit> {
    Config::load(path).map_err(|error| {
        error
            .lines()
            .iter()
            .for_each(|line| complain(&logging::one_line(line)));
        Exit::Config
    })
}

/// To stdout. A reader that has gone away (`| head`) is no reason to fail.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// To stderr.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

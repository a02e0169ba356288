//! `edge-hub cache`: what is kept, for the machine's owner, whether the hub runs or not.

mod export;
mod forget;
mod get;
mod hub;
mod ls;
mod ring;
mod select;
mod source;
mod stat;
mod text;
mod verify;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use argh::FromArgs;

use super::logging::one_line;
use super::{complain, default_path, load};
use crate::admin::index::{place, word};
use crate::error::{Exit, Failure};
use source::{Kept, Source};

/// Look at what is kept, take it out or drop it. Where a hub runs, it is asked; else its files are read.
#[derive(FromArgs)]
#[argh(subcommand, name = "cache")]
pub(super) struct Cache {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Verb {
    Ls(Ls),
    Get(Get),
    Verify(Verify),
    Stat(Stat),
    Drop(Forget),
    Export(Export),
}

/// List what is kept, a line for each collection.
#[derive(FromArgs)]
#[argh(subcommand, name = "ls")]
struct Ls {
    /// the configuration (default /etc/edge-hub/config.json)
    #[argh(option, default = "default_path()")]
    config: PathBuf,
    /// only what is kept for this program, such as kubelet
    #[argh(option)]
    agent: Option<String>,
    /// print a line of JSON for each, for programs
    #[argh(switch)]
    json: bool,
}

/// Print an object, or with a PATH what the API would answer there.
#[derive(FromArgs)]
#[argh(subcommand, name = "get")]
struct Get {
    /// the configuration (default /etc/edge-hub/config.json)
    #[argh(option, default = "default_path()")]
    config: PathBuf,
    /// show Secrets
    #[argh(switch)]
    secrets: bool,
    /// the bytes as they are kept, whatever they are
    #[argh(switch)]
    raw: bool,
    /// for which identity it is kept, as `ls` shows it
    #[argh(option)]
    who: Option<String>,
    /// the program for which it is kept, such as kubelet
    #[argh(positional)]
    agent: String,
    /// a resource, such as `pods` or `deployments.v1.apps`; or an API path
    #[argh(positional)]
    what: String,
    /// [NAMESPACE/]NAME; without a namespace one that has none, or one in `default`
    #[argh(positional)]
    name: Option<String>,
}

/// Read all that is kept, and say what cannot be read.
#[derive(FromArgs)]
#[argh(subcommand, name = "verify")]
struct Verify {
    /// the configuration (default /etc/edge-hub/config.json)
    #[argh(option, default = "default_path()")]
    config: PathBuf,
}

/// How full the store is, and how much it has written.
#[derive(FromArgs)]
#[argh(subcommand, name = "stat")]
struct Stat {
    /// the configuration (default /etc/edge-hub/config.json)
    #[argh(option, default = "default_path()")]
    config: PathBuf,
}

/// Forget what is kept for a program, all of it or one resource. Asks nothing.
#[derive(FromArgs)]
#[argh(subcommand, name = "drop")]
struct Forget {
    /// the configuration (default /etc/edge-hub/config.json)
    #[argh(option, default = "default_path()")]
    config: PathBuf,
    /// the program for which it is kept, such as kubelet
    #[argh(positional)]
    agent: String,
    /// a resource, such as `pods` or `deployments.v1.apps`; or an API path
    #[argh(positional)]
    what: Option<String>,
}

/// Write each object as a file of its own: DIR/AGENT/RESOURCE/NAMESPACE/NAME.json, or .yaml.
#[derive(FromArgs)]
#[argh(subcommand, name = "export")]
struct Export {
    /// the configuration (default /etc/edge-hub/config.json)
    #[argh(option, default = "default_path()")]
    config: PathBuf,
    /// only what is kept for this program, such as kubelet
    #[argh(option)]
    agent: Option<String>,
    /// write Secrets too
    #[argh(switch)]
    secrets: bool,
    /// write YAML, and what is kept as protobuf as text: its fields by their numbers
    #[argh(switch)]
    yaml: bool,
    /// a folder that is not there yet, or empty
    #[argh(positional)]
    dir: PathBuf,
}

/// Does what was asked.
pub(super) fn cache(asked: Cache) -> Exit {
    let path = match &asked.verb {
        Verb::Ls(ls) => &ls.config,
        Verb::Get(get) => &get.config,
        Verb::Verify(verify) => &verify.config,
        Verb::Stat(stat) => &stat.config,
        Verb::Drop(drop) => &drop.config,
        Verb::Export(export) => &export.config,
    };
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let mut out = BufWriter::new(io::stdout());
    let done = Source::open(&config).and_then(|mut source| {
        let exit = match &asked.verb {
            Verb::Ls(ls) => ls::ls(&mut source, ls, &mut out),
            Verb::Get(get) => get::get(&mut source, get, &mut out),
            Verb::Verify(_) => verify::verify(&mut source, &mut out),
            Verb::Stat(_) => stat::stat(&mut source, &mut out),
            Verb::Drop(asked) => forget::forget(&mut source, asked, &mut out),
            Verb::Export(export) => export::export(&mut source, export, &mut out),
        }?;
        out.flush().map_err(to_stdout)?;
        Ok(exit)
    });
    done.unwrap_or_else(|failure| {
        // What there was until then.
        let _ = out.flush();
        if failure.exit != Exit::Ok {
            tell(&failure.text);
        }
        failure.exit
    })
}

/// A line on stderr, whatever is in it.
fn tell(text: &str) {
    complain(&one_line(text));
}

fn failure(exit: Exit, text: impl Into<String>) -> Failure {
    Failure {
        exit,
        text: text.into(),
    }
}

fn to_stdout(error: io::Error) -> Failure {
    match error.kind() {
        // A reader that has gone away (`| head`) is no reason to fail.
        io::ErrorKind::BrokenPipe => failure(Exit::Ok, "The reader has gone away."),
        _ => Failure::failed(format!("stdout: {error}")),
    }
}

/// What `agent` has kept; nothing at all is worth a word.
fn kept_for(source: &mut Source, agent: Option<&str>) -> Result<Vec<Kept>, Failure> {
    let mut kept = source.kept()?;
    if let Some(agent) = agent {
        kept.retain(|kept| kept.key.agent == agent);
        if kept.is_empty() {
            return Err(failure(
                Exit::NotKept,
                format!("Nothing is kept for {agent}; `edge-hub cache ls` shows for whom."),
            ));
        }
    }
    Ok(kept)
}

/// `kubelet pods.v1 shop/- token:0a1b2c3d`: a collection in a sentence.
fn name_of(kept: &Kept) -> String {
    let (collection, within) = place(&kept.key.scope);
    format!(
        "{} {collection} {within} {}",
        word(&kept.key.agent),
        kept.key.who
    )
}

//! `edge-hub join`: makes this machine a node of a cluster, as `kubeadm join` does: finds the cluster's CA by a bootstrap
//! token, asks for the node's own certificate with it, and writes the pair, the CA and the configuration.
//!
//! Each step leaves behind what the next one needs, so that the same command goes on where one was interrupted.

mod configuration;
mod discovery;
mod request;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use argh::FromArgs;

use self::configuration::Wish;
use super::logging::one_line;
use super::{complain, default_path, say};
use crate::certs::bootstrap_token::BootstrapToken;
use crate::certs::cluster_info::Pin;
use crate::certs::csr::{Signer, Wanted};
use crate::certs::issued::Place;
use crate::certs::load::{Authorities, Pair};
use crate::certs::pem;
use crate::certs::renewal::{fits, renew_at};
use crate::certs::sans::Sans;
use crate::config::{self, Config, ServerUrl};
use crate::error::{Exit, Failure};
use crate::limits::{JOIN_WAIT_SECS_DEFAULT, JOIN_WAIT_SECS_MAX, TOKEN_FILE_BYTES_MAX};
use crate::sys::clock::{rfc3339, system_unix_secs};
use crate::sys::file::{read_bounded, write_whole};

/// Make this machine a node of a cluster: fetch its certificate with a bootstrap token, and write the configuration.
#[derive(FromArgs)]
#[argh(subcommand, name = "join")]
pub(super) struct Join {
    /// the API server, https://host:port
    #[argh(option)]
    server: String,
    /// the token (kubeadm token create); as long as this runs, everybody on the machine can see it
    #[argh(option)]
    token: Option<String>,
    /// a file with the token, - for standard input
    #[argh(option)]
    token_file: Option<PathBuf>,
    /// the hash of the cluster CA's key, sha256:HEX, as kubeadm prints it; only CAs with such a hash are trusted
    #[argh(option)]
    ca_hash: Vec<String>,
    /// the cluster's CA certificate, for clusters that do not show it by cluster-info
    #[argh(option)]
    ca_file: Option<PathBuf>,
    /// the node's name (default: the host name)
    #[argh(option)]
    node_name: Option<String>,
    /// the configuration to write (default /etc/edge-hub/config.json); the CA goes beside it, into ca.crt
    #[argh(option, default = "default_path()")]
    config: PathBuf,
    /// where the hub keeps its pair (default: what the configuration says, /var/lib/edge-hub)
    #[argh(option)]
    state_dir: Option<PathBuf>,
    /// seconds to wait until the certificate is approved (default 300)
    #[argh(option, default = "JOIN_WAIT_SECS_DEFAULT")]
    wait: u64,
    /// join anew, and change a configuration that is there
    #[argh(switch)]
    force: bool,
}

pub(super) fn join(asked: Join) -> Exit {
    match run(&asked) {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            failure
                .text
                .lines()
                .for_each(|line| complain(&one_line(line)));
            failure.exit
        }
    }
}

fn told(line: String) {
    say(&one_line(&line));
}

fn failed(exit: Exit, text: impl Into<String>) -> Failure {
    Failure {
        exit,
        text: text.into(),
    }
}

/// What the command line says, understood.
struct Means {
    server: ServerUrl,
    node_name: String,
    pins: Vec<Pin>,
}

fn run(asked: &Join) -> Result<(), Failure> {
    let means = means(asked)?;
    let mut file = configuration::read(&asked.config)?;
    let wish = Wish {
        server: &means.server,
        node_name: &means.node_name,
        state_dir: asked.state_dir.as_deref(),
    };
    let changed = file.change(&wish);
    if file.is_there && !changed.is_empty() && !asked.force {
        return Err(failed(
            Exit::Config,
            format!(
                "{} is there already, and would have to be changed ({}): move it away, or have it changed with --force",
                asked.config.display(),
                changed.join(", ")
            ),
        ));
    }
    let place = Place::new(&file.state_dir(&asked.config), Signer::Client);
    let sans = Sans::default();
    let wanted = Wanted {
        signer: Signer::Client,
        node_name: &means.node_name,
        sans: &sans,
    };
    let ca_path = folder(&asked.config).join(configuration::CA_FILE);
    let pair = match joined(asked, &place, &wanted, &ca_path)? {
        Some(pair) if changed.is_empty() => {
            told(format!(
                "This node has joined already: {}. Nothing was done.",
                about(&pair)
            ));
            return Ok(());
        }
        Some(pair) => {
            told(format!("goes on  {}", about(&pair)));
            pair
        }
        None => {
            let token = token(asked)?;
            let authorities = authorities(asked, &means, &token, &ca_path)?;
            let pair = request::fetch(&request::Terms {
                server: &means.server,
                authorities: &authorities,
                token: &token,
                place: &place,
                wanted: &wanted,
                wait_secs: asked.wait,
            })?;
            told(format!(
                "written  {}: {}",
                place.pair().display(),
                about(&pair)
            ));
            pair
        }
    };
    drop(pair);
    finish(asked, &file, &changed)
}

fn means(asked: &Join) -> Result<Means, Failure> {
    let usage = |text: String| failed(Exit::Usage, text);
    let server =
        ServerUrl::parse(&asked.server).map_err(|why| usage(format!("--server: {why}")))?;
    let pins = asked.ca_hash.iter().map(|text| {
        Pin::parse(text).ok_or_else(|| {
            usage("--ca-hash: sha256: and 64 hexadecimal digits, as kubeadm prints it".to_owned())
        })
    });
    let pins = pins.collect::<Result<_, _>>()?;
    if asked.wait > JOIN_WAIT_SECS_MAX {
        return Err(usage(format!("--wait: {JOIN_WAIT_SECS_MAX} at most")));
    }
    let node_name = asked.node_name.clone().or_else(config::host_name);
    let node_name = node_name.unwrap_or_default();
    if !config::is_node_name(&node_name) {
        return Err(usage(
            "--node-name: the name that the node shall have under `kubectl get nodes`: lower-case letters, digits, - and ."
                .to_owned(),
        ));
    }
    Ok(Means {
        server,
        node_name,
        pins,
    })
}

/// The token, from wherever it was to come. It is in no message.
fn token(asked: &Join) -> Result<BootstrapToken, Failure> {
    let usage = |text: String| failed(Exit::Usage, text);
    let (from, text) = match (&asked.token, &asked.token_file) {
        (Some(token), None) => ("--token", token.clone()),
        (None, Some(file)) => ("--token-file", token_of(file)?),
        _ => {
            return Err(usage(
                "a token is needed: --token-file FILE (- for standard input), or --token ID.SECRET"
                    .to_owned(),
            ));
        }
    };
    BootstrapToken::parse(text.trim()).map_err(|error| usage(format!("{from}: {error}")))
}

fn token_of(file: &Path) -> Result<String, Failure> {
    let bytes = match file == Path::new("-") {
        true => {
            let mut bytes = Vec::new();
            let most = TOKEN_FILE_BYTES_MAX as u64;
            let read = std::io::stdin().take(most).read_to_end(&mut bytes);
            read.map(|_| bytes).map_err(|error| error.to_string())
        }
        false => read_bounded(file, TOKEN_FILE_BYTES_MAX).map_err(|error| error.to_string()),
    };
    let bytes = bytes.map_err(|error| failed(Exit::Failed, format!("--token-file: {error}")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The pair of an earlier join that is still good, with the CA that it found. With `--force` there is none.
fn joined(
    asked: &Join,
    place: &Place,
    wanted: &Wanted<'_>,
    ca_path: &Path,
) -> Result<Option<Pair>, Failure> {
    if asked.force {
        return Ok(None);
    }
    let pair = match place.load() {
        Ok(None) => return Ok(None),
        Ok(Some(pair)) => pair,
        Err(error) => {
            let text = format!("{error}; --force puts a new one in its place");
            return Err(failed(Exit::Config, text));
        }
    };
    if !fits(&pair, wanted) {
        return Err(failed(
            Exit::Config,
            format!(
                "{} is the pair of {}: --force puts another in its place",
                place.pair().display(),
                pair.subject()
            ),
        ));
    }
    let is_over = pair.not_after_unix_secs() < system_unix_secs();
    Ok((!is_over && Authorities::load(ca_path).is_ok()).then_some(pair))
}

/// The CAs of the cluster, which then lie beside the configuration.
fn authorities(
    asked: &Join,
    means: &Means,
    token: &BootstrapToken,
    path: &Path,
) -> Result<Authorities, Failure> {
    let found = match &asked.ca_file {
        Some(file) => {
            Authorities::read(file).map_err(|e| failed(Exit::Failed, format!("--ca-file: {e}")))?
        }
        None => discovery::discover(&means.server, token)?,
    };
    let trusted = discovery::pinned(found, &means.pins)?;
    let authorities = Authorities::new(trusted.clone(), path)
        .map_err(|error| failed(Exit::Refused, error.to_string()))?;
    if asked.ca_file.is_none() {
        discovery::confirm(&means.server, token, &authorities)?;
    }
    if matches!(Authorities::read(path), Ok(there) if there == trusted) {
        return Ok(authorities);
    }
    if fs::symlink_metadata(path).is_ok() && !asked.force {
        return Err(failed(
            Exit::Config,
            format!(
                "{} holds another CA than this cluster's: move it away, or --force",
                path.display()
            ),
        ));
    }
    let texts: Vec<String> = trusted
        .iter()
        .map(|certificate| pem::encode("CERTIFICATE", certificate))
        .collect();
    fs::create_dir_all(folder(&asked.config)).map_err(|e| {
        failed(
            Exit::Failed,
            format!("{}: {e}", folder(&asked.config).display()),
        )
    })?;
    write_whole(path, texts.concat().as_bytes(), 0o644)
        .map_err(|error| failed(Exit::Failed, error.to_string()))?;
    told(format!("written  {}", path.display()));
    Ok(authorities)
}

/// Writes the configuration, if it is not as it shall be, and reads it as the hub would.
fn finish(
    asked: &Join,
    file: &configuration::Configuration,
    changed: &[&str],
) -> Result<(), Failure> {
    let path = &asked.config;
    if !changed.is_empty() {
        if file.is_there {
            let old = path.with_extension("json.old");
            fs::copy(path, &old)
                .map_err(|e| failed(Exit::Failed, format!("{}: {e}", old.display())))?;
            told(format!("written  {}: what was there before", old.display()));
        }
        let text = file.text();
        write_whole(path, text.as_bytes(), 0o644)
            .map_err(|error| failed(Exit::Failed, error.to_string()))?;
        told(format!("written  {}:", path.display()));
        text.lines().for_each(|line| told(line.to_owned()));
    }
    if let Err(error) = Config::load(path) {
        let lines = error.lines().join("\n");
        return Err(failed(
            Exit::Config,
            format!("{lines}\nThe node has joined, and no hub starts with this configuration."),
        ));
    }
    say("The node has joined. Next: edge-hub check, then edge-hub run.");
    Ok(())
}

fn about(pair: &Pair) -> String {
    format!(
        "{}, valid until {}, renewed by the hub from {} on",
        pair.subject(),
        rfc3339(pair.not_after_unix_secs()),
        rfc3339(renew_at(pair))
    )
}

fn folder(config: &Path) -> &Path {
    match config.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

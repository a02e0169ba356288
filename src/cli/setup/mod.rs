//! `edge-hub setup kubelet`: the two edits that make a node's kubelet ask the hub, shown or made: the hub's configuration
//! knows the kubelet's certificate, and the kubelet's kubeconfig names the hub. The second waits for a hub that runs: a
//! kubelet without one is cut off.

mod kubeconfig;

use self::kubeconfig::Kubeconfig;
use super::logging::one_line;
use super::{complain, default_path, say, status};
use crate::config::{self, ClientFrom, Config, ServerUrl, ServingFrom};
use crate::error::{Exit, Failure};
use crate::limits::{CONFIG_BYTES_MAX, KUBECONFIG_BYTES_MAX};
use crate::object::base64;
use crate::sys::file::{read_bounded, write_whole};
use argh::FromArgs;
use serde_json::{Map, Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Show what makes this node's kubelet ask the hub, or do it.
#[derive(FromArgs)]
#[argh(subcommand, name = "setup")]
pub(super) struct Setup {
    /// kubelet
    #[argh(positional)]
    what: String,
    /// the kubelet's kubeconfig (default: where kubeadm, k3s or a plain kubelet has it)
    #[argh(option)]
    kubeconfig: Option<PathBuf>,
    /// the hub's configuration (default /etc/edge-hub/config.json)
    #[argh(option, default = "default_path()")]
    config: PathBuf,
    /// make the changes; what was there before is kept beside it
    #[argh(switch)]
    write: bool,
    /// put back the kubeconfig that was there before
    #[argh(switch)]
    undo: bool,
}

/// Where kubeconfigs of kubelets are: kubeadm's, a plain kubelet's, k3s'.
const PLACES: [&str; 3] = [
    "/etc/kubernetes/kubelet.conf",
    "/var/lib/kubelet/kubeconfig",
    K3S,
];
/// k3s makes it anew at each start.
const K3S: &str = "/var/lib/rancher/k3s/agent/kubelet.kubeconfig";
/// Of a line that goes: it may hold a whole CA.
const LINE_SHOWN_CHARS: usize = 100;
/// Behind the name of the kubeconfig that was there before.
const BEFORE: &str = ".before-edge-hub";

pub(super) fn setup(asked: &Setup) -> Exit {
    match run(asked) {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            let lines = failure.text.lines();
            lines.for_each(|line| complain(&one_line(line)));
            failure.exit
        }
    }
}

fn failed(exit: Exit, text: impl Into<String>) -> Failure {
    let text = text.into();
    Failure { exit, text }
}

fn told(line: &str) {
    say(&one_line(line));
}

fn run(asked: &Setup) -> Result<(), Failure> {
    if asked.what != "kubelet" || asked.write && asked.undo {
        let text =
            "Usage: edge-hub setup kubelet [--kubeconfig FILE] [--config FILE] [--write | --undo]";
        return Err(failed(Exit::Usage, text));
    }
    let path = match &asked.kubeconfig {
        Some(path) => path.clone(),
        None => find().ok_or_else(|| {
            let text = format!(
                "No kubeconfig of a kubelet at {}; name it with --kubeconfig.",
                PLACES.join(", ")
            );
            failed(Exit::Failed, text)
        })?,
    };
    let place = Place::of(&path, &asked.config);
    if asked.undo {
        return undo(&place);
    }
    let text = text_of(&path)?;
    let kubelet = kubeconfig::read(&text)
        .map_err(|why| failed(Exit::Failed, format!("{}: {why}", path.display())))?;
    let known = hub(asked, &kubelet)?;
    let config = match known {
        Known::Config(config) => *config,
        // The next edit needs what the hub makes at its start.
        Known::Changed if asked.write => {
            told("Next: edge-hub check, start the hub or send it SIGHUP, then this command again.");
            return Ok(());
        }
        Known::Changed => {
            told(
                "Nothing is changed yet: --write does it. Then the hub is started, and the same command changes the",
            );
            told("kubelet's kubeconfig.");
            return Ok(());
        }
    };
    point(asked, &place, &text, &kubelet, &config)
}

fn find() -> Option<PathBuf> {
    let all = PLACES.iter().map(PathBuf::from);
    // Where k3s runs, the others are leftovers.
    all.rev().find(|path| path.exists())
}

/// Where the kubeconfig is read and where it is written.
struct Place {
    from: PathBuf,
    to: PathBuf,
}

impl Place {
    fn of(path: &Path, config: &Path) -> Place {
        let is_k3s = path.ends_with(K3S.trim_start_matches('/'));
        // A link stays one.
        let from = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let to = match is_k3s {
            true => config.with_file_name("kubelet.conf"),
            false => from.clone(),
        };
        Place { from, to }
    }

    fn is_elsewhere(&self) -> bool {
        self.from != self.to
    }

    fn before(&self) -> PathBuf {
        let mut name = self.to.clone().into_os_string();
        name.push(BEFORE);
        PathBuf::from(name)
    }
}

fn text_of(path: &Path) -> Result<String, Failure> {
    let error = |why: String| failed(Exit::Failed, why);
    let bytes = read_bounded(path, KUBECONFIG_BYTES_MAX).map_err(|e| error(e.to_string()))?;
    String::from_utf8(bytes).map_err(|_| error(format!("{}: it is not text", path.display())))
}

enum Known {
    /// The hub's configuration knows the kubelet.
    Config(Box<Config>),
    /// It had to be changed first, or has to be.
    Changed,
}

/// The hub's configuration: knows the kubelet's certificate, or is made to.
fn hub(asked: &Setup, kubelet: &Kubeconfig) -> Result<Known, Failure> {
    let path = &asked.config;
    let before = match read_bounded(path, CONFIG_BYTES_MAX) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.is_missing() => None,
        Err(error) => return Err(failed(Exit::Failed, error.to_string())),
    };
    let mut keys = Map::new();
    if before.is_some() {
        let config = Config::load(path).map_err(|e| failed(Exit::Config, e.lines().join("\n")))?;
        if knows(&config, kubelet) {
            return Ok(Known::Config(Box::new(config)));
        }
        let read = serde_json::from_slice(before.as_deref().unwrap_or_default());
        keys = read.unwrap_or_default();
    } else {
        let server = ServerUrl::parse(&kubelet.server).map_err(|why| {
            let text = format!(
                "{}: {why}; write {} by hand",
                kubelet.server,
                path.display()
            );
            failed(Exit::Config, text)
        })?;
        keys.insert("servers".to_owned(), json!([server.to_string()]));
    }
    let (Some(cert), Some(key)) = (&kubelet.certificate, &kubelet.key) else {
        let text = "The kubelet's kubeconfig names no files of a certificate and a key (client-certificate, client-key): \
                    the hub has nothing to go up with for it. See `edge-hub join`.";
        return Err(failed(Exit::Config, text));
    };
    let mut authority = None;
    let ca_file = keys
        .get("ca_file")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let ca_file = ca_file.or_else(|| kubelet.authority.clone());
    let ca_file = match (ca_file, &kubelet.authority_data) {
        (Some(file), _) => file,
        (None, Some(data)) => {
            let pem = base64::read(data.as_bytes()).map_err(|_| {
                failed(
                    Exit::Config,
                    "certificate-authority-data in the kubeconfig is not base64",
                )
            })?;
            authority = Some((path.with_file_name("ca.crt"), pem));
            "ca.crt".to_owned()
        }
        (None, None) => config::File::default().ca_file,
    };
    keys.insert("ca_file".to_owned(), json!(ca_file));
    let client_ca = keys.entry("client_ca_file").or_insert(Value::Null);
    if client_ca.is_null() {
        *client_ca = json!(ca_file);
    }
    let entry = json!({ "cn": "system:node:*", "o": "system:nodes", "cert": cert, "key": key });
    let identities = keys.entry("identities").or_insert_with(|| json!([]));
    if let Some(list) = identities.as_array_mut() {
        list.push(entry);
    }
    let text = format!("{:#}\n", Value::Object(keys));
    told(&format!("{}: knows the kubelet by", path.display()));
    text.lines().for_each(|line| told(&format!("+ {line}")));
    if asked.write {
        write_hub(path, before.is_some(), &text, authority)?;
    }
    Ok(Known::Changed)
}

/// Whether who comes with the kubelet's certificate is let in.
fn knows(config: &Config, kubelet: &Kubeconfig) -> bool {
    let node = format!("system:node:{}", config.node_name);
    let is_it = |cn: &str| cn == node || cn == "system:node:*";
    // Where it asks the plain port, or with a token, its certificate does not matter.
    kubelet.server.starts_with("http://")
        || kubelet.certificate.is_none()
        || config.client_from == ClientFrom::Joined
        || config.identities.iter().any(|identity| is_it(&identity.cn))
}

fn write_hub(
    path: &Path,
    is_there: bool,
    text: &str,
    authority: Option<(PathBuf, Vec<u8>)>,
) -> Result<(), Failure> {
    let error = |why: &dyn std::fmt::Display| failed(Exit::Failed, why.to_string());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .map_err(|e| error(&format_args!("{}: {e}", folder.display())))?;
    }
    if is_there {
        let old = path.with_extension("json.old");
        fs::copy(path, &old).map_err(|e| error(&format_args!("{}: {e}", old.display())))?;
        told(&format!(
            "written  {}: what was there before",
            old.display()
        ));
    }
    if let Some((file, pem)) = authority {
        write_whole(&file, &pem, 0o644).map_err(|e| error(&e))?;
        told(&format!("written  {}", file.display()));
    }
    write_whole(path, text.as_bytes(), 0o644).map_err(|e| error(&e))?;
    told(&format!("written  {}", path.display()));
    Ok(())
}

/// The kubelet's kubeconfig: names the hub, or is made to.
fn point(
    asked: &Setup,
    place: &Place,
    text: &str,
    kubelet: &Kubeconfig,
    config: &Config,
) -> Result<(), Failure> {
    let to = place.to.display();
    if let Some(local) = config.local_listen
        && kubelet.server.trim_end_matches('/') == format!("http://{local}")
    {
        told(&format!(
            "{to}: asks the hub already, at its plain port {local}. Nothing to do."
        ));
        return Ok(());
    }
    let loopback = config.listen.iter().find(|at| at.ip().is_loopback());
    let Some(at) = loopback.or(config.listen.first()) else {
        return Err(failed(Exit::Config, "`listen` is empty"));
    };
    let server = format!("https://{at}");
    let own_ca = config.state_dir.join(crate::certs::hub_ca::CA_CERTIFICATE);
    // Who signs otherwise is the cluster's CA, or one that somebody has chosen for all clients.
    let is_own = config.serving.is_none() && config.serving_from == ServingFrom::HubCa;
    if kubelet.server.trim_end_matches('/') == server && (!is_own || trusts(kubelet, &own_ca)) {
        told(&format!("{to}: asks the hub already. Nothing to do."));
        return Ok(());
    }
    let own_ca_text = own_ca.to_string_lossy();
    let changes = kubeconfig::changes(text, &server, is_own.then_some(&*own_ca_text));
    told(&format!("{to}: asks the hub"));
    for change in &changes {
        let shown: String = change.old.chars().take(LINE_SHOWN_CHARS).collect();
        told(&format!("- {shown}"));
        (change.new.iter()).for_each(|line| told(&format!("+ {line}")));
    }
    if !asked.write {
        told("Nothing is changed yet: --write does it.");
        return Ok(());
    }
    if let Err(why) = status::fetch(config.admin_listen) {
        let text = format!(
            "No hub runs here ({}: {why}): the kubelet would be cut off. Start it first.",
            config.admin_listen
        );
        return Err(failed(Exit::NotRunning, text));
    }
    if is_own && !own_ca.exists() {
        let text = format!(
            "{}: there is no such file; the hub makes it at its first start.",
            own_ca.display()
        );
        return Err(failed(Exit::NotRunning, text));
    }
    write_kubeconfig(place, text, &kubeconfig::changed(text, &changes))?;
    if place.is_elsewhere() {
        told(
            "k3s makes its own anew at each start: put this into /etc/rancher/k3s/config.yaml, then restart k3s:",
        );
        told(&format!("kubelet-arg: [\"kubeconfig={to}\"]"));
    } else {
        told("Next: restart the kubelet. --undo puts back what was there.");
    }
    Ok(())
}

/// Whether the kubelet trusts this CA, be it among others.
fn trusts(kubelet: &Kubeconfig, ca: &Path) -> bool {
    let read = |file: &Path| read_bounded(file, KUBECONFIG_BYTES_MAX).ok();
    let trusted = match (&kubelet.authority, &kubelet.authority_data) {
        (Some(file), _) => read(Path::new(file)),
        (None, Some(data)) => base64::read(data.as_bytes()).ok(),
        (None, None) => None,
    };
    let (Some(trusted), Some(ca)) = (trusted, read(ca)) else {
        return false;
    };
    let ca = ca.trim_ascii();
    !ca.is_empty() && trusted.windows(ca.len()).any(|part| part == ca)
}

fn write_kubeconfig(place: &Place, old: &str, new: &str) -> Result<(), Failure> {
    let error = |e: &dyn std::fmt::Display| failed(Exit::Failed, e.to_string());
    let mode = fs::metadata(&place.from).map(|meta| meta.permissions().mode() & 0o777);
    let mode = mode.unwrap_or(0o600);
    if !place.is_elsewhere() {
        let before = place.before();
        write_whole(&before, old.as_bytes(), mode).map_err(|e| error(&e))?;
        told(&format!(
            "written  {}: what was there before",
            before.display()
        ));
    }
    write_whole(&place.to, new.as_bytes(), mode).map_err(|e| error(&e))?;
    told(&format!("written  {}", place.to.display()));
    Ok(())
}

fn undo(place: &Place) -> Result<(), Failure> {
    let (to, before) = (&place.to, place.before());
    if !place.is_elsewhere()
        && before.exists()
        && to.exists()
        && !kubeconfig::is_changed_by_setup(&text_of(&before)?, &text_of(to)?)
    {
        let text = format!(
            "{}: it is no longer what --write has made of {}, and stays; put that back by hand, or remove it",
            to.display(),
            before.display()
        );
        return Err(failed(Exit::Failed, text));
    }
    let done = match place.is_elsewhere() {
        true => fs::remove_file(to),
        false => fs::rename(&before, to),
    };
    let named = if place.is_elsewhere() { to } else { &before };
    done.map_err(|e| {
        failed(
            Exit::Failed,
            format!("{}: {e}; there is nothing to put back", named.display()),
        )
    })?;
    match place.is_elsewhere() {
        true => told(&format!(
            "removed  {}: take kubelet-arg out of the configuration of k3s, then restart it.",
            to.display()
        )),
        false => told(&format!(
            "written  {}: what was there before. Next: restart the kubelet.",
            to.display()
        )),
    }
    Ok(())
}

//! `cargo demo`: an outage, told in the terminal. Needs no cluster, no root and no fixed port.

mod body;
mod client;
mod cloud;
mod hub;
mod link;
mod stage;
mod story;
mod tell;
mod tls;

use std::path::PathBuf;
use std::process::ExitCode;

use argh::FromArgs;
use edge_hub::config::ServerUrl;
use tokio::task::LocalSet;

/// Tells an outage in the terminal: the hub, a client of it, and a link to the API server that is cut and comes back.
/// Without options the API server is a small one of the demo's own. With --server it is yours; nothing there is
/// changed: the client lists, gets and watches, and its one write is a dry run (?dryRun=All).
#[derive(FromArgs)]
struct Args {
    /// your own API server, https://host:port; needs --ca and --token
    #[argh(option, from_str_fn(server_url))]
    server: Option<ServerUrl>,
    /// file with the CA that signed your server's certificate (PEM)
    #[argh(option)]
    ca: Option<PathBuf>,
    /// file with a bearer token that may list and watch --path
    #[argh(option)]
    token: Option<PathBuf>,
    /// the collection that the client lists and watches in your cluster (default /api/v1/namespaces)
    #[argh(option, default = "String::from(\"/api/v1/namespaces\")")]
    path: String,
}

fn server_url(text: &str) -> Result<ServerUrl, String> {
    ServerUrl::parse(text).map_err(str::to_owned)
}

/// The user's cluster and who the client is there.
pub struct Own {
    pub server: ServerUrl,
    pub ca: PathBuf,
    pub token: String,
    pub path: String,
}

fn main() -> ExitCode {
    if let Some(end) = hub::run_if_told() {
        return end;
    }
    let own = match own(argh::from_env()) {
        Ok(own) => own,
        Err(why) => {
            eprintln!("demo: {why}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let told = match runtime {
        Ok(runtime) => LocalSet::new().block_on(&runtime, stage::play(own)),
        Err(error) => Err(error.to_string()),
    };
    match told {
        Ok(end) => end,
        Err(why) => {
            eprintln!("demo: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The options that belong together.
fn own(args: Args) -> Result<Option<Own>, String> {
    match (args.server, args.ca, args.token) {
        (None, None, None) => Ok(None),
        (Some(server), Some(ca), Some(file)) => {
            let token = std::fs::read_to_string(&file)
                .map_err(|error| format!("{}: {error}", file.display()))?;
            let token = token.trim().to_string();
            if token.is_empty() || token.contains(|c: char| !c.is_ascii_graphic()) {
                return Err(format!("{} holds no token", file.display()));
            }
            if !args.path.starts_with("/api") || args.path.contains(['?', ' ']) {
                return Err("--path is like /api/v1/namespaces/default/pods".to_string());
            }
            let path = args.path.trim_end_matches('/').to_string();
            Ok(Some(Own {
                server,
                ca,
                token,
                path,
            }))
        }
        _ => Err("--server, --ca and --token belong together; --help tells more".to_string()),
    }
}

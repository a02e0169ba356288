//! Sets up what the story needs: an API server, the link, the hub, and what the client asks for.

use std::process::ExitCode;
use std::time::Instant;

use edge_hub::config::ServerUrl;
use serde_json::{Value, json};

use crate::client::{AGENT, Answer, Client};
use crate::cloud::{Cloud, TOKEN};
use crate::hub::{Dir, Hub};
use crate::link::{Far, Link};
use crate::story::{Scene, Story};
use crate::tell::Teller;
use crate::{Own, tls};

const PODS: &str = "/api/v1/namespaces/shop/pods";
const CONFIG_MAPS: &str = "/api/v1/namespaces/shop/configmaps";
const DRY_RUN: &str = "/api/v1/namespaces/default/configmaps?dryRun=All";

/// Plays it all.
pub async fn play(own: Option<Own>) -> Result<ExitCode, String> {
    let began = Instant::now();
    match own {
        None => demo(began).await,
        Some(own) => yours(&own, began).await,
    }
}

/// With an API server of the demo's own.
async fn demo(began: Instant) -> Result<ExitCode, String> {
    let dir = Dir::new()?;
    let serving = tls::serving(&dir.path().join("cloud"))?;
    let cloud = Cloud::start(&serving).await?;
    for name in ["printer", "till-1", "till-2"] {
        cloud.put(PODS, pod(name, "Running"));
    }
    let link = Link::open(Far::Near(cloud.address)).await?;
    let hub = Hub::start(&dir, link.address(), &serving.ca).await?;
    let teller = Teller::default();
    let server = format!("https://{}", cloud.address);
    introduce(
        &teller,
        "cloud   a small API server of the demo",
        &server,
        &link,
        &hub,
    );
    let scene = Scene {
        list: PODS.to_string(),
        write: CONFIG_MAPS.to_string(),
        write_name: "sales".to_string(),
        cloud: Some(cloud),
        may_write: true,
    };
    tell(hub, link, TOKEN, scene, teller, began).await
}

/// With the user's API server.
async fn yours(own: &Own, began: Instant) -> Result<ExitCode, String> {
    let direct = Client::connect(&own.server, &own.ca, &own.token)
        .await
        .map_err(|error| format!("{}: {error}", own.server))?;
    permitted(own, &direct.get(&own.path).await?)?;
    let tried = direct.create(DRY_RUN, &config_map("edge-hub-demo")).await?;
    let dir = Dir::new()?;
    let serving = tls::serving(&dir.path().join("relay"))?;
    let far = Far::Own {
        server: own.server.clone(),
        ca: own.ca.clone(),
        serving: serving.config,
    };
    let link = Link::open(far).await?;
    let hub = Hub::start(&dir, link.address(), &serving.ca).await?;
    let teller = Teller::default();
    introduce(
        &teller,
        "cloud   your API server",
        &own.server.to_string(),
        &link,
        &hub,
    );
    if tried.status != 201 {
        teller.line(&format!(
            "\n  note    This token may not create a ConfigMap in `default`, not even as a dry run ({}).",
            tried.status
        ));
        teller.line("          That is no fault: the same answer must come through the hub.");
    }
    let scene = Scene {
        list: own.path.clone(),
        write: DRY_RUN.to_string(),
        write_name: "edge-hub-demo".to_string(),
        cloud: None,
        may_write: tried.status == 201,
    };
    tell(hub, link, &own.token, scene, teller, began).await
}

/// Whether the client of the story can do its part.
fn permitted(own: &Own, answer: &Answer) -> Result<(), String> {
    let message = answer.json["message"].as_str().unwrap_or_default();
    match answer.status {
        200 if answer.json["items"].is_array() => Ok(()),
        200 => Err(format!("--path {} is no collection", own.path)),
        401 => Err(format!(
            "{} does not know this token: {message}",
            own.server
        )),
        403 => Err(format!(
            "{message}\ndemo: name a collection that the token may list and watch, such as --path \
             /api/v1/namespaces/default/pods"
        )),
        status => Err(format!("GET {}: {status} {message}", own.path)),
    }
}

async fn tell(
    hub: Hub,
    link: Link,
    token: &str,
    scene: Scene,
    teller: Teller,
    began: Instant,
) -> Result<ExitCode, String> {
    let address = hub.address;
    let url = ServerUrl::parse(&format!("https://{address}"))?;
    let client = Client::connect(&url, &hub.ca(), token).await?;
    let mut story = Story::new(scene, link, hub, client, teller);
    let told = story.tell().await;
    let took = began.elapsed();
    if let Err(why) = told {
        story
            .teller
            .must(false, &format!("the story cannot go on: {why}"));
    }
    if !story.teller.all_as_told() {
        let lines = story.hub.last_lines();
        story
            .teller
            .line(&format!("\nThe hub's last lines:\n{lines}"));
    }
    story.teller.sum(took);
    Ok(match story.teller.all_as_told() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn introduce(teller: &Teller, who: &str, server: &str, link: &Link, hub: &Hub) {
    let line = |who: &str, at: &str| teller.line(&format!("  {who:55} {at}"));
    teller.line("An outage, as a program on the node sees it\n");
    line(who, server);
    let relay = format!("https://{}", link.address());
    line("link    a relay between the two, which can be cut", &relay);
    let ready = hub.start.as_millis();
    let who = format!(
        "hub     edge-hub, process {}, serves after {ready} ms",
        hub.pid()
    );
    line(&who, &format!("https://{}", hub.address));
    line(
        "client  knows the hub only; a bearer token, User-Agent",
        AGENT,
    );
    teller.line(
        "\n  from    cloud: the API server. cache: what the hub had kept, with the age that its header\n          \
         edge-hub-cache tells. hub: words of its own. ms counts from the request or the cause.",
    );
}

pub fn pod(name: &str, phase: &str) -> Value {
    json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": { "name": name, "namespace": "shop", "uid": format!("uid-of-{name}") },
        "spec": { "containers": [{ "name": "app", "image": "shop/app:1" }] },
        "status": { "phase": phase },
    })
}

pub fn config_map(name: &str) -> Value {
    json!({
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": { "name": name },
        "data": { "sold": "42" },
    })
}

//! A kube-rs watcher of the ConfigMaps of one namespace that prints what it sees, one JSON object a line:
//! `{"e":"init"}`, `{"e":"init-apply","name":..}`, `{"e":"init-done"}`, `{"e":"apply","name":..,"rv":..}`,
//! `{"e":"delete",..}` and `{"e":"error","text":..}`.
//!
//! usage: kube-rs-watcher KUBECONFIG|in-cluster NAMESPACE streaming|paged
//! `in-cluster`: as a pod, by what the kubelet gives it.

use std::error::Error;
use std::path::Path;

use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [file, namespace, how] = words.as_slice() else {
        return Err(
            "usage: kube-rs-watcher KUBECONFIG|in-cluster NAMESPACE streaming|paged".into(),
        );
    };
    let config = if file == "in-cluster" {
        Config::incluster()?
    } else {
        let kubeconfig = Kubeconfig::read_from(Path::new(file))?;
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
    };
    let maps: Api<ConfigMap> = Api::namespaced(Client::try_from(config)?, namespace);
    let settings = match how.as_str() {
        "streaming" => watcher::Config::default().streaming_lists(),
        _ => watcher::Config::default(),
    };
    let events = watcher::watcher(maps, settings).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        println!("{}", line(event));
    }
    Ok(())
}

fn line(event: watcher::Result<Event<ConfigMap>>) -> Value {
    match event {
        Ok(Event::Init) => json!({ "e": "init" }),
        Ok(Event::InitApply(map)) => object("init-apply", &map),
        Ok(Event::InitDone) => json!({ "e": "init-done" }),
        Ok(Event::Apply(map)) => object("apply", &map),
        Ok(Event::Delete(map)) => object("delete", &map),
        Err(error) => json!({ "e": "error", "text": error.to_string() }),
    }
}

fn object(kind: &str, map: &ConfigMap) -> Value {
    json!({ "e": kind, "name": map.name_any(), "rv": map.resource_version() })
}

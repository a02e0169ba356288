//! Follows the ConfigMaps that configure hubs while they run, and says on the Node what is wrong with them.

use super::own::{Collection, Seen, follow};
use super::renewal::exchange;
use super::{Shared, agents};
use crate::cache::own::Own;
use crate::config::live::{Live, Source};
use crate::limits::{LIVE_EVENT_EVERY, LIVE_EVENT_MESSAGE_BYTES_MAX};
use crate::object::json::put_string;
use crate::sys::clock::rfc3339;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::sync::Notify;
use tokio::time::sleep;

/// What is gone by of the ConfigMaps.
#[derive(Default)]
pub struct LiveConfig {
    now: RefCell<Live>,
    /// The API server has told of one of them, in this run.
    is_heard: Cell<bool>,
    /// Other values are wrong than before.
    complains: Notify,
}

impl LiveConfig {
    /// As it stands.
    pub fn now(&self) -> Live {
        self.now.borrow().clone()
    }

    /// What somebody should do something about.
    pub fn warnings(&self) -> Vec<String> {
        self.now.borrow().wrong()
    }
}

/// Follows them for ever.
pub async fn keep(shared: Rc<Shared>) {
    let [first, second] = Source::ALL;
    tokio::join!(one(&shared, first), one(&shared, second), tell(&shared));
}

async fn one(shared: &Shared, source: Source) {
    let is_there = Cell::new(false);
    let refused = Cell::new(None);
    let see = |seen: Seen<'_>| match seen {
        Seen::Begin => is_there.set(false),
        Seen::KeptOver => {}
        Seen::There(config_map) | Seen::Now(config_map) => {
            is_there.set(true);
            shared.take_live(source, Some(config_map));
        }
        Seen::All if is_there.get() => refused.set(None),
        Seen::All | Seen::Gone(_) => {
            refused.set(None);
            shared.take_live(source, None);
        }
        Seen::Refused(status) => {
            if refused.replace(Some(status)) != Some(status) {
                log::info!(
                    "config: the API server does not tell the hub of the ConfigMap {}/{}: {status}; what it said last stays \
                     in force; `edge-hub manifest rbac` prints the right to it",
                    Source::NAMESPACE,
                    source.name()
                );
            }
        }
    };
    let collection = Collection {
        target: format!(
            "/api/v1/namespaces/{}/configmaps?fieldSelector=metadata.name%3D{}",
            Source::NAMESPACE,
            source.name()
        ),
        metadata: false,
    };
    follow(shared, &collection, &see).await;
}

impl Shared {
    /// Takes over what one of them says.
    fn take_live(&self, source: Source, config_map: Option<&[u8]>) {
        self.live.is_heard.set(true);
        let taken = self.live.now.borrow_mut().take(source, config_map);
        let (namespace, name) = (Source::NAMESPACE, source.name());
        match taken {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return log::debug!("config: ConfigMap {namespace}/{name}: {error}"),
        }
        self.live_in_force();
        log::info!("config: what the ConfigMap {namespace}/{name} says is in force");
        let wrong = self.live.warnings();
        wrong.iter().for_each(|line| log::warn!("{line}"));
        self.live.complains.notify_one();
        let live = self.live.now();
        // What is not taken now is offered again with the next change; till then the ConfigMap itself is kept.
        let _ = (self.cache.borrow_mut()).replace_own(Own::Live, &mut live.items());
    }

    /// Puts into force what the configuration and the ConfigMaps say together.
    pub(super) fn live_in_force(&self) {
        let config = self.config.borrow();
        let live = self.live.now();
        let agents = agents(&config, &live);
        (self.cache.borrow_mut()).reconfigure(config.cache_bytes_max, agents);
        let hub_ca = self.hub_ca.borrow().ca_pem();
        self.filters.reconfigure(&config, &live, &hub_ca);
    }

    /// What a former run went by. Offline it is all that there is. Where the flash was slow to open, something newer may be
    /// known by then.
    pub(super) async fn read_live(&self) {
        let read = self.cache.borrow_mut().read_own(Own::Live);
        let items = read.await.unwrap_or_default();
        if self.live.is_heard.get() {
            return;
        }
        for item in items {
            let mut live = self.live.now.borrow_mut();
            live.restore(&item.key, &item.value);
        }
        self.live_in_force();
    }
}

/// Says on the Node what is wrong, not more often than [`LIVE_EVENT_EVERY`], and nothing twice in a row.
async fn tell(shared: &Rc<Shared>) {
    let mut told = Vec::new();
    loop {
        shared.live.complains.notified().await;
        let wrong = shared.live.warnings();
        if wrong.is_empty() || wrong == told {
            told = wrong;
            continue;
        }
        shared.upstream.link().became_up().await;
        match post(shared, &wrong.join("; ")).await {
            Ok(()) => told = wrong,
            Err(why) => {
                log::info!("config: no Event on the Node says so: {why}");
                shared.live.complains.notify_one();
            }
        }
        sleep(LIVE_EVENT_EVERY).await;
    }
}

async fn post(shared: &Rc<Shared>, message: &str) -> Result<(), String> {
    let own = shared.own().ok_or("the hub has no identity")?;
    let node = shared.config.borrow().node_name.clone();
    let now = shared.clock.now();
    let event = event(&node, message, &rfc3339(now), shared.random());
    let path = "/api/v1/namespaces/default/events";
    match exchange(shared, own.way, path, Some(event)).await? {
        (200..=299, _) => Ok(()),
        (status, _) => Err(format!("status code {status}")),
    }
}

/// As the kubelet writes those on its Node: `kubectl describe node` finds them by the uid, which is the name there.
fn event(node: &str, message: &str, now: &str, random: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let name = format!("{node}.{random:016x}");
    let mut shown = message.len().min(LIVE_EVENT_MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(shown) {
        shown -= 1;
    }
    for (before, text) in [
        (
            r#"{"apiVersion":"v1","kind":"Event","metadata":{"namespace":"default","name":"#,
            &*name,
        ),
        (
            r#"},"involvedObject":{"apiVersion":"v1","kind":"Node","name":"#,
            node,
        ),
        (r#","uid":"#, node),
        (r#"},"type":"Warning","reason":"#, "HubConfigInvalid"),
        (r#","message":"#, &message[..shown]),
        (r#","firstTimestamp":"#, now),
        (r#","lastTimestamp":"#, now),
        (
            r#","count":1,"source":{"component":"edge-hub","host":"#,
            node,
        ),
    ] {
        out.extend_from_slice(before.as_bytes());
        put_string(&mut out, text);
    }
    out.extend_from_slice(b"}}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_is_json() {
        let long = "\"é".repeat(LIVE_EVENT_MESSAGE_BYTES_MAX);
        let event = event("gw-1", &long, "2026-11-29T00:00:00Z", 7);
        let event: serde_json::Value = serde_json::from_slice(&event).expect("JSON");
        assert_eq!(event["metadata"]["name"], "gw-1.0000000000000007");
        assert_eq!(event["involvedObject"]["uid"], "gw-1");
        let message = event["message"].as_str().expect("a message");
        assert!(long.starts_with(message) && message.len() <= LIVE_EVENT_MESSAGE_BYTES_MAX);
        assert_eq!(event["source"]["host"], "gw-1");
    }
}

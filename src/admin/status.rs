//! What the hub says about itself under `/status`, for the one who fills it in and for the one who reads it. Every field
//! may be missing in what another version sent. No token, no key and no body of an object ever stands here.

use crate::from_json::{FromJson, read_from_json};
use serde::Serialize;
use serde_json::Value;

read_from_json! {
/// The whole answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// Of the program, such as `0.1.0`.
    pub version: String,
    /// As the configuration or the host has it.
    pub node_name: String,
    /// Of the process.
    pub pid: u32,
    /// Since its start.
    pub uptime_secs: u64,
    /// Whether any server can be reached.
    pub link: Link,
    /// In the order of the configuration.
    pub servers: Vec<Server>,
    /// What all kept answers take.
    pub store: Store,
    /// The machine's, where the kernel tells of their wear.
    pub flash_devices: Vec<FlashDevice>,
    /// What is kept.
    pub collections: Vec<Collection>,
    /// Of clients.
    pub connections: Connections,
    /// Answered since the start.
    pub requests: Requests,
    /// By which callers are known.
    pub tokens: Tokens,
    /// All that the hub uses.
    pub certificates: Vec<Certificate>,
    /// What somebody should do something about, a sentence each.
    pub warnings: Vec<String>,
}
}

/// Up, down, or not yet known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// It answers.
    Up,
    /// It does not.
    Down,
    /// It was not asked yet.
    #[default]
    Unknown,
}

/// A word that is not known says nothing.
impl FromJson for Reach {
    fn read(&mut self, json: &Value) {
        *self = match json.as_str() {
            Some("up") => Reach::Up,
            Some("down") => Reach::Down,
            _ => Reach::Unknown,
        };
    }
}

read_from_json! {
/// The link to the cloud.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Link {
    /// Up if any server is.
    pub state: Reach,
    /// How long it has been so.
    pub since_secs: u64,
    /// Why it is down.
    pub reason: Option<String>,
}
}

read_from_json! {
/// One API server.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Server {
    /// `https://host:port`.
    pub url: String,
    /// Whether it answers.
    pub state: Reach,
    /// How long it has been so.
    pub since_secs: u64,
    /// The last that went wrong.
    pub last_error: Option<String>,
    /// Open to it.
    pub connections: u32,
    /// Requests and watches under way on them.
    pub streams: u32,
}
}

read_from_json! {
/// What is known of callers' tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tokens {
    /// Of which it is remembered what the API server said.
    pub remembered: u64,
    /// Whose keys are known, so that new tokens can be told from others without the API server.
    pub issuer: Option<String>,
}
}

read_from_json! {
/// Where answers are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Store {
    /// `ring` or `ram`.
    pub kind: String,
    /// Taken.
    pub bytes: u64,
    /// Allowed.
    pub bytes_max: u64,
    /// Kept.
    pub collections: u64,
    /// Kept.
    pub objects: u64,
    /// Collections that had to go for others since the start.
    pub evicted: u64,
    /// Answers that are being kept at this moment.
    pub filling: u64,
    /// Of a `ring`.
    pub flash: Option<Flash>,
}
}

read_from_json! {
/// What only a store on flash has to tell. Counters without another word are of this run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Flash {
    /// Bytes of its files.
    pub file_bytes: u64,
    /// Bytes that it offered: keys and values.
    pub payload_bytes: u64,
    /// Bytes that were written for them, compressed and sealed.
    pub frame_bytes: u64,
    /// Bytes written to fill up blocks.
    pub padding_bytes: u64,
    /// Bytes written to open segments.
    pub opening_bytes: u64,
    /// Bytes written since it was made.
    pub life_bytes: u64,
    /// Bytes that may be written in a day.
    pub daily_bytes: u64,
    /// Of these, bytes that may still be written.
    pub left_bytes: u64,
    /// Times that a hub began to write it.
    pub starts: u64,
    /// Times that what waited was written.
    pub flushes: u64,
    /// Times that the flash was waited for.
    pub syncs: u64,
    /// Objects that were the same as those kept, and not written.
    pub identical: u64,
    /// Objects written again to free the segment that they lay in.
    pub carried: u64,
    /// Segments freed so.
    pub reclaimed: u64,
    /// Segments freed although there was no other place for what lay in them.
    pub last_resorts: u64,
    /// Collections that could no longer be read, and are gone.
    pub rotten: u64,
    /// How long the start waited for it.
    pub opening_millis: u64,
    /// Why nothing is written any more.
    pub off: Option<String>,
}
}

read_from_json! {
/// What is known of the wear of one device.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FlashDevice {
    /// `mmc0:0001`, `ubi0`.
    pub device: String,
    /// Of an eMMC's life, so much is used at most, in steps of ten; 110: all of it.
    pub life_used_percent: Option<u64>,
    /// Of an eMMC's blocks in reserve, so much is used at least.
    pub reserve_used_percent: Option<u64>,
    /// Times that UBI has erased the block that was erased most often.
    pub erases_max: Option<u64>,
}
}

read_from_json! {
/// One collection that is kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Collection {
    /// The name that the asking program gives itself.
    pub agent: String,
    /// The subject of its certificate, or a short digest of its token; never the token.
    pub who: String,
    /// `pods`, `leases.coordination.k8s.io`.
    pub resource: String,
    /// None: all of them, or the resource has none.
    pub namespace: Option<String>,
    /// Label and field selectors as they were asked.
    pub selector: Option<String>,
    /// `json` or `protobuf`.
    pub encoding: String,
    /// In it.
    pub objects: u64,
    /// Taken by it.
    pub bytes: u64,
    /// The resourceVersion up to which it is known.
    pub version: String,
    /// Whether it can be served.
    pub state: CollectionState,
    /// Since its last change or bookmark.
    pub age_secs: u64,
}
}

impl Default for Collection {
    fn default() -> Collection {
        Collection {
            agent: String::new(),
            who: String::new(),
            resource: String::new(),
            namespace: None,
            selector: None,
            encoding: String::new(),
            objects: 0,
            bytes: 0,
            version: String::new(),
            state: CollectionState::Filling,
            age_secs: 0,
        }
    }
}

/// Whether a collection can be served, and whether it follows the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CollectionState {
    /// Every item of one version, and followed.
    Complete,
    /// Not yet whole: it is not served.
    Filling,
    /// Whole at its version, at which it stays until it is listed again: the store could not follow.
    Behind,
    /// Whole at its version, and no longer followed.
    Frozen,
}

/// A word that is not known promises least.
impl FromJson for CollectionState {
    fn read(&mut self, json: &Value) {
        *self = match json.as_str() {
            Some("complete") => CollectionState::Complete,
            Some("filling") => CollectionState::Filling,
            Some("behind") => CollectionState::Behind,
            _ => CollectionState::Frozen,
        };
    }
}

read_from_json! {
/// Connections of clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Connections {
    /// Now.
    pub open: u64,
    /// Allowed.
    pub max: u64,
}
}

read_from_json! {
/// Answers since the start, by where they came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Requests {
    /// Passed on from a server.
    pub cloud: u64,
    /// From what is kept.
    pub cache: u64,
    /// The hub's own: refusals and 503.
    pub hub: u64,
}
}

read_from_json! {
/// One certificate that the hub uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Certificate {
    /// What for: `serving`, `hub ca`, `client`, `identity system:node:gw-1`.
    pub what: String,
    /// `CN=system:node:gw-1,O=system:nodes`.
    pub subject: String,
    /// `2026-11-21T02:51:00Z`.
    pub not_after: String,
    /// Below 0: it is over.
    pub days_left: i64,
    /// When the hub begins to ask the cluster for a new one, if it does that itself.
    pub renewed_from: Option<String>,
}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_json::tests::change;

    #[test]
    fn every_field_is_read_as_it_was_written() {
        let mut status = Status {
            servers: vec![Server::default()],
            flash_devices: vec![FlashDevice::default()],
            collections: vec![Collection::default()],
            certificates: vec![Certificate::default()],
            warnings: vec![String::new()],
            ..Status::default()
        };
        status.link.reason = Some(String::new());
        status.servers[0].last_error = Some(String::new());
        status.tokens.issuer = Some(String::new());
        status.store.flash = Some(Flash {
            off: Some(String::new()),
            ..Flash::default()
        });
        let device = &mut status.flash_devices[0];
        device.life_used_percent = Some(0);
        device.reserve_used_percent = Some(0);
        device.erases_max = Some(0);
        let collection = &mut status.collections[0];
        collection.namespace = Some(String::new());
        collection.selector = Some(String::new());
        status.certificates[0].renewed_from = Some(String::new());
        let mut json = serde_json::to_value(&status).unwrap();
        change(&mut json);
        json["link"]["state"] = "down".into();
        json["servers"][0]["state"] = "up".into();
        json["certificates"][0]["days_left"] = (-3).into();
        for state in ["complete", "filling", "behind", "frozen"] {
            json["collections"][0]["state"] = state.into();
            let mut read = Status::default();
            read.read(&json);
            assert_eq!(serde_json::to_value(&read).unwrap(), json);
        }
    }
}

//! Gathers what the hub says about itself.

use super::metrics::{From, Sample, answers};
use super::status::{
    Certificate, Collection, CollectionState, Connections, Flash, FlashDevice, Link, Reach,
    Requests, Server, Status, Store, Tokens,
};
use crate::cache::key::Scope;
use crate::cache::{Cache, Shown};
use crate::certs::csr::Signer;
use crate::certs::load::Pair;
use crate::certs::renewal::renew_at;
use crate::config::{ClientFrom, ServingFrom, StoreKind};
use crate::health::{LinkState, ServerState};
use crate::hub::Shared;
use crate::hub::store::OPENING;
use crate::object::Encoding;
use crate::store::Totals;
use crate::store::ring::thread::Stats;
use crate::sys::clock;
use crate::sys::wear::{Worn, worn};
use std::path::Path;
use std::time::Instant;

/// Where the kernel shows its devices.
const SYS: &str = "/sys";

/// Everything.
pub fn status(shared: &Shared) -> Status {
    let config = shared.config.borrow();
    let shown = shared.cache.borrow_mut().shown(Instant::now());
    let cache = shared.cache.borrow();
    let open = config.connections_max - shared.connections.available_permits();
    let worn = worn(Path::new(SYS));
    let mut warnings = shared.warnings();
    warnings.extend(worn.iter().filter_map(Worn::warning));
    if cache.flash().is_some_and(|stats| is_opening(&stats)) {
        warnings.push(format!("cache: {} {OPENING}", config.cache_dir.display()));
    }
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node_name: config.node_name.clone(),
        pid: std::process::id(),
        uptime_secs: shared.started.elapsed().as_secs(),
        link: link(shared),
        servers: shared.upstream.status().into_iter().map(server).collect(),
        store: store(&cache),
        flash_devices: worn.into_iter().map(flash_device).collect(),
        collections: shown.into_iter().map(collection).collect(),
        connections: Connections {
            open: open as u64,
            max: config.connections_max as u64,
        },
        requests: Requests {
            cloud: answers(From::Cloud),
            cache: answers(From::Cache),
            hub: answers(From::Hub),
        },
        tokens: Tokens {
            remembered: shared.tokens() as u64,
            issuer: shared.issuer(),
        },
        certificates: certificates(shared),
        warnings,
    }
}

/// Where answers are kept, and how that goes.
pub fn store(cache: &Cache) -> Store {
    Store {
        filling: cache.filling() as u64,
        ..store_of(cache.kind(), cache.totals(), cache.flash().as_ref())
    }
}

/// The same, of a store that no hub has open.
pub fn store_of(kind: &str, totals: Totals, stats: Option<&Stats>) -> Store {
    Store {
        kind: kind.to_owned(),
        bytes: totals.bytes as u64,
        bytes_max: totals.bytes_max as u64,
        collections: totals.collections as u64,
        objects: totals.objects as u64,
        evicted: totals.evicted,
        filling: 0,
        flash: stats.map(flash),
    }
}

fn flash(stats: &Stats) -> Flash {
    let counts = &stats.counts;
    Flash {
        file_bytes: stats.file_bytes,
        payload_bytes: stats.payload_bytes,
        frame_bytes: stats.log.frames,
        padding_bytes: stats.log.padding,
        opening_bytes: stats.log.openings,
        life_bytes: stats.wear.written,
        daily_bytes: stats.daily_bytes,
        left_bytes: stats.wear.left,
        starts: stats.wear.starts,
        flushes: counts.flushes,
        syncs: stats.log.syncs,
        identical: counts.identical,
        carried: counts.carried,
        reclaimed: counts.reclaimed,
        last_resorts: counts.last_resorts,
        rotten: counts.rotten,
        opening_millis: stats.opening.as_millis() as u64,
        off: stats.off.clone(),
    }
}

fn flash_device(worn: Worn) -> FlashDevice {
    FlashDevice {
        device: worn.device,
        life_used_percent: worn.life_used_percent,
        reserve_used_percent: worn.reserve_used_percent,
        erases_max: worn.erases_max,
    }
}

/// One line for a person who asks whether the hub is ready; it is, once it runs: offline it serves what is kept.
pub fn ready(shared: &Shared) -> String {
    let link = match shared.upstream.link().state() {
        LinkState::Up { .. } => "ok, the API server is reachable".to_owned(),
        LinkState::Unknown => "ok, the API server has not been asked yet".to_owned(),
        LinkState::Down { since, reason } => format!(
            "ok, serving what is kept: offline for {} s: {reason}",
            since.elapsed().as_secs()
        ),
    };
    format!("{link}{}\n", not_on_flash(shared))
}

fn is_opening(stats: &Stats) -> bool {
    stats.opening.is_zero()
}

/// What is wrong with the flash, where something is.
fn not_on_flash(shared: &Shared) -> String {
    match shared.cache.borrow().flash() {
        Some(stats) if is_opening(&stats) => format!("; what is kept {OPENING}"),
        Some(Stats { off: Some(why), .. }) => {
            format!("; nothing is kept any more until the next start: {why}")
        }
        None if shared.config.borrow().store == StoreKind::Ring => {
            "; the flash cannot be used, answers are kept in memory until the next start".to_owned()
        }
        _ => String::new(),
    }
}

fn link(shared: &Shared) -> Link {
    match shared.upstream.link().state() {
        LinkState::Unknown => Link::default(),
        LinkState::Up { since } => Link {
            state: Reach::Up,
            since_secs: since.elapsed().as_secs(),
            reason: None,
        },
        LinkState::Down { since, reason } => Link {
            state: Reach::Down,
            since_secs: since.elapsed().as_secs(),
            reason: Some(reason.to_string()),
        },
    }
}

fn server(of: crate::upstream::ServerStatus) -> Server {
    let (state, since) = match &of.state {
        ServerState::Unknown => (Reach::Unknown, None),
        ServerState::Up { since } | ServerState::Doubted { since } => (Reach::Up, Some(*since)),
        ServerState::Down { since, .. } => (Reach::Down, Some(*since)),
    };
    Server {
        url: of.url,
        state,
        since_secs: since.map_or(0, |s| s.elapsed().as_secs()),
        last_error: of.last_error,
        connections: of.connections as u32,
        streams: of.streams as u32,
    }
}

fn collection(shown: Shown) -> Collection {
    let mut line = Collection {
        agent: shown.key.agent,
        who: shown.key.who.to_string(),
        encoding: match shown.key.encoding {
            Encoding::Json => "json".to_owned(),
            Encoding::Protobuf => "protobuf".to_owned(),
        },
        objects: shown.objects as u64,
        bytes: shown.bytes as u64,
        version: shown.version,
        state: match (shown.live, shown.behind) {
            (_, true) => CollectionState::Behind,
            (true, false) => CollectionState::Complete,
            (false, false) => CollectionState::Frozen,
        },
        age_secs: shown.age.as_secs(),
        ..Collection::default()
    };
    let some = |text: String| (!text.is_empty()).then_some(text);
    let qualified = |resource: &str, group: &str| match group {
        "" => resource.to_owned(),
        group => format!("{resource}.{group}"),
    };
    match shown.key.scope {
        Scope::Objects(o) => {
            line.resource = qualified(&o.resource, &o.group);
            line.namespace = some(o.namespace);
            let selectors = [
                o.label_selector,
                o.field_selector,
                o.others.replace('\n', "&"),
            ];
            line.selector = some(
                selectors
                    .into_iter()
                    .filter(|s| !s.is_empty())
                    .collect::<Vec<_>>()
                    .join(" "),
            );
        }
        Scope::One(one) => {
            line.resource = qualified(&one.resource, &one.group);
            line.namespace = some(one.namespace);
            line.selector = some(format!("name={}", one.name));
        }
        Scope::Document(document) => line.resource = document.path_and_query,
    }
    line
}

fn certificates(shared: &Shared) -> Vec<Certificate> {
    let now = shared.clock().now();
    let papers = shared.papers.borrow();
    let config = shared.config.borrow();
    let renewed = [
        (config.client_from == ClientFrom::Joined, Signer::Client),
        (config.serving_from == ServingFrom::Csr, Signer::Serving),
    ];
    let is_renewed = |pair: &Pair| {
        let mut signers = renewed.iter().filter(|(asked_for, _)| *asked_for);
        signers.any(|(_, signer)| papers.issued(*signer) == Some(pair))
    };
    let one = |(what, pair): (String, &Pair)| Certificate {
        what,
        subject: pair.subject().to_string(),
        not_after: clock::rfc3339(pair.not_after_unix_secs()),
        renewed_from: is_renewed(pair).then(|| clock::rfc3339(renew_at(pair))),
        days_left: (pair.not_after_unix_secs() as i64 - now as i64) / 86_400,
    };
    papers.pairs().into_iter().map(one).collect()
}

/// What Prometheus gets beside the counters.
pub fn samples(shared: &Shared) -> Vec<Sample> {
    let cache = shared.cache.borrow();
    let totals = cache.totals();
    let counts = &cache.counts;
    let servers = shared.upstream.status();
    let gauge = |name, help, value| Sample {
        name,
        kind: "gauge",
        help,
        value,
    };
    let counter = |name, help, value: u64| Sample {
        name,
        kind: "counter",
        help,
        value,
    };
    let up = matches!(shared.upstream.link().state(), LinkState::Up { .. });
    let open = shared.config.borrow().connections_max - shared.connections.available_permits();
    let mut samples = vec![
        gauge(
            "edge_hub_link_up",
            "1 while an API server is reachable.",
            u64::from(up),
        ),
        gauge(
            "edge_hub_client_connections",
            "Open connections of clients.",
            open as u64,
        ),
        gauge(
            "edge_hub_upstream_connections",
            "Open connections to API servers.",
            servers.iter().map(|s| s.connections).sum::<usize>() as u64,
        ),
        gauge(
            "edge_hub_upstream_streams",
            "Requests under way at API servers.",
            servers.iter().map(|s| s.streams).sum::<usize>() as u64,
        ),
        gauge(
            "edge_hub_watches_held",
            "Watches that are held open without an API server.",
            shared.held.watches(),
        ),
        counter(
            "edge_hub_watches_resumed_total",
            "Times that a held watch went on.",
            shared.held.resumed.get(),
        ),
        counter(
            "edge_hub_watches_caught_up_total",
            "Watches that the hub told what the API server had forgotten.",
            shared.held.caught_up.get(),
        ),
        counter(
            "edge_hub_watches_expired_total",
            "Watches whose clients were told to list again.",
            shared.held.expired.get(),
        ),
        gauge(
            "edge_hub_pods_reported",
            "Pods of which the kubelet has said how they are since the link went.",
            shared.reported().0,
        ),
        gauge(
            "edge_hub_pods_unready",
            "Of these, the ones that are not ready and were so before.",
            shared.reported().1,
        ),
        gauge(
            "edge_hub_events_waiting",
            "Events that wait for the API server.",
            shared.events.waiting(),
        ),
        counter(
            "edge_hub_events_posted_total",
            "Events that have waited and are posted.",
            shared.events.posted.get(),
        ),
        counter(
            "edge_hub_events_dropped_total",
            "Events that made room, or that the API server did not take.",
            shared.events.dropped.get(),
        ),
        gauge(
            "edge_hub_tokens",
            "Tokens of which it is remembered what the API server said.",
            shared.tokens() as u64,
        ),
        gauge(
            "edge_hub_cache_bytes",
            "Bytes that kept answers take.",
            totals.bytes as u64,
        ),
        gauge(
            "edge_hub_cache_bytes_max",
            "Bytes that kept answers may take.",
            totals.bytes_max as u64,
        ),
        gauge(
            "edge_hub_cache_collections",
            "Collections kept.",
            totals.collections as u64,
        ),
        gauge(
            "edge_hub_cache_objects",
            "Objects kept.",
            totals.objects as u64,
        ),
        counter(
            "edge_hub_cache_evicted_total",
            "Collections evicted for others.",
            totals.evicted,
        ),
        counter(
            "edge_hub_cache_lists_total",
            "Lists kept.",
            counts.lists.get(),
        ),
        counter(
            "edge_hub_cache_gets_total",
            "Single objects and documents kept.",
            counts.objects.get(),
        ),
        counter(
            "edge_hub_cache_events_total",
            "Watch events kept.",
            counts.events.get(),
        ),
        counter(
            "edge_hub_cache_broken_total",
            "Answers that ended early or could not be read.",
            counts.broken.get(),
        ),
        counter(
            "edge_hub_cache_no_room_total",
            "Answers that found no room.",
            counts.no_room.get(),
        ),
        counter(
            "edge_hub_cache_behind_total",
            "Answers and changes that the store was too slow for.",
            counts.behind.get(),
        ),
        counter(
            "edge_hub_cache_frozen_total",
            "Changes of collections that stay as they were since then.",
            counts.frozen.get(),
        ),
        counter(
            "edge_hub_cache_off_total",
            "Answers and changes that came after the store had stopped writing.",
            counts.off.get(),
        ),
        counter(
            "edge_hub_cache_gaps_total",
            "Collections that a watch could not follow.",
            counts.gaps.get(),
        ),
        gauge(
            "edge_hub_cache_on_flash",
            "1 while answers are kept on flash.",
            u64::from(cache.flash().is_some_and(|flash| flash.off.is_none())),
        ),
    ];
    let worn = worn(Path::new(SYS));
    let most = |of: fn(&Worn) -> Option<u64>| worn.iter().filter_map(of).max();
    let wear = [
        (
            "edge_hub_flash_life_used_percent",
            "Of the life of the machine's eMMC, what is used at most, in steps of 10; 110: all of it.",
            most(|w| w.life_used_percent),
        ),
        (
            "edge_hub_flash_reserve_used_percent",
            "Of the blocks that it has in reserve, what is used at least: 0, 80 or 90.",
            most(|w| w.reserve_used_percent),
        ),
        (
            "edge_hub_flash_erases_max",
            "Times that UBI has erased the block that was erased most often.",
            most(|w| w.erases_max),
        ),
    ];
    samples.extend(
        (wear.into_iter()).filter_map(|(name, help, value)| Some(gauge(name, help, value?))),
    );
    let Some(flash) = cache.flash().as_ref().map(flash) else {
        return samples;
    };
    samples.extend([
        counter(
            "edge_hub_cache_payload_bytes_total",
            "Bytes of objects offered to the flash.",
            flash.payload_bytes,
        ),
        counter(
            "edge_hub_cache_flash_bytes_total",
            "Bytes written to flash since the hub has started.",
            flash.frame_bytes + flash.padding_bytes + flash.opening_bytes,
        ),
        counter(
            "edge_hub_cache_flash_padding_bytes_total",
            "Of these, bytes that fill up blocks.",
            flash.padding_bytes,
        ),
        counter(
            "edge_hub_cache_flash_opening_bytes_total",
            "Of these, bytes that open segments.",
            flash.opening_bytes,
        ),
        counter(
            "edge_hub_cache_flash_life_bytes_total",
            "Bytes written to flash since the cache was made.",
            flash.life_bytes,
        ),
        gauge(
            "edge_hub_cache_flash_file_bytes",
            "Bytes of the files on flash.",
            flash.file_bytes,
        ),
        gauge(
            "edge_hub_cache_budget_bytes",
            "Bytes that may be written to flash in a day.",
            flash.daily_bytes,
        ),
        gauge(
            "edge_hub_cache_budget_remaining_bytes",
            "Of these, bytes that may still be written.",
            flash.left_bytes,
        ),
        counter(
            "edge_hub_cache_starts_total",
            "Times that a hub has begun to write this cache.",
            flash.starts,
        ),
        counter(
            "edge_hub_cache_flushes_total",
            "Times that what waited was written to flash.",
            flash.flushes,
        ),
        counter(
            "edge_hub_cache_syncs_total",
            "Times that the flash was waited for.",
            flash.syncs,
        ),
        counter(
            "edge_hub_cache_identical_total",
            "Objects that were the same as those kept, and not written.",
            flash.identical,
        ),
        counter(
            "edge_hub_cache_carried_total",
            "Objects written again to free the segment that they lay in.",
            flash.carried,
        ),
        counter(
            "edge_hub_cache_reclaimed_total",
            "Segments freed so.",
            flash.reclaimed,
        ),
        counter(
            "edge_hub_cache_last_resorts_total",
            "Segments freed although there was no other place for what lay in them.",
            flash.last_resorts,
        ),
        counter(
            "edge_hub_cache_rotten_total",
            "Collections that could no longer be read, and are gone.",
            flash.rotten,
        ),
        gauge(
            "edge_hub_cache_opening_milliseconds",
            "How long the start waited for the flash.",
            flash.opening_millis,
        ),
    ]);
    samples
}

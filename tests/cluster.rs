//! Real clients through the hub at a real API server, with the link up, cut and coming back.

#[path = "support/mod.rs"]
mod support;

#[path = "through/attacks.rs"]
mod attacks;
#[path = "through/autonomy.rs"]
mod autonomy;
#[path = "through/bad_input.rs"]
mod bad_input;
#[path = "through/bad_watches.rs"]
mod bad_watches;
#[path = "through/cache_cli.rs"]
mod cache_cli;
#[path = "through/clients.rs"]
mod clients;
#[path = "through/clock.rs"]
mod clock;
#[path = "through/discovery.rs"]
mod discovery;
#[path = "through/door.rs"]
mod door;
#[path = "through/drop_in.rs"]
mod drop_in;
#[path = "through/filters.rs"]
mod filters;
#[path = "through/flaps.rs"]
mod flaps;
#[path = "through/flash.rs"]
mod flash;
#[path = "through/hostile.rs"]
mod hostile;
#[path = "through/identities.rs"]
mod identities;
#[path = "through/informers.rs"]
mod informers;
#[path = "through/join.rs"]
mod join;
#[path = "through/kube_rs.rs"]
mod kube_rs;
#[path = "through/kubectl.rs"]
mod kubectl;
#[path = "through/large.rs"]
mod large;
#[path = "through/leaders.rs"]
mod leaders;
#[path = "through/live.rs"]
mod live;
#[path = "through/local.rs"]
mod local;
#[path = "through/odd_watches.rs"]
mod odd_watches;
#[path = "through/offline.rs"]
mod offline;
#[path = "through/online.rs"]
mod online;
#[path = "through/operator.rs"]
mod operator;
#[path = "through/places.rs"]
mod places;
#[path = "through/pools.rs"]
mod pools;
#[path = "through/restarts.rs"]
mod restarts;
#[path = "through/rotation.rs"]
mod rotation;
#[path = "through/service.rs"]
mod service;
#[path = "through/setup.rs"]
mod setup;
#[path = "through/slow.rs"]
mod slow;
#[path = "through/splice.rs"]
mod splice;
#[path = "through/state_files.rs"]
mod state_files;
#[path = "through/stolen.rs"]
mod stolen;
#[path = "through/storm.rs"]
mod storm;
#[path = "through/strangers.rs"]
mod strangers;

//! The table of all keys: what each may be, what stands for it when it is not there, and when a change takes effect.
//! The README's table and the search for misspelt keys come from here.

use super::{Config, StoreKind};
use crate::limits::{
    CACHE_BYTES_MAX, CACHE_BYTES_MIN, CONFIG_LIST_MAX, CONNECTIONS_MAX, CONNECTIONS_MIN,
    DAILY_WRITE_BYTES_MAX, DAILY_WRITE_BYTES_MIN, FLUSH_SECS_MAX, FLUSH_SECS_MIN,
    OWN_ADDRESSES_MAX, REVIEW_SECS_MAX,
};

/// What a key's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A string or null.
    MaybeText,
    /// A file or folder; relative to the folder of the configuration.
    Path,
    /// The same, or null.
    MaybePath,
    /// `address:port`.
    Address,
    /// The same, or null.
    MaybeAddress,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number, both ends included.
    Number {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// Bytes as a whole number, or as a string with `KiB`, `MiB`, `GiB` or `TiB`.
    Bytes {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A list of strings.
    Texts {
        /// Entries at most.
        max: usize,
    },
    /// A list of `https://host:port`, not empty.
    Servers {
        /// Entries at most.
        max: usize,
    },
    /// A list of `address:port`, not empty.
    Addresses {
        /// Entries at most.
        max: usize,
    },
    /// A list of addresses, or null.
    MaybeAddresses,
    /// A list of users' numbers.
    Uids {
        /// Entries at most.
        max: usize,
    },
    /// A list of objects, see [`IDENTITY_KEYS`].
    Identities {
        /// Entries at most.
        max: usize,
    },
}

impl Kind {
    /// What is allowed, for messages and the README.
    pub fn allowed(&self) -> String {
        match self {
            Kind::Text => "a string".to_owned(),
            Kind::MaybeText => "a string or null".to_owned(),
            Kind::Path => "a path".to_owned(),
            Kind::MaybePath => "a path or null".to_owned(),
            Kind::Address => "\"address:port\"".to_owned(),
            Kind::MaybeAddress => "\"address:port\" or null".to_owned(),
            Kind::Choice(words) => words
                .iter()
                .map(|word| format!("{word:?}"))
                .collect::<Vec<_>>()
                .join(" or "),
            Kind::Flag => "true or false".to_owned(),
            Kind::Number { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Bytes { min, max } => {
                format!(
                    "bytes from {} to {}, as a number or like \"8MiB\"",
                    binary(*min),
                    binary(*max)
                )
            }
            Kind::Texts { max } => format!("a list of up to {max} strings"),
            Kind::Servers { max } => format!("a list of 1 to {max} \"https://host:port\""),
            Kind::Addresses { max } => format!("a list of 1 to {max} \"address:port\""),
            Kind::MaybeAddresses => {
                format!("a list of up to {OWN_ADDRESSES_MAX} addresses, or null")
            }
            Kind::Uids { max } => format!("a list of up to {max} whole numbers"),
            Kind::Identities { max } => format!("a list of up to {max} objects"),
        }
    }
}

fn binary(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 40 && b % (1 << 40) == 0 => format!("{} TiB", b >> 40),
        b if b >= 1 << 30 && b % (1 << 30) == 0 => format!("{} GiB", b >> 30),
        b if b % (1 << 20) == 0 => format!("{} MiB", b >> 20),
        b => b.to_string(),
    }
}

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// On SIGHUP.
    Live,
    /// At the next start.
    Restart,
    /// With what is kept in RAM on SIGHUP, with the ring at the next start: its files are made once.
    LiveInRam,
}

impl Reload {
    /// For the README.
    pub fn told(self) -> &'static str {
        match self {
            Reload::Live => "SIGHUP",
            Reload::Restart => "restart",
            Reload::LiveInRam => "restart; with \"ram\" SIGHUP",
        }
    }

    fn waits(self, running: &Config) -> bool {
        match self {
            Reload::Live => false,
            Reload::Restart => true,
            Reload::LiveInRam => running.store != StoreKind::Ram,
        }
    }
}

/// One key of the file.
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What stands for it when it is not there, as JSON; empty: it must be there.
    pub default: &'static str,
    /// When a change takes effect.
    pub reload: Reload,
    /// What it does, in a sentence.
    pub text: &'static str,
    differs: fn(&Config, &Config) -> bool,
    copy: fn(&Config, &mut Config),
}

/// A key of an entry of `identities`.
pub struct IdentityKey {
    /// As it is written.
    pub name: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// What it does.
    pub text: &'static str,
}

/// The keys of an entry of `identities`.
pub const IDENTITY_KEYS: &[IdentityKey] = &[
    IdentityKey {
        name: "cn",
        required: true,
        text: "the common name in the caller's certificate; `system:node:*` is the node whose pair it is",
    },
    IdentityKey {
        name: "o",
        required: false,
        text: "an organisation that the caller's certificate must name",
    },
    IdentityKey {
        name: "cert",
        required: true,
        text: "the certificate that goes up for this caller; its subject is the caller's, names and organisations",
    },
    IdentityKey {
        name: "key",
        required: true,
        text: "the key to that certificate",
    },
];

macro_rules! keys {
    ($($name:literal, $kind:expr, $default:literal, $reload:ident, $field:ident, $text:literal;)*) => {
        &[$(Key {
            name: $name, kind: $kind, default: $default, reload: Reload::$reload, text: $text,
            differs: |old, new| old.$field != new.$field,
            copy: |from, to| to.$field.clone_from(&from.$field),
        },)*]
    };
}

const LIST: Kind = Kind::Texts {
    max: CONFIG_LIST_MAX,
};

/// Every key, in the order of the README.
#[rustfmt::skip]
pub const KEYS: &[Key] = keys! {
    "servers", Kind::Servers { max: CONFIG_LIST_MAX }, "", Restart, servers, "The API servers.";
    "mode", Kind::Choice(&["priority", "round-robin"]), r#""priority""#, Restart, mode, "Which of several servers is asked: the first that is up, or one after the other.";
    "working_mode", Kind::Choice(&["edge", "cloud"]), r#""edge""#, Restart, working_mode, "`cloud` is for nodes beside their API servers: filters, and nothing is kept. The filters `discardcloudservice`, `forwardkubesvctraffic` and `serviceenvupdater` are then for nobody, unless `filters` says so.";
    "ca_file", Kind::Path, r#""/etc/kubernetes/pki/ca.crt""#, Live, ca_file, "The CA that signed the servers' certificates.";
    "client", Kind::Choice(&["files", "joined"]), r#""files""#, Live, client_from, "Which pair is the hub's own: that of `client_cert`, if it is set, or the one that `edge-hub join` has put into `state_dir`, which the hub renews.";
    "client_cert", Kind::MaybePath, "null", Live, client, "The node's own certificate, shown when the hub probes the servers. Requests go up with it from `local_listen` alone.";
    "client_key", Kind::MaybePath, "null", Live, client, "The key to it. Both or none.";
    "client_ca_file", Kind::MaybePath, "null", Live, client_ca_file, "The CA whose client certificates the hub accepts.";
    "identities", Kind::Identities { max: CONFIG_LIST_MAX }, "[]", Live, identities, "Who may come with a client certificate, and with which pair the hub goes up for them.";
    "node_name", Kind::MaybeText, "null", Restart, node_name, "The name of this node. Without it the host name.";
    "listen", Kind::Addresses { max: CONFIG_LIST_MAX }, r#"["127.0.0.1:10268","169.254.2.1:10268"]"#, Restart, listen, "Where the hub serves, TLS.";
    "own_addresses", Kind::MaybeAddresses, r#"["169.254.2.1"]"#, Restart, own_addresses, "Addresses that the hub puts on a device itself. null or []: it leaves the network alone.";
    "neighbours", Kind::Choice(&["refuse", "serve"]), r#""refuse""#, Live, neighbours, "What becomes of connections from other machines to a loopback or link-local address.";
    "local_listen", Kind::MaybeAddress, "null", Restart, local_listen, "Where the hub serves the node's own programs, plain HTTP, as YurtHub does at `127.0.0.1:10261`. A loopback address.";
    "local_uids", Kind::Uids { max: CONFIG_LIST_MAX }, "[0]", Live, local_uids, "The users whose programs are served there. Everybody else gets `403`.";
    "admin_listen", Kind::Address, r#""127.0.0.1:10267""#, Restart, admin_listen, "Where `/status` and `/metrics` are, plain HTTP.";
    "serving", Kind::Choice(&["hub-ca", "csr"]), r#""hub-ca""#, Live, serving_from, "Who signs the certificate that the hub shows: the hub's own CA, or the cluster, when somebody has approved the hub's request.";
    "serving_cert", Kind::MaybePath, "null", Live, serving, "The certificate that the hub shows. Without it one from the hub's own CA.";
    "serving_key", Kind::MaybePath, "null", Live, serving, "The key to it. Both or none.";
    "extra_sans", LIST, "[]", Live, extra_sans, "Further names and addresses for the certificate that the hub's own CA or the cluster signs.";
    "state_dir", Kind::Path, r#""/var/lib/edge-hub""#, Restart, state_dir, "Where the hub keeps its CA, the pairs that the cluster has issued to it and, unless `seal_key_file` says otherwise, the key to `cache_dir`.";
    "store", Kind::Choice(&["ring", "ram"]), r#""ring""#, Restart, store, "Where answers are kept: on flash below `cache_dir`, sealed, or in memory, where a restart forgets them.";
    "cache_dir", Kind::Path, r#""/etc/kubernetes/cache""#, Restart, cache_dir, "Where answers are kept on flash, and where each program's name leads to a list of what is kept for it.";
    "cache_max_bytes", Kind::Bytes { min: CACHE_BYTES_MIN, max: CACHE_BYTES_MAX }, "8388608", LiveInRam, cache_bytes_max, "What all kept answers may take together: of flash, or of memory with `ram`.";
    "flush_secs", Kind::Number { min: FLUSH_SECS_MIN, max: FLUSH_SECS_MAX }, "2", Restart, flush, "How long a change may wait in memory before it is written to flash. One of a status alone may wait 15 times that.";
    "daily_write_bytes", Kind::Bytes { min: DAILY_WRITE_BYTES_MIN, max: DAILY_WRITE_BYTES_MAX }, "33554432", Restart, daily_write_bytes, "What may be written to flash in a day, taken over many. Towards it changes wait longer, then only what is dearest is written.";
    "seal_key_file", Kind::MaybePath, "null", Restart, seal_key_file, "A secret of 16 to 4096 bytes from which what is kept on flash is sealed. Without it `cache.key` in `state_dir`, made by the hub.";
    "run_dir", Kind::Path, r#""/run/edge-hub""#, Restart, run_dir, "In memory: the lists to which `cache_dir` leads, and the socket of `edge-hub cache`.";
    "cache_agents", LIST, "[]", Live, cache_agents, "Whose answers are kept, beside the built-in list: names, `*` for all, `-name` for not this one.";
    "jwks_from_callers", Kind::Flag, "false", Live, jwks_from_callers, "Whether the hub may ask for the keys of the tokens' issuer with the token of a caller, where it may not itself.";
    "review_secs", Kind::Number { min: 0, max: REVIEW_SECS_MAX }, "0", Live, review_age_max, "For how long an answer to a `subjectaccessreview` or `tokenreview` of the kubelet is given to it again while no server can be asked. 0: not at all.";
    "filters", LIST, "[]", Live, filters, "Which programs are told something otherwise, beside the built-in list: `filter=name` adds one, `filter=-name` takes one away, `-filter` switches a filter off.";
    "drain_secs", Kind::Number { min: 0, max: 3_600 }, "20", Live, drain, "How long open requests may go on after SIGTERM.";
    "log", Kind::Text, r#""info""#, Live, log, "What is logged: error, warn, info, debug, trace or off. `RUST_LOG` overrides it.";
    "ping_after_ms", Kind::Number { min: 50, max: 60_000 }, "2000", Restart, ping_after, "A connection to a server that was silent for so long is asked whether it lives.";
    "ping_wait_ms", Kind::Number { min: 50, max: 60_000 }, "2500", Restart, ping_wait, "Without an answer for so long it is dead.";
    "connect_timeout_ms", Kind::Number { min: 50, max: 60_000 }, "3000", Restart, connect_timeout, "How long a server may take to accept a connection.";
    "probe_min_ms", Kind::Number { min: 20, max: 60_000 }, "1000", Restart, probe_min, "The first wait between two probes of a server that is down.";
    "probe_max_ms", Kind::Number { min: 20, max: 600_000 }, "30000", Restart, probe_max, "The longest wait between two probes.";
    "header_timeout_ms", Kind::Number { min: 50, max: 120_000 }, "10000", Live, header_timeout, "How long a client may take for its handshake, and for the head of a request.";
    "stalled_watch_secs", Kind::Number { min: 1, max: 3_600 }, "60", Live, stalled_watch, "For how long the client of a watch may take nothing, though there are events for it. Then its watch ends.";
    "connections_max", Kind::Number { min: CONNECTIONS_MIN, max: CONNECTIONS_MAX }, "512", Restart, connections_max, "Client connections open at once.";
};

/// The key of that name.
pub fn known(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The keys whose value differs.
pub fn changed(old: &Config, new: &Config) -> Vec<&'static Key> {
    KEYS.iter().filter(|key| (key.differs)(old, new)).collect()
}

/// Makes of `new` what a hub that runs with `old` takes over of it: a key that takes effect only at the next start keeps
/// its value. The names of those are returned.
pub fn keep_until_restart(old: &Config, new: &mut Config) -> Vec<&'static str> {
    let kept = changed(old, new)
        .into_iter()
        .filter(|key| key.reload.waits(old));
    kept.map(|key| {
        (key.copy)(old, new);
        key.name
    })
    .collect()
}

/// The known name nearest to a misspelt one, if any is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer than any key can be after a slip of the finger, and the table of distances stays small.
    if name.len() > 48 {
        return None;
    }
    let bare = |text: &str| -> Vec<u8> {
        text.bytes()
            .filter(|b| !matches!(b, b'_' | b'-'))
            .map(|b| b.to_ascii_lowercase())
            .collect()
    };
    let name = bare(name);
    let near = known
        .map(|word| (distance(&name, &bare(word)), word))
        .min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, word)| *distance <= word.len().div_ceil(3))
        .map(|(_, word)| word)
}

/// Letters to put in, take out or change to get from one word to the other (Levenshtein).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let here = (corner + usize::from(x != y)).min(left + 1).min(*cell + 1);
            corner = *cell;
            *cell = here;
            left = here;
        }
        row[0] = i + 1;
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_finds_the_one_that_was_meant() {
        for (name, want) in [
            ("server", Some("servers")),
            ("cacheAgents", Some("cache_agents")),
            ("ca-file", Some("ca_file")),
            ("lisen", Some("listen")),
            ("drain_sec", Some("drain_secs")),
            ("", None),
            ("colour", None),
            (&"x".repeat(100), None),
        ] {
            assert_eq!(
                nearest(name, KEYS.iter().map(|key| key.name)),
                want,
                "{name}"
            );
        }
    }

    #[test]
    fn distances() {
        for (a, b, want) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), want, "{a} {b}");
        }
    }
}

//! Every bound of the hub, with its reason. Nothing grows past what stands here.

use std::time::Duration;

// ---- request

/// Longest path and query, bytes. The API server itself takes 1 MiB of head; the longest real ones (exec with a long
/// command, label selectors of thousands of values) stay under this.
pub const TARGET_BYTES_MAX: usize = 16 * 1024;
/// Clauses of `Accept` that are looked at. Real clients send at most six.
pub const ACCEPT_CLAUSES_MAX: usize = 8;
/// Longest name of an agent, bytes: a directory's name and a log word are made of it.
pub const AGENT_BYTES_MAX: usize = 63;

// ---- access

/// Subjects of certificates remembered as accepted: 33 bytes each. A node has a handful of components.
pub const KNOWN_IDENTITIES_MAX: usize = 64;
/// Largest token that is read as a JWT, bytes. One that is bound to a pod has 1 to 2 KB; a longest namespace, account, pod
/// and node add 1 KB.
pub const JWT_BYTES_MAX: usize = 8 * 1024;
/// Largest `Authorization` that a connection remembers, bytes, so as not to digest it anew with each request.
pub const SHOWN_BYTES_MAX: usize = 4 * 1024;
/// Audiences of one token. Of the API server there are one or two.
pub const JWT_AUDIENCES_MAX: usize = 16;
/// Audiences of the API server that are remembered. There is one, and another while it is changed.
pub const JWT_AUDIENCES_KEPT_MAX: usize = 4;
/// Longest name of an issuer or of an audience, bytes: they are URLs.
pub const JWT_AUDIENCE_BYTES_MAX: usize = 1024;
/// How far the clocks of an issuer and of the node may differ, in seconds: as at the API server.
pub const JWT_LEEWAY_SECS: u64 = 60;
/// Largest document with an issuer's keys, bytes: one of RSA 4096 has 800.
pub const JWKS_BYTES_MAX: usize = 64 * 1024;
/// Keys of an issuer. There is one, and two while it is changed.
pub const JWKS_KEYS_MAX: usize = 16;
/// How often an issuer's keys are asked for: as long as API servers say that the document may be kept.
pub const ISSUER_EVERY: Duration = Duration::from_secs(3600);
/// The same while they are not known.
pub const ISSUER_RETRY: Duration = Duration::from_secs(60);
/// How long the API server may take to tell one of the documents.
pub const ISSUER_WAIT: Duration = Duration::from_secs(10);
/// Answers to requests for tokens that are kept, each of 2 KB in memory and on flash: 110 pods with two each.
pub const GRANTS_MAX: usize = 256;
/// Answers to reviews that are kept in memory: who looks at logs, and what the metrics are asked by.
pub const REVIEWS_MAX: usize = 64;
/// Largest request for a token or a review whose answer is kept, bytes. One for a token has 300, a review of a token 2 KB.
pub const POSTED_BYTES_MAX: u64 = 8 * 1024;
/// How long after the hub's start requests wait for the first word of a server before they are answered from what is kept. A
/// server in reach answers within that; one that is not may take as long as a connection may, and a whole node waits.
pub const FIRST_WORD_WAIT: Duration = Duration::from_millis(500);
/// Events that wait for the API server, in memory and on flash: a reboot makes ten a pod, an outage a few an hour.
pub const EVENTS_MAX: usize = 256;
/// Bytes that they may take together: one has 500.
pub const EVENTS_BYTES_MAX: usize = 128 * 1024;
/// What one takes beside its path and body.
pub const EVENT_OVERHEAD_BYTES: usize = 128;
/// How long they wait when the link is back, and how soon the next follows: nobody is in a hurry, and of ten thousand hubs
/// each brings its own.
pub const EVENTS_AFTER: Duration = Duration::from_secs(5);
/// See [`EVENTS_AFTER`].
pub const EVENTS_EVERY: Duration = Duration::from_millis(200);
/// How long the API server may take over one.
pub const EVENT_WAIT: Duration = Duration::from_secs(10);
/// Largest patch of a pod's status that is looked at, bytes: ten containers take 6 KB.
pub const POD_STATUS_BYTES_MAX: u64 = 128 * 1024;
/// Pods of which it is remembered what the kubelet says while the API server cannot be told, of 200 bytes each: a node has
/// 110, at most 500.
pub const REPORTED_PODS_MAX: usize = 512;
/// Longest uid of a pod, bytes. One has 36; those of static pods 32.
pub const REPORTED_UID_BYTES_MAX: usize = 64;
/// How long after an outage that still counts: a kubelet says within ten seconds to the API server what it could not say
/// before, and within a few more EndpointSlices follow.
pub const REPORTED_LINGER: Duration = Duration::from_secs(30);
/// Largest such answer. It has the token in it, and who it is of.
pub const POSTED_ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Longest time for which the answer to a review may be given again, in seconds.
pub const REVIEW_SECS_MAX: u64 = 3_600;
/// Tokens remembered as accepted, some 300 bytes each in memory and on flash: 110 pods with four each, and strangers.
pub const LEDGER_TOKENS_MAX: usize = 512;
/// Tokens of one pod. The kubelet gives it a new one in the hour, and programs read that within minutes; with further
/// audiences or accounts it has two or three at a time.
pub const LEDGER_POD_TOKENS_MAX: usize = 4;
/// Tokens of one account that belong to no pod of this node: people, and programs that make their own.
pub const LEDGER_ACCOUNT_STRANGERS_MAX: usize = 16;

/// Requests of callers whom the API server does not know that one source may send up at once: more than a program starts
/// with. And how soon it may send one more: a program in a loop then takes 5 requests a second of a slow uplink.
pub const STRANGERS_AT_ONCE: u32 = 32;
/// See [`STRANGERS_AT_ONCE`].
pub const STRANGER_EVERY: Duration = Duration::from_millis(200);
/// How long one beyond that waits before it is refused. Less than clients do, so that they learn why.
pub const STRANGER_WAIT: Duration = Duration::from_secs(5);
/// Those of one source that wait: a kubelet begins with as many watches on one connection, and its token is good.
pub const STRANGERS_WAITING_PER_SOURCE_MAX: usize = 192;
/// Those of all sources that wait. Each has a place on a connection already, and holds little more.
pub const STRANGERS_WAITING_MAX: usize = 255;
/// Sources remembered, 64 bytes each: a node has up to 250 pods. Who has sent least makes room.
pub const STRANGER_SOURCES_MAX: usize = 256;

// ---- store

/// What holding one item costs beside key and value, measured with massif over 25 000 objects of 2 KB: 120 bytes for its
/// share of a tree node and the counts of two allocations, and 28 that the allocator adds to these.
pub const STORE_ITEM_BYTES: usize = 148;
/// What a collection costs beside its items: its record, its key in the cache's table, its version.
pub const STORE_COLLECTION_BYTES: usize = 512;
/// Items that a reader of what is in memory gets at one time: handles of 40 bytes, and a counter for each.
pub const STORE_READ_ITEMS_MAX: usize = 32;
/// Longest name of a collection, bytes. It holds the path, the selectors and `Accept`: some 200 bytes; only a selector of
/// hundreds of values comes near, and is then passed on and not kept. Two fit into the 16 KiB of the longest target.
pub const STORE_NAME_BYTES_MAX: usize = 8 * 1024;

// ---- server

/// Longest head of an HTTP/1.1 request, bytes, and of an HTTP/2 header list. The API server takes 1 MiB; a real head
/// with a bound token and a long selector is under 16 KiB.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Header lines of one request. hyper's own bound is 100 too.
pub const HEADERS_MAX: usize = 100;
/// Longest line with a chunk's size, and longest trailer section, bytes. Nobody uses extensions or trailers here.
pub const CHUNK_LINE_BYTES_MAX: u16 = 1024;

// ---- cache

/// Collections in the table: a kubelet has one for each ConfigMap and Secret of its pods. About 400 bytes each.
pub const COLLECTIONS_MAX: usize = 2048;
/// Chunked lists between two pages at one time.
pub const PAGED_LISTS_MAX: usize = 8;
/// Gets that were denied to somebody whom a list had told the object. About 300 bytes each; rare.
pub const DENIED_GETS_MAX: usize = 64;
/// How long a next page is waited for: etcd forgets the list's version after five minutes.
pub const PAGED_LIST_AGE_MAX: Duration = Duration::from_secs(300);
/// Largest object that is kept, bytes. etcd takes 1.5 MiB as protobuf; JSON of it may be larger, and is then passed on
/// and not kept.
pub const OBJECT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Largest discovery document that is kept: `/openapi/v3` of the core group has 1.6 MB (1.36), of apps 0.7 MB; `/openapi/v2`,
/// with 2.2 MB and more, is for clients of long ago.
pub const DOCUMENT_BYTES_MAX: usize = OBJECT_BYTES_MAX;
/// Largest body of a 404 that is kept.
pub const ABSENT_BYTES_MAX: usize = 16 * 1024;

// ---- reply

/// Kept lists go out in pieces of about this many bytes: one or two HTTP/2 frames.
pub const PIECE_BYTES: usize = 16 * 1024;
/// What is written at once goes to the client in pieces of at most this: one who takes less in `stalled_watch_secs`, half a
/// KB a second, takes nothing.
pub const TAKEN_BYTES_MAX: usize = 2 * PIECE_BYTES;
const _: () = assert!(
    H1_BACKLOG_BYTES + TAKEN_BYTES_MAX < H1_BUFFER_BYTES,
    "hyper asks no body for more beyond, and nobody would see that its client has stalled"
);
/// Longest watch event that is passed on whole. An object of the largest size that etcd takes, as JSON, fits; what is
/// longer streams on, and if it is torn the watch ends.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A watch is not ended before this without an event, for client-go takes one that ends within a second so for a fault,
/// and lists again (kubernetes-api.md 3.5).
pub const HELD_MIN: Duration = Duration::from_millis(1200);
// ---- object

/// Levels of nesting in one JSON document. API objects stay below 30; a schema of schemas (a CRD) below 60. The
/// scanner recurses once a level, about 150 bytes of stack each.
pub const JSON_DEPTH_MAX: usize = 128;

/// Messages within messages that are shown as such; what lies deeper is shown as bytes. A pod's have ten.
pub const PROTO_SHOWN_DEPTH_MAX: usize = 32;

/// Bytes of an `apiVersion` or a `kind`. The API server bounds both well below: a group is a DNS name (253) and a kind
/// a label (63).
pub const TYPE_NAME_BYTES_MAX: usize = 256;

/// Bytes of a list document that are not items: type, `metadata` and white space. The largest honest part is the
/// `continue` token, which holds one storage key (under 1 KiB). What is bigger is no list (a Table's rows end here).
pub const LIST_HEAD_BYTES_MAX: usize = 16 * 1024;

// ---- the hub's own lists

/// Between two tries to list or watch, at first and at most, when the API server gave no answer.
pub const OWN_RETRY_MIN: Duration = Duration::from_secs(1);
/// See [`OWN_RETRY_MIN`].
pub const OWN_RETRY_MAX: Duration = Duration::from_secs(60);
/// The same, when it refused: somebody has to give the hub the right, or install what is asked for.
pub const OWN_REFUSED_RETRY: Duration = Duration::from_secs(300);
/// How long the head of an answer may take.
pub const OWN_ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Its own watches live this long to twice as long: client-go's live as long.
pub const OWN_WATCH_SECS: u64 = 300;

// ---- filter

/// Services that ask for a topology; some 100 bytes each. Beyond it no topology is known.
pub const TOPOLOGIES_MAX: usize = 8192;
/// Nodes of one pool, some 60 bytes each: more than one site has.
pub const POOL_NODES_MAX: usize = 4096;
/// How long requests wait for what the filters go by, from the first on that asks for it: two answers of the API server.
pub const FACTS_WAIT: Duration = Duration::from_secs(5);

/// Largest object that a filter looks at: as long as the longest event of a watch that is passed on whole.
pub const FILTERED_OBJECT_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// A client that goes on with its watch within this time after the filters have changed may have been told what is before
/// that by the filters as they were: client-go's watches end after ten minutes at most, and go on.
pub const FILTERS_NEWS: Duration = Duration::from_secs(600);
/// Watches of which the hub remembers that it sent them to list again; beyond that one is sent twice. Only of clients that
/// take no bookmarks, of which a node has a few.
pub const FILTERS_SENT_BACK_MAX: usize = 64;
/// Changes of the filters seldom come alone: so long is waited for the next.
pub const FILTERS_SETTLE: Duration = Duration::from_millis(300);
/// Objects that one watch's client is not told of, some 60 bytes each: more Services than a site hides from one pool.
pub const HIDDEN_KEYS_MAX: usize = 1024;
/// Bytes of a compressed list that are inflated before what came of them goes out: a thousand times as much at most.
pub const GUNZIP_BYTES: usize = 256;
/// A protobuf list of no more bytes is held until its end, so that its true length can stand in front. What one program
/// lists of one node fits, and what is larger is filled up instead.
pub const FILTERED_LIST_HELD_BYTES: u64 = 64 * 1024;

// ---- watch

/// A watch without `timeoutSeconds` lives this long to twice as long, as at the API server (`--min-request-timeout`).
pub const WATCH_SECS_DEFAULT: u64 = 1800;
/// Longest life of a watch that a client can ask for: a day. It comes back by itself.
pub const WATCH_SECS_MAX: u64 = 86_400;

/// A watch that the API server ends no more than this before its time has ended as agreed; earlier, the server is being
/// restarted, and the watch goes on elsewhere or later.
pub const WATCH_END_SLACK: Duration = Duration::from_secs(1);
/// Objects of all held watches of which it is remembered where they are kept: 12 bytes each on flash, nothing in memory
/// until the collection changes. Beyond, a watch of which the API server has forgotten the version begins anew.
pub const HELD_OBJECTS_MAX: usize = 64 * 1024;
/// Objects of one client among which the hub looks for what has changed: 24 bytes each, for one client at a time.
pub const DIFFERENCE_OBJECTS_MAX: usize = 16 * 1024;
/// Bytes of the events that tell it, for one client at a time: they must be put into the order of their versions.
pub const DIFFERENCE_BYTES_MAX: usize = 1024 * 1024;
/// What an event costs beside its object while it waits.
pub const DIFFERENCE_EVENT_BYTES: usize = 96;
/// Objects on each page of a list that the hub asks for by itself, as many as client-go asks for.
pub const LIST_PAGE_OBJECTS: u32 = 500;
/// Watches that look at one time where what their clients hold is kept: each takes 1 KB for it.
pub const LOOKS_MAX: usize = 8;
/// Held watches that ask the API server at one time to be taken up again: it answers each within a round trip.
pub const RESUMES_MAX: usize = 8;
/// How long the head of its answer may take. An API server under load lets a watch wait for as long as any request.
pub const RESUME_WAIT: Duration = Duration::from_secs(60);
/// When the link is back, held watches ask within so many times `probe_min_ms`: 2 s.
pub const RESUME_SPREAD_FACTOR: u32 = 2;
/// How long a watch waits for the link that begins without it, before what is kept: the API server may tell it all that
/// it has missed, one event after the other, and a link that flaps is back within that. Longer, what is kept is worth more.
pub const BEHIND_WAIT: Duration = Duration::from_secs(10);
/// What an API server may ask to be waited for before it is asked again.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// A stream of events that is over sooner was in vain: after it the hub waits longer, that it may not ask for ever.
pub const FRUITLESS_MAX: Duration = Duration::from_secs(1);

// ---- connections of clients

/// Connections that may wait in the kernel's queue of one listener.
pub const LISTEN_BACKLOG: u32 = 128;
/// How long a new connection waits for a place when all are taken; then it is refused.
pub const CONNECTION_WAIT: Duration = Duration::from_secs(5);
/// How often a plain connection is looked at whose first bytes do not tell yet which HTTP it is.
pub const PREFACE_LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes read from a client at one time.
pub const READ_BYTES: usize = 4 * 1024;
/// Bytes of a refused request that are read and dropped before the connection is left to itself.
pub const DISCARD_BYTES_MAX: usize = 256 * 1024;
/// A body may take as long as it wants, but not be silent for longer than this. `kubectl cp` and uploads over slow
/// links move all the time; an open exec is no body.
pub const BODY_SILENCE_MAX: Duration = Duration::from_secs(60);
/// hyper's read and write buffers of an HTTP/1.1 connection (cross-build.md 2: the default lets a stalled reader cost
/// 800 KiB). A head must fit, so it is the guard's bound; answers have [`H1_BACKLOG_BYTES`].
pub const H1_BUFFER_BYTES: usize = HEAD_BYTES_MAX + 4096;
/// Bytes of an HTTP/1.1 answer that may wait in hyper for a client that does not read: one piece, for the next is only
/// asked for below this.
pub const H1_BACKLOG_BYTES: usize = 8 * 1024;
/// Plaintext that TLS may hold back for a client that does not read.
pub const TLS_BUFFER_BYTES: usize = 16 * 1024;
/// Streams on one HTTP/2 connection: a kubelet watches each ConfigMap and Secret of its pods on one connection.
pub const H2_STREAMS_MAX: u32 = 256;
/// Request bytes that one stream, and all of a connection, may have on the way to us.
pub const H2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
pub const H2_CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
pub const H2_FRAME_BYTES: u32 = 16 * 1024;
/// Response bytes of one stream that are buffered beyond what the client's window lets go.
pub const H2_SEND_BUFFER_BYTES: usize = 16 * 1024;
/// Streams that the client reset before we took them; over it the connection is closed (rapid reset).
pub const H2_RESETS_PENDING_MAX: usize = 32;
/// Streams that we reset for the client's faults; over it the connection is closed.
pub const H2_RESETS_MAX: usize = 256;
/// A client's HTTP/2 connection is asked for a sign of life this often, and closed without one after the wait.
pub const CLIENT_PING_EVERY: Duration = Duration::from_secs(30);
pub const CLIENT_PING_WAIT: Duration = Duration::from_secs(20);
/// A connection on which nothing is asked is closed after this. Go's client keeps one for 90 s.
pub const CLIENT_IDLE_MAX: Duration = Duration::from_secs(120);
/// Buffer of each direction of an upgraded connection.
pub const TUNNEL_BYTES: usize = 8 * 1024;

// ---- config

/// Bytes of the configuration file. A list of 64 entries in each list, with long paths, has a tenth of it.
pub const CONFIG_BYTES_MAX: usize = 256 << 10;
/// Entries of each list in the configuration: servers, listeners, identities, names. A site has a handful.
pub const CONFIG_LIST_MAX: usize = 64;
/// Bytes of one value in a ConfigMap that is gone by: 64 names of 128 bytes, with commas between.
pub const LIVE_VALUE_BYTES_MAX: usize = 8192 + 128;
/// Values there that are told to be wrong.
pub const LIVE_WRONG_MAX: usize = 8;
/// Between two Events that tell of them. Whoever mends one is told of the next soon; a controller that writes nonsense for
/// ever makes ten thousand hubs write 17 Events a second, not more.
pub const LIVE_EVENT_EVERY: Duration = Duration::from_secs(600);
/// Bytes of the message of such an Event: what the API server takes.
pub const LIVE_EVENT_MESSAGE_BYTES_MAX: usize = 1024;
/// Bytes of a kubelet's kubeconfig: a CA and a certificate in it have 10 KiB.
pub const KUBECONFIG_BYTES_MAX: usize = 256 << 10;
/// Problems told about one configuration. More than a screen helps nobody.
pub const CONFIG_PROBLEMS_MAX: usize = 50;
/// Addresses that the hub puts on a device. One per family is usual.
pub const OWN_ADDRESSES_MAX: usize = 8;
/// Bytes of an agent's name. What stands before the `/` of a User-Agent is a program's name.
pub const AGENT_NAME_BYTES_MAX: usize = 128;
/// Bytes that kept answers may take: less would not hold one node's pods, more no device of this kind has.
pub const CACHE_BYTES_MIN: u64 = 1 << 20;
/// The other end of the same.
pub const CACHE_BYTES_MAX: u64 = 1 << 30;
/// Bytes that kept answers take unless told otherwise: two thousand objects of 2 KB, twice.
pub const CACHE_BYTES_DEFAULT: u64 = 8 << 20;
/// Seconds that a change may wait before it is written: less would be a write for nearly every change.
pub const FLUSH_SECS_MIN: u64 = 1;
/// More than an hour lost in a power cut is more than anybody means.
pub const FLUSH_SECS_MAX: u64 = 3_600;
/// Unless told otherwise: a deleted pod that a power cut brings back is the one harm, and rare within 2 s.
pub const FLUSH_SECS_DEFAULT: u64 = 2;
/// A change of a status alone may wait this many times as long (flash.md 3.6: 2 s and 30 s): it comes again by itself.
pub const STATUS_FLUSH_FACTOR: u32 = 15;
/// Bytes written to flash in a day: less would not hold one list of a node's pods and what the file system adds.
pub const DAILY_WRITE_BYTES_MIN: u64 = 1 << 20;
/// More than any flash of such a device takes: as good as no bound.
pub const DAILY_WRITE_BYTES_MAX: u64 = 1 << 40;
/// Unless told otherwise: with what a file system adds, 128 MiB of 3000 cycles last for 20 years (flash.md 3.9).
pub const DAILY_WRITE_BYTES_DEFAULT: u64 = 32 << 20;
/// Client connections at once: fewer would shut out a node's own components.
pub const CONNECTIONS_MIN: u64 = 8;
/// The most that can be asked for; each costs a task and TLS buffers.
pub const CONNECTIONS_MAX: u64 = 4_096;
/// Client connections at once unless told otherwise: some 110 pods with two each, and the node's own.
pub const CONNECTIONS_DEFAULT: u64 = 512;

// ---- cli

/// Bytes of an answer that `status` and `check` read. The hub's own is a few KiB; a stranger's on that port may be anything.
pub const CLI_REPLY_BYTES_MAX: usize = 1 << 20;
/// How long `status` waits for its whole answer. Longer than a busy hub on a slow device needs.
pub const CLI_REPLY_SECS_MAX: u64 = 5;
/// Bytes of one record of the hub's control socket: the largest object.
pub const CLI_RECORD_BYTES_MAX: usize = OBJECT_BYTES_MAX + 64 * 1024;
/// How long `cache` waits for the hub's next bytes: a slow card pauses for seconds.
pub const CLI_SILENCE_SECS_MAX: u64 = 30;
/// Bytes of a file's name that `cache export` makes, before `.json`: file systems allow 255.
pub const FILE_NAME_BYTES_MAX: usize = 200;
/// Characters of a log line. The longest request path that is let in fits; logd and the journal cut far above.
pub const LOG_LINE_CHARS_MAX: usize = 4_096;
/// Bytes of a file with a token: one line.
pub const TOKEN_FILE_BYTES_MAX: usize = 4096;
/// How long `join` waits for its certificate unless it is told otherwise: a controller takes a second, a person minutes.
pub const JOIN_WAIT_SECS_DEFAULT: u64 = 300;
/// The longest wait between two looks of `join`: somebody sits before it.
pub const JOIN_LOOK_MAX: Duration = Duration::from_secs(5);
/// How long `join` can be told to wait: a day.
pub const JOIN_WAIT_SECS_MAX: u64 = 86_400;
/// How long `check` gives one server: to resolve, to connect, to answer.
pub const CHECK_SERVER_SECS_MAX: u64 = 10;
/// How often it is looked, while a connection is open, whether the clock has been set beyond the end of its client's
/// certificate.
pub const CLIENT_CERTIFICATE_LOOK_EVERY: Duration = Duration::from_secs(60);

/// Free bytes in `state_dir` below which `check` says that there is no room: a dozen small files, each twice while it is
/// written, in blocks of 4 KiB.
pub const STATE_DIR_FREE_BYTES_MIN: u64 = 96 * 1024;
/// Days before its end from which `check` and `status` warn of a certificate: a weekend, and time to act.
pub const CERT_WARN_DAYS: u64 = 7;
/// Seconds of difference to the server's clock from which `check` warns: tokens and leases begin to go wrong.
pub const CLOCK_WARN_SECS: u64 = 30;

// ---- sys

/// Entries taken from one netlink listing. A node has one address per pod device and a few more; a listing that is
/// longer than this is refused, and the addresses are then left as they are.
pub const NETLINK_ENTRIES_MAX: usize = 4096;

/// Bytes received at once from netlink: the most that the kernel puts into one datagram of a listing, so none is cut.
pub const NETLINK_RECEIVE_BYTES: usize = 32 * 1024;

/// Datagrams read for one answer. The entries above fit into far fewer; the rest is room for strangers' messages.
pub const NETLINK_DATAGRAMS_MAX: usize = 4096;

/// Bytes read of one of the kernel's tables of sockets, of 150 a line: more sockets than such a machine can have. One
/// that stands behind them is not found.
pub const PROC_SOCKETS_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of one line of it. What is longer is read as several, none of which is a socket.
pub const PROC_SOCKETS_LINE_BYTES_MAX: u64 = 512;

/// How long it is believed which devices lead away from the machine. A new one may be taken for a container's for so long.
pub const DEVICES_KNOWN_FOR: Duration = Duration::from_secs(10);

/// Seconds to wait for the kernel, which answers at once or has lost the answer.
pub const NETLINK_WAIT_SECS_MAX: i64 = 2;

/// Addresses that the hub keeps on the node: a few networks in both families.
pub const ADDRESSES_KEPT_MAX: usize = 16;

/// The latest time to which a certificate may move the hub's clock: 2100-01-01. A certificate that begins later was
/// made by a machine whose clock was wrong, and would make every other one look expired.
pub const CLOCK_FLOOR_UNIX_SECS_MAX: u64 = 4_102_444_800;

/// Seconds that the system's clock may be behind what is known before `status` warns of it: an API server's own clock may be
/// ahead by as much.
pub const CLOCK_BEHIND_SECS: u64 = 300;
/// How often it is written down what time it is: 24 small writes in a day, some 16 KiB each with what the file system adds,
/// of the 32 MiB that may be written. What a power cut loses of it is an hour by which an ended token may live longer.
pub const LAST_TIME_EVERY: Duration = Duration::from_secs(3600);
/// The same when the link goes and at the end, which may come one after the other.
pub const LAST_TIME_STEP: Duration = Duration::from_secs(600);
/// Bytes of the file with it: a number of at most 20 digits.
pub const LAST_TIME_FILE_BYTES_MAX: usize = 64;

/// Times before this are not believed: 2025-01-01, before the first release. A box without a clock starts in 1970,
/// or at the build date of its C library or init.
pub const CLOCK_UNSET_UNIX_SECS: u64 = 1_735_689_600;

/// Bytes read from one of the kernel's small text files; the biggest of them has about 1 KiB.
pub const PROC_FILE_BYTES_MAX: usize = 16 * 1024;

/// Leftover temporary files removed before one write. There is at most one per power cut.
pub const LEFTOVERS_REMOVED_MAX: usize = 64;
/// Left of a client's own timeout when what is kept is given instead of waiting on.
pub const ANSWER_MARGIN: Duration = Duration::from_secs(2);

// ---- certs

/// Bytes of one certificate. Ordinary ones have 500 to 2000; TLS itself ends at 64 KiB.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a PEM file with a chain and a key. A chain of RSA 4096 certificates has about 8 KiB.
pub const PAIR_FILE_BYTES_MAX: usize = 128 * 1024;

/// Certificates in a chain: a leaf and its intermediates. Every one goes over the wire in every handshake.
pub const CHAIN_CERTIFICATES_MAX: usize = 10;

/// Bytes of a file of CA certificates: the public ones of a distribution have about 250 KiB.
pub const AUTHORITY_FILE_BYTES_MAX: usize = 1024 * 1024;

/// Certificates in a file of CA certificates: a distribution has about 150; each is about 1 KiB of RAM.
pub const AUTHORITIES_MAX: usize = 512;

/// Bytes of one name in a subject. A node's user name is `system:node:` and at most 253 more.
pub const SUBJECT_NAME_BYTES_MAX: usize = 512;

/// Organizations in a subject, which are groups. Nodes have one, people a few.
pub const SUBJECT_NAMES_MAX: usize = 32;

/// Names and addresses in the hub's serving certificate: those of the node, and what the configuration adds.
pub const SANS_MAX: usize = 128;

/// Characters of a common name that the hub writes: ub-common-name of RFC 5280.
pub const COMMON_NAME_CHARS_MAX: usize = 64;

/// TLS sessions with API servers that are remembered, for each identity: a few servers, and both versions of TLS. A
/// resumed handshake saves the certificates' 4 KB and a signature on a metered link; 256, as is usual, cost 47 KiB.
pub const TLS_CLIENT_SESSIONS_MAX: usize = 8;

/// Days before its end from which `status` says that a certificate which the hub renews itself could not be renewed.
pub const CERT_RENEWAL_WARN_DAYS: u64 = 30;
/// How long a request for a certificate may wait for somebody before `status` names it: controllers take a second.
pub const CSR_TELL_AFTER: Duration = Duration::from_secs(30);
/// Bytes of the server's answer about a CertificateSigningRequest, or of `cluster-info`: some KiB, and what managed fields
/// and a long chain add.
pub const CSR_REPLY_BYTES_MAX: usize = 256 * 1024;
/// How long one exchange about a request for a certificate may take.
pub const CSR_EXCHANGE_MAX: Duration = Duration::from_secs(30);
/// A request that waits is looked at after this, then ever less often.
pub const CSR_LOOK_MIN: Duration = Duration::from_secs(1);
/// The longest wait between two looks: a person who has approved wants to see it work.
pub const CSR_LOOK_MAX: Duration = Duration::from_secs(60);
/// What did not work is tried again after this, then ever less often.
pub const CSR_RETRY_MIN: Duration = Duration::from_secs(10);
/// The longest wait between two tries.
pub const CSR_RETRY_MAX: Duration = Duration::from_secs(600);
/// Who was refused by somebody asks again after this.
pub const CSR_REFUSED_WAIT: Duration = Duration::from_secs(3600);
/// When the link is back, the hubs that had waited for it ask spread over this time.
pub const CSR_SPREAD: Duration = Duration::from_secs(10);

/// Bytes of a configured key to the cache: under 128 bits is none.
pub const SEAL_KEY_BYTES_MIN: usize = 16;
/// The other end of the same: what a TPM or a keystore gives out is far smaller.
pub const SEAL_KEY_BYTES_MAX: usize = 4096;
/// Bytes of the key that the hub makes: as many as the ciphers take.
pub const SEAL_KEY_BYTES: usize = 32;

// ---- health

/// Changes of the link that are logged in one window: a rolling restart of three servers is nine of them.
pub const LINK_LOG_BURST: u32 = 20;
/// Length of that window, in seconds.
pub const LINK_LOG_WINDOW_SECS: u64 = 60;

/// How long a server that answers may say that it is not ready before it is used all the same.
pub const NOT_READY_MAX: Duration = Duration::from_secs(60);

// ---- upstream

/// Addresses of one name that are tried: beyond, the connect deadline has long passed.
pub const SERVER_ADDRESSES_MAX: usize = 16;
/// Milliseconds before the next address of a name is tried beside the former (RFC 8305 recommends 250).
pub const CONNECT_STAGGER_MILLIS: u64 = 250;
/// Plaintext and ciphertext that rustls holds for one upstream connection, in bytes each: one TLS record.
pub const UPSTREAM_TLS_BUFFER_BYTES: usize = 16 * 1024;
/// HTTP/2 flow-control window of one upstream stream, in bytes: what a reader that stalled costs.
pub const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Streams that are opened on one upstream connection at most, whatever the server allows (API server: 100 or 250).
pub const STREAMS_PER_CONNECTION_MAX: usize = 250;
/// HTTP/2 window of a whole upstream connection: every stream may stall with a full window, and the next still moves.
pub const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * STREAMS_PER_CONNECTION_MAX as u32;
const _: () = assert!(CONNECTION_WINDOW_BYTES < 1 << 31, "RFC 9113 section 6.9.1");
/// Largest HTTP/2 frame taken from upstream, and largest piece of a body sent at once, in bytes: the protocol's least.
pub const UPSTREAM_FRAME_BYTES_MAX: u32 = 16 * 1024;
/// Response headers taken from upstream, in bytes: eight times what an API server sends with many warnings.
pub const UPSTREAM_HEADER_BYTES_MAX: u32 = 64 * 1024;
/// HPACK table offered to the server, in bytes: the response headers of an API server repeat, and fit.
pub const UPSTREAM_HEADER_TABLE_BYTES: u32 = 2 * 1024;
/// Streams that were given up and are remembered, so that frames still in flight for them do no harm.
pub const RESET_STREAMS_MAX: usize = 128;
/// HTTP/2 connections per server and way: 16 x 100 streams is more than the door lets in; then requests wait.
pub const H2_CONNECTIONS_PER_POOL_MAX: usize = 16;
/// HTTP/1.1 connections per server and way: each costs some 43 KiB; then requests wait.
pub const H1_CONNECTIONS_PER_POOL_MAX: usize = 128;
/// Idle HTTP/1.1 connections kept per server and way: what a burst of lists of one node needs.
pub const H1_IDLE_PER_POOL_MAX: usize = 8;
/// Seconds after which an idle HTTP/1.1 connection is not used again: less than what servers and NATs allow.
pub const H1_IDLE_SECS_MAX: u64 = 30;
/// Read and write buffer of an upstream HTTP/1.1 connection, and so its largest head, in bytes.
pub const H1_UPSTREAM_BUFFER_BYTES_MAX: usize = 16 * 1024;
/// Upgraded upstream connections (exec, port-forward) at once, over all servers; then they are refused.
pub const UPGRADES_MAX: usize = 64;
/// Of a request's body, kept so that it can be sent again when the server says that it did not look at it, in bytes.
pub const REPLAY_BYTES_MAX: usize = 64 * 1024;
/// The same over all requests, in bytes: beyond, a body is not kept, and such a request fails as not sent.
pub const REPLAY_BYTES_TOTAL_MAX: usize = 1024 * 1024;
/// Times that one request is sent to one server, all refusals included: Go's client tries as often.
pub const ATTEMPTS_MAX: u32 = 6;
/// Of them, those that were refused over HTTP/2 before the request goes by HTTP/1.1.
pub const HTTP2_REFUSALS_MAX: u32 = 3;
/// TCP keepalive towards the API server, in seconds: idle before the first probe, then between two.
pub const UPSTREAM_KEEPALIVE_IDLE_SECS: u32 = 10;
/// See [`UPSTREAM_KEEPALIVE_IDLE_SECS`].
pub const UPSTREAM_KEEPALIVE_INTERVAL_SECS: u32 = 5;
/// Milliseconds that sent bytes may stay unacknowledged (TCP_USER_TIMEOUT): the backstop behind PING.
pub const UPSTREAM_USER_TIMEOUT_MILLIS: u32 = 15_000;

// ---- admin

/// Agents of which is shown what is kept: a node has a dozen, the dearest come first.
pub const AGENTS_SHOWN_MAX: usize = 64;
/// Bytes of all lines that show it, in RAM: some 2000 collections, which is as many as there are.
pub const INDEX_BYTES_MAX: usize = 256 * 1024;
/// Characters of one word in such a line. Namespaces have up to 63; a longer selector is cut.
pub const INDEX_WORD_CHARS_MAX: usize = 128;
/// Characters to which a column is filled up: one long selector shall not push all others out of sight.
pub const INDEX_COLUMN_CHARS_MAX: usize = 40;
/// How often it is looked whether there is something else to show (flash.md 3.12).
pub const INDEX_EVERY: Duration = Duration::from_secs(10);
/// Folders looked at for what an earlier hub has left: more than it can have left.
pub const RUN_ENTRIES_MAX: usize = 4 * AGENTS_SHOWN_MAX;
/// Links in `cache_dir`. They stay for ever, and each is a write to flash.
pub const LINKS_MAX: usize = 64;
/// Of them, those of agents that `*` alone let in: whoever invents names gets no more.
pub const LINKS_WILD_MAX: usize = LINKS_MAX / 2;
/// When links that could not be made are tried again.
pub const LINK_RETRY_EVERY: Duration = Duration::from_secs(60);

/// Devices whose wear is shown: a machine has one or two.
pub const FLASH_DEVICES_MAX: usize = 16;

/// Connections to the control socket: a person or two with a command each.
pub const CONTROL_CONNECTIONS_MAX: usize = 4;
/// When a control socket that could not be opened is tried again.
pub const CONTROL_RETRY_EVERY: Duration = Duration::from_secs(60);

// ---- hub

/// How long the end waits for the flash. More than an SD card's longest pause; less than what supervisors grant.
pub const FLUSH_WAIT: Duration = Duration::from_secs(5);
/// Descriptors beside two for each client (its socket and perhaps an upgraded one): listeners, servers, files.
pub const DESCRIPTORS_SPARE: u32 = 256;
/// Threads that resolve names and write the pairs that the cluster has issued, alive for a second after.
pub const RESOLVER_THREADS: usize = 2;
/// How often it is looked whether files of certificates and keys are others. A renewal has hours to be noticed; a person
/// who has put a file in its place has seconds.
pub const PAPERS_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the hub looks whether it has been told the cluster IP of `default/kubernetes`.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Connections to the admin listener.
pub const ADMIN_CONNECTIONS_MAX: usize = 16;
/// Prometheus comes again.
pub const ADMIN_CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);

// ---- store

/// Bytes of an item's key: a namespace and a name, 253 each, and room for what else an API server allows.
pub const STORE_KEY_BYTES_MAX: usize = 1024;
/// Bytes of what the writer wants to know again of a collection: a type, twice a [`TYPE_NAME_BYTES_MAX`].
pub const STORE_NOTE_BYTES_MAX: usize = 1024;
/// Bytes of a version: a `resourceVersion` is a number of at most 20 digits, of other servers a short word.
pub const STORE_VERSION_BYTES_MAX: usize = 128;
/// Bytes of values of a collection that is told in the order of its keys: it is held in memory for that.
pub const STORE_SORTED_BYTES_MAX: usize = 128 * 1024;
/// Bytes of records in one frame: the largest object and what goes with it.
pub const RING_FRAME_RAW_BYTES_MAX: usize = OBJECT_BYTES_MAX + 64 * 1024;
/// Bytes of records that are written out of turn: more would not share a frame ([`RING_PACK_BYTES`]); less compresses
/// worse: with 32 KiB, sixteen updates at a time of 3 KB each cost 1230 bytes apiece, with this 910.
pub const RING_FLUSH_BYTES: usize = 60 * 1024;
/// Bytes of records that share a frame: LZ4 looks no further back.
pub const RING_PACK_BYTES: usize = 64 * 1024;
/// Bytes of records that may wait where the day's budget does not let them be written; then collections freeze.
pub const RING_WAITING_BYTES_MAX: usize = 128 * 1024;
/// Late changes wait so many times longer than others, and mere versions so many times (30 s and 10 min of 2 s).
pub const RING_LATE_FACTOR: u32 = 15;
/// See [`RING_LATE_FACTOR`].
pub const RING_VERSION_FACTOR: u32 = 300;
/// What the budget refused is tried again after this.
pub const RING_BUDGET_RETRY: Duration = Duration::from_secs(60);
/// With less than this left of the day's bytes nothing is written: a frame and what reclaim may add to it.
pub const RING_BUDGET_LEAST_BYTES: u64 = 64 * 1024;
/// Segments that are kept free: one to go on in, and two for what reclaim carries, where an object that nearly fills one
/// stands between smaller ones.
pub const RING_FREE_SEGMENTS: usize = 3;
/// Fewer segments leave nothing to live in beside the head and the free ones.
pub const RING_SEGMENTS_MIN: u16 = 8;
/// More files than any ring has, also while it changes from many small ones to few large ones.
pub const RING_SEGMENTS_MAX: u16 = 4096;
/// Bytes of one. The smallest takes a frame of 24 KiB; a larger one than these takes long to carry on.
pub const RING_SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 32 * 1024..=1024 * 1024;
/// Up to this cap a ring has 32 segments, above 64 (flash.md 3.1).
pub const RING_SMALL_BYTES: u64 = 8 << 20;
/// What a record takes beside its value: key, ids, lengths.
pub const RING_RECORD_BYTES: u64 = 48;
/// Bytes of descriptions and commit markers after which no more are carried in one frame: with a last one of the largest
/// name and note it fits into the smallest segment.
pub const RING_MARKERS_PACK_BYTES: usize = 8 * 1024;
const _: () = assert!(
    RING_MARKERS_PACK_BYTES
        + STORE_NAME_BYTES_MAX
        + STORE_NOTE_BYTES_MAX
        + STORE_VERSION_BYTES_MAX
        + 128
        < 6 * 4096 - 128
);
/// Collections, or items of a fill, that one frame says to be gone: few bytes each, and so few that they can be counted.
pub const RING_DROPS_PER_FRAME: usize = 1024;
/// Items adopted between two looks at the room that is left.
pub const RING_ADOPT_RECORDS: usize = 256;
/// Bytes that may wait for the store's thread while the flash is slow. Over it a list is not kept, the client does not wait
/// (design.md rule 4); and what is not kept may not come again for hours, so this is a quarter of the cap, within these.
/// Compressed that is all that a node lists at its start, while an SD card pauses for seconds.
pub const RING_QUEUE_BYTES: std::ops::RangeInclusive<usize> = 1024 * 1024..=4 * 1024 * 1024;
/// Of them, those above which what comes is compressed: a thread that keeps up is spared it.
pub const RING_QUEUE_PLAIN_BYTES: usize = 128 * 1024;
/// What a message takes beside what it brings.
pub const RING_MESSAGE_BYTES: usize = 256;
/// Bytes of a list's items that go to the thread together: fewer wake-ups, and neighbours that compress together.
pub const RING_BATCH_BYTES: usize = 16 * 1024;
/// The largest that is compressed before it goes there: a lone object of up to 2 MiB is not worth a second buffer.
pub const RING_BATCH_COMPRESSED_BYTES_MAX: usize = 256 * 1024;
/// Stack of the store's thread: frames lie on the heap.
pub const RING_STACK_BYTES: usize = 256 * 1024;
/// With nothing to do the thread wakes this often.
pub const RING_IDLE: Duration = Duration::from_secs(3600);
/// A busy thread tells its state this often, an idle one at once.
pub const RING_PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// How long the start waits for the ring: one read of the largest default ring on slow NAND, and making it at first.
pub const RING_OPEN_WAIT: Duration = Duration::from_secs(10);

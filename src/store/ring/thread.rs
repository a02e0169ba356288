//! The one thread that owns the ring: takes messages in their order, and writes when something is due.

use super::batch::Batch;
use super::collection::Why;
use super::engine::{Counts, Engine, Moment, Notice};
use super::fill::Label;
use super::log::Written;
use super::media::Media;
use super::read::{Item, Snapshot};
use super::record::{Record, Records, Wear};
use super::recover::{Anew, OpenError};
use super::report::SegmentState;
use crate::limits;
use crate::store::sorted::SortedMap;
use crate::store::{Change, Class};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What the thread is asked for. Numbers of collections and fills are the asker's.
pub enum Message {
    Put {
        fill: FillHead,
        batch: Batch,
    },
    Remove {
        fill: FillHead,
        key: Box<str>,
    },
    Commit {
        fill: FillHead,
        batch: Batch,
        id: u64,
        /// Which of the asker's commits of this collection it is.
        stamp: u64,
        name: Box<[u8]>,
        note: Box<[u8]>,
        version: Box<str>,
    },
    Abort {
        fill: u64,
    },
    Apply {
        id: u64,
        changes: Vec<OwnedChange>,
        version: Box<str>,
    },
    Drop {
        id: u64,
    },
    One {
        id: u64,
        key: Box<str>,
        reply: oneshot::Sender<Option<OneRead>>,
    },
    View {
        id: u64,
        reply: oneshot::Sender<Option<Snapshot>>,
    },
    Read {
        snapshot: Snapshot,
        reply: oneshot::Sender<Option<(Vec<Item>, Snapshot)>>,
    },
    Segments {
        reply: oneshot::Sender<Vec<SegmentState>>,
    },
    Flush {
        done: Option<oneshot::Sender<()>>,
    },
}

/// What begins a fill, with its first message.
#[derive(Debug, Clone, Copy)]
pub struct FillHead {
    pub number: u64,
    pub class: Class,
    pub replaces: Option<u64>,
}

pub struct NewItem {
    pub key: Box<str>,
    pub value: Bytes,
    pub tag: u32,
}

pub enum OwnedChange {
    Put(NewItem),
    Delete(Box<str>),
}

pub struct OneRead {
    pub version: Box<str>,
    pub note: Box<[u8]>,
    pub value: Option<Bytes>,
}

/// What both sides see.
pub struct Desk {
    queue_bytes_max: usize,
    /// Bytes of messages that were not taken yet.
    queued: AtomicUsize,
    told: Mutex<Vec<Told>>,
    published: Mutex<Published>,
}

/// What the asker must know of its collections and fills.
pub enum Told {
    Frozen {
        id: u64,
        /// Of the last commit that the thread had seen.
        stamp: u64,
        version: Box<str>,
        why: Why,
    },
    Gone {
        id: u64,
        stamp: u64,
    },
    FillFailed {
        fill: u64,
        why: Why,
    },
}

/// The ring's state, as of a moment ago.
#[derive(Debug, Clone, Default)]
pub struct Published {
    /// Objects and bytes of each collection.
    pub sizes: SortedMap<u64, (usize, usize)>,
    /// Why collections do not move.
    pub frozen: SortedMap<u64, Why>,
    pub stats: Stats,
}

#[derive(Debug, Clone, Default)]
pub struct Stats {
    pub live_bytes: u64,
    pub file_bytes: u64,
    pub wear: Wear,
    pub daily_bytes: u64,
    pub counts: Counts,
    /// Bytes of keys and values that were offered since the process began.
    pub payload_bytes: u64,
    /// What was written for them.
    pub log: Written,
    /// How long it took to open it.
    pub opening: Duration,
    /// Why nothing is written any more.
    pub off: Option<String>,
}

/// What was there when the ring was opened.
pub struct Opened {
    pub anew: Option<Anew>,
    /// There was no room for as much as it may take.
    pub is_short: bool,
    pub collections: Vec<OpenedCollection>,
    /// Collections of which something could not be read: they are not told.
    pub broken: usize,
    pub took: Duration,
}

pub struct OpenedCollection {
    pub id: u64,
    pub class: Class,
    pub name: Box<[u8]>,
    pub version: Box<str>,
    /// Unix seconds at which it was last known to be current; 0: unknown.
    pub refreshed: u64,
}

impl Desk {
    /// For a ring of at most `bytes_max`.
    pub fn new(bytes_max: u64) -> Desk {
        let (least, most) = limits::RING_QUEUE_BYTES.into_inner();
        Desk {
            queue_bytes_max: (bytes_max as usize / 4).clamp(least, most),
            queued: AtomicUsize::new(0),
            told: Mutex::default(),
            published: Mutex::default(),
        }
    }

    /// Room for so many bytes more, if there is any. A lone big one always has some. Whoever is worth less leaves some to
    /// the others: nobody that `*` alone let in keeps the hub from what the kubelet is told.
    pub fn reserve(&self, class: Class, bytes: usize) -> bool {
        let quarter = self.queue_bytes_max / 4;
        let most = match class {
            0 => 2 * quarter,
            1 => 3 * quarter,
            _ => self.queue_bytes_max,
        };
        let queued = self.queued.load(Ordering::Relaxed);
        let fits = queued == 0 || queued + bytes <= most;
        if fits {
            self.queued.fetch_add(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// True if so much waits that it is worth compressing.
    pub fn is_behind(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > limits::RING_QUEUE_PLAIN_BYTES
    }

    /// What was reserved was taken.
    fn release(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn take_told(&self) -> Vec<Told> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *told)
    }

    fn tell(&self, told: Told) {
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(told);
    }

    /// Looks at the state.
    pub fn look<T>(&self, at: impl FnOnce(&Published) -> T) -> T {
        at(&self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }
}

/// The thread's side.
pub struct Keeper<M> {
    engine: Engine<M>,
    desk: Arc<Desk>,
    started: Instant,
    clock: Box<dyn Fn() -> u64 + Send>,
    stamps: HashMap<u64, u64>,
    /// Of fills that are known here.
    fills: HashMap<u64, bool>,
    payload_bytes: u64,
    opening: Duration,
    off_told: bool,
}

/// Opens the ring, tells how that went, and serves until nobody can ask any more. `clock`: unix seconds, or 0.
pub fn run<M: Media>(
    open: impl FnOnce(Moment) -> Result<(Engine<M>, Option<Anew>), OpenError>,
    clock: Box<dyn Fn() -> u64 + Send>,
    receiver: &Receiver<Message>,
    desk: Arc<Desk>,
    opened: oneshot::Sender<Result<Opened, OpenError>>,
) {
    let started = Instant::now();
    let now = Moment {
        up: Duration::ZERO,
        unix: clock(),
    };
    let (mut engine, anew) = match open(now) {
        Ok(opened) => opened,
        Err(error) => {
            let _ = opened.send(Err(error));
            return;
        }
    };
    let broken = std::mem::take(&mut engine.broken).len();
    let collections = (engine.collections())
        .map(|(id, c)| OpenedCollection {
            id,
            class: c.class,
            name: c.name.clone(),
            version: c.version.clone(),
            refreshed: c.refreshed,
        })
        .collect();
    let mut keeper = Keeper {
        engine,
        desk,
        started,
        clock,
        stamps: HashMap::new(),
        fills: HashMap::new(),
        payload_bytes: 0,
        opening: started.elapsed(),
        off_told: false,
    };
    keeper.publish();
    keeper.tell_off();
    let _ = opened.send(Ok(Opened {
        anew,
        is_short: keeper.engine.is_short,
        collections,
        broken,
        took: keeper.opening,
    }));
    keeper.serve(receiver);
}

impl<M: Media> Keeper<M> {
    fn serve(&mut self, receiver: &Receiver<Message>) {
        let mut published = Instant::now();
        loop {
            let message = match receiver.try_recv() {
                Ok(message) => Some(message),
                // Nothing to do: what happened is published, and what is due waited for.
                Err(_) => {
                    self.publish();
                    published = Instant::now();
                    let wait = self
                        .engine
                        .due()
                        .map(|due| due.saturating_sub(self.started.elapsed()));
                    match receiver.recv_timeout(wait.unwrap_or(limits::RING_IDLE)) {
                        Ok(message) => Some(message),
                        Err(RecvTimeoutError::Timeout) => None,
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
            };
            self.engine.set_now(Moment {
                up: self.started.elapsed(),
                unix: (self.clock)(),
            });
            if let Some(message) = message {
                let bytes = message.bytes();
                self.take(message);
                self.desk.release(bytes);
            }
            self.engine.tick();
            self.tell();
            if published.elapsed() > limits::RING_PUBLISH_EVERY {
                self.publish();
                published = Instant::now();
            }
        }
        self.engine.flush();
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Put { fill, batch } => self.put(fill, batch),
            Message::Remove { fill, key } => {
                self.begin(fill);
                self.engine.remove(fill.number, &key);
            }
            Message::Commit {
                fill,
                batch,
                id,
                stamp,
                name,
                note,
                version,
            } => {
                self.put(fill, batch);
                let label = Label {
                    class: fill.class,
                    name: &name,
                    note: &note,
                    version: &version,
                };
                let done = self.engine.commit(fill.number, id, &label);
                self.fills.remove(&fill.number);
                self.stamps.insert(id, stamp);
                if let Err(why) = done {
                    self.tell_state(id, why);
                }
            }
            Message::Abort { fill } => {
                self.fills.remove(&fill);
                self.engine.abort(fill);
            }
            Message::Apply {
                id,
                changes,
                version,
            } => {
                self.payload_bytes += changes.iter().map(OwnedChange::payload).sum::<u64>();
                let changes: Vec<Change<'_>> = (changes.iter())
                    .map(|change| match change {
                        OwnedChange::Put(item) => Change::Put {
                            key: &item.key,
                            value: &item.value,
                            tag: item.tag,
                        },
                        OwnedChange::Delete(key) => Change::Delete(key),
                    })
                    .collect();
                // The engine itself tells what becomes of the collection.
                let _ = self.engine.apply(id, &changes, &version);
            }
            Message::Drop { id } => {
                self.stamps.remove(&id);
                self.engine.drop_collection(id);
            }
            Message::One { id, key, reply } => {
                let value = self.engine.one(id, &key);
                let read = value.ok().and_then(|value| {
                    let collection = self.engine.collection(id)?;
                    Some(OneRead {
                        version: collection.version.clone(),
                        note: collection.note.clone(),
                        value,
                    })
                });
                let _ = reply.send(read);
            }
            Message::View { id, reply } => {
                let _ = reply.send(self.engine.snapshot(id));
            }
            Message::Read {
                mut snapshot,
                reply,
            } => {
                // Who has left needs no reading.
                if !reply.is_closed() {
                    let some = self.engine.read_some(&mut snapshot);
                    let _ = reply.send(some.ok().map(|some| (some, snapshot)));
                }
            }
            Message::Segments { reply } => {
                let _ = reply.send(self.engine.segments());
            }
            Message::Flush { done } => {
                self.engine.flush();
                if let Some(done) = done {
                    // Whoever waits may look whether it was written.
                    self.publish();
                    let _ = done.send(());
                }
            }
        }
    }

    fn begin(&mut self, fill: FillHead) {
        self.fills.entry(fill.number).or_insert_with(|| {
            self.engine.begin(fill.number, fill.class, fill.replaces);
            true
        });
    }

    fn put(&mut self, fill: FillHead, batch: Batch) {
        self.begin(fill);
        if self.fills.get(&fill.number) != Some(&true) {
            return;
        }
        if let Err(why) = self.put_all(fill.number, batch) {
            self.fills.insert(fill.number, false);
            self.engine.abort(fill.number);
            self.desk.tell(Told::FillFailed {
                fill: fill.number,
                why,
            });
        }
    }

    fn put_all(&mut self, fill: u64, batch: Batch) -> Result<(), Why> {
        let records = batch.open().ok_or(Why::Rotten)?;
        for record in Records(&records) {
            let Ok(Record::Put(item)) = record else {
                return Err(Why::Rotten);
            };
            self.payload_bytes += (item.key.len() + item.value.len()) as u64;
            let value = Bytes::copy_from_slice(item.value);
            self.engine.put(fill, item.key, value, item.tag)?;
        }
        Ok(())
    }

    /// Hands on what the engine has to say.
    fn tell(&mut self) {
        for notice in self.engine.take_notices() {
            match notice {
                Notice::Frozen { id, version, why } => self.desk.tell(Told::Frozen {
                    id,
                    stamp: self.stamp(id),
                    version,
                    why,
                }),
                Notice::Gone { id, .. } => {
                    let stamp = self.stamp(id);
                    self.stamps.remove(&id);
                    self.desk.tell(Told::Gone { id, stamp });
                }
            }
        }
        self.tell_off();
    }

    fn tell_off(&mut self) {
        if let Some(off) = self.engine.off()
            && !self.off_told
        {
            log::error!("cache_dir: nothing is kept any more until the next start: {off}");
            self.off_told = true;
        }
    }

    fn stamp(&self, id: u64) -> u64 {
        self.stamps.get(&id).copied().unwrap_or(0)
    }

    /// A commit was refused: the collection is what it was.
    fn tell_state(&mut self, id: u64, why: Why) {
        let stamp = self.stamp(id);
        self.desk.tell(match self.engine.collection(id) {
            Some(collection) => Told::Frozen {
                id,
                stamp,
                version: collection.version.clone(),
                why,
            },
            None => Told::Gone { id, stamp },
        });
    }

    fn publish(&mut self) {
        let stats = Stats {
            payload_bytes: self.payload_bytes,
            opening: self.opening,
            ..self.engine.stats()
        };
        let sizes = (self.engine.collections())
            .map(|(id, c)| (id, (c.table.len(), c.bytes as usize)))
            .collect();
        let frozen = (self.engine.collections())
            .filter_map(|(id, c)| Some((id, c.frozen?)))
            .collect();
        let mut published = (self.desk.published.lock()).unwrap_or_else(PoisonError::into_inner);
        *published = Published {
            sizes,
            frozen,
            stats,
        };
    }
}

impl Message {
    /// What it was given a place for.
    fn bytes(&self) -> usize {
        match self {
            Message::Put { batch, .. } | Message::Commit { batch, .. } => batch.bytes(),
            Message::Apply { changes, .. } => changes.iter().map(OwnedChange::bytes).sum(),
            _ => 0,
        }
    }
}

impl NewItem {
    /// What it takes while it waits.
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.len() + size_of::<NewItem>()
    }
}

impl OwnedChange {
    pub fn bytes(&self) -> usize {
        match self {
            OwnedChange::Put(item) => item.bytes(),
            OwnedChange::Delete(key) => key.len() + size_of::<NewItem>(),
        }
    }

    /// Bytes of key and value.
    fn payload(&self) -> u64 {
        match self {
            OwnedChange::Put(item) => (item.key.len() + item.value.len()) as u64,
            OwnedChange::Delete(_) => 0,
        }
    }
}

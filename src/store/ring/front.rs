//! The ring as the rest of the program sees it: nothing here waits for the flash. What is to be kept is offered to the
//! thread over a bounded queue; over the bound it is refused, and the collection stays at the version that it has.

use super::batch::{self, Batch};
use super::collection::Why;
use super::engine::Settings;
use super::engine::{Engine, Moment};
use super::files::Files;
use super::read::Snapshot;
use super::recover::OpenError;
use super::report::SegmentState;
use super::thread::{
    self, Desk, FillHead, Message, NewItem, OneRead, Opened, OwnedChange, Stats, Told,
};
use crate::limits;
use crate::store::{Change, Class, CollectionId, NotKept, Recovered, Totals};
use bytes::Bytes;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// The asker's side of the ring.
pub struct Ring {
    sender: Sender<Message>,
    desk: Arc<Desk>,
    collections: HashMap<CollectionId, Known>,
    /// Fills that the thread has given up, until the asker hears of it.
    failed: HashMap<u64, NotKept>,
    next: u64,
    bytes_max: u64,
    _thread: JoinHandle<()>,
}

/// What is known of a collection without asking.
struct Known {
    class: Class,
    version: Box<str>,
    stamp: u64,
    frozen: Option<NotKept>,
}

/// A fill: what was put into it and not sent yet.
pub struct Fill {
    head: FillHead,
    records: Vec<u8>,
    sent: bool,
}

/// Numbers of collections of this run: above all that a log can hold.
const FIRST_ID: u64 = 1 << 48;

impl Ring {
    /// Starts the thread, which opens the ring in `directory` and then tells through the receiver.
    pub fn start(
        directory: &Path,
        secret: Vec<u8>,
        settings: Settings,
        clock: Box<dyn Fn() -> u64 + Send>,
    ) -> io::Result<(Ring, oneshot::Receiver<Result<Opened, OpenError>>)> {
        let (sender, receiver) = channel();
        let (opened, when_opened) = oneshot::channel();
        let bytes_max = settings.bytes_max;
        let desk = Arc::new(Desk::new(bytes_max));
        let (files, cannot_write) = match Files::locked(directory) {
            // Then no other hub can write it either, and what is there can be told.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                (Files::unlocked(directory), Some(error))
            }
            locked => (locked?, None),
        };
        let for_thread = Arc::clone(&desk);
        let open = move |now: Moment| {
            let (mut engine, anew) = Engine::open(files, &secret, settings, now)?;
            if let Some(error) = cannot_write {
                engine.fail("opening", &error);
            }
            Ok((engine, anew))
        };
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .stack_size(limits::RING_STACK_BYTES)
            .spawn(move || thread::run(open, clock, &receiver, for_thread, opened))?;
        let ring = Ring {
            sender,
            desk,
            collections: HashMap::new(),
            failed: HashMap::new(),
            next: FIRST_ID,
            bytes_max,
            _thread: thread,
        };
        Ok((ring, when_opened))
    }

    /// Takes note of what was there. `now`: unix seconds, or 0.
    pub fn take_over(&mut self, opened: &Opened, now: u64) -> Vec<Recovered> {
        let recovered = opened.collections.iter().map(|c| {
            let id = CollectionId(c.id);
            let known = Known {
                class: c.class,
                version: c.version.clone(),
                stamp: 0,
                frozen: None,
            };
            self.collections.insert(id, known);
            let age = (c.refreshed > 0 && now >= c.refreshed)
                .then(|| Duration::from_secs(now - c.refreshed));
            Recovered {
                id,
                name: c.name.to_vec(),
                class: c.class,
                age,
            }
        });
        recovered.collect()
    }

    /// Hears what the thread has told since.
    pub fn settle(&mut self) {
        for told in self.desk.take_told() {
            match told {
                Told::Frozen {
                    id,
                    stamp,
                    version,
                    why,
                } => {
                    let known = self.collections.get_mut(&CollectionId(id));
                    // A commit that is on its way comes after it.
                    if let Some(known) = known.filter(|known| known.stamp <= stamp) {
                        known.version = version;
                        known.frozen = Some(match why {
                            Why::Off => NotKept::Off,
                            _ => NotKept::Frozen,
                        });
                    }
                }
                Told::Gone { id, stamp } => {
                    let id = CollectionId(id);
                    if (self.collections.get(&id)).is_some_and(|known| known.stamp <= stamp) {
                        self.collections.remove(&id);
                    }
                }
                Told::FillFailed { fill, why } => {
                    self.failed.insert(fill, not_kept(why));
                }
            }
        }
    }

    fn send(&self, message: Message) -> Result<(), NotKept> {
        self.sender.send(message).map_err(|_| NotKept::Off)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn begin(&mut self, class: Class, replaces: Option<CollectionId>) -> Fill {
        Fill {
            head: FillHead {
                number: self.number(),
                class,
                replaces: replaces.map(|id| id.0),
            },
            records: Vec::new(),
            sent: false,
        }
    }

    pub fn put(
        &mut self,
        fill: &mut Fill,
        key: &str,
        value: &[u8],
        tag: u32,
    ) -> Result<(), NotKept> {
        self.settle();
        if let Some(why) = self.failed.get(&fill.head.number) {
            return Err(*why);
        }
        if key.len() > limits::STORE_KEY_BYTES_MAX || value.len() > limits::RING_FRAME_RAW_BYTES_MAX
        {
            return Err(NotKept::NoRoom);
        }
        batch::add(key, value, tag, &mut fill.records);
        if fill.records.len() > limits::RING_BATCH_BYTES {
            self.send_items(fill)?;
        }
        Ok(())
    }

    fn send_items(&mut self, fill: &mut Fill) -> Result<(), NotKept> {
        let batch = self.batch(fill)?;
        fill.sent = true;
        self.send(Message::Put {
            fill: fill.head,
            batch,
        })
    }

    /// What was put and not sent yet, with a place in the queue.
    fn batch(&self, fill: &mut Fill) -> Result<Batch, NotKept> {
        let records = std::mem::take(&mut fill.records);
        let batch = Batch::new(records, self.desk.is_behind());
        match self.desk.reserve(fill.head.class, batch.bytes()) {
            true => Ok(batch),
            false => Err(NotKept::Behind),
        }
    }

    pub fn remove(&mut self, fill: &mut Fill, key: &str) {
        // After what was put before, and rare.
        let sent = self.send_items(fill).and_then(|()| {
            self.send(Message::Remove {
                fill: fill.head,
                key: key.into(),
            })
        });
        if let Err(why) = sent {
            self.failed.insert(fill.head.number, why);
        }
    }

    pub fn commit(
        &mut self,
        mut fill: Fill,
        replaces: Option<CollectionId>,
        name: &[u8],
        version: &str,
        note: &[u8],
    ) -> Result<CollectionId, NotKept> {
        self.settle();
        if let Some(why) = self.failed.remove(&fill.head.number) {
            self.abort(fill);
            return Err(why);
        }
        if self.desk.look(|published| published.stats.off.is_some()) {
            self.abort(fill);
            return Err(NotKept::Off);
        }
        let batch = match self.batch(&mut fill) {
            Ok(batch) => batch,
            Err(why) => {
                self.abort(fill);
                return Err(why);
            }
        };
        let id = replaces.unwrap_or_else(|| CollectionId(self.number()));
        let stamp = self.number();
        self.send(Message::Commit {
            fill: fill.head,
            batch,
            id: id.0,
            stamp,
            name: name.into(),
            note: note.into(),
            version: version.into(),
        })?;
        let known = Known {
            class: fill.head.class,
            version: version.into(),
            stamp,
            frozen: None,
        };
        self.collections.insert(id, known);
        Ok(id)
    }

    pub fn abort(&mut self, fill: Fill) {
        self.failed.remove(&fill.head.number);
        if fill.sent {
            let fill = fill.head.number;
            let _ = self.send(Message::Abort { fill });
        }
    }

    pub fn apply(
        &mut self,
        id: CollectionId,
        changes: &[Change<'_>],
        version: &str,
    ) -> Result<(), NotKept> {
        self.settle();
        let known = self.collections.get_mut(&id).ok_or(NotKept::Gone)?;
        if let Some(why) = known.frozen {
            return Err(why);
        }
        let changes: Vec<OwnedChange> = (changes.iter())
            .map(|change| match change {
                Change::Put { key, value, tag } => OwnedChange::Put(NewItem {
                    key: (*key).into(),
                    value: Bytes::copy_from_slice(value),
                    tag: *tag,
                }),
                Change::Delete(key) => OwnedChange::Delete((*key).into()),
            })
            .collect();
        let bytes = changes.iter().map(OwnedChange::bytes).sum();
        if !self.desk.reserve(known.class, bytes) {
            // What comes later does not follow on what is there.
            known.frozen = Some(NotKept::Frozen);
            return Err(NotKept::Behind);
        }
        known.version = version.into();
        self.send(Message::Apply {
            id: id.0,
            changes,
            version: version.into(),
        })
    }

    pub fn drop_collection(&mut self, id: CollectionId) {
        if self.collections.remove(&id).is_some() {
            let _ = self.send(Message::Drop { id: id.0 });
        }
    }

    pub fn contains(&self, id: CollectionId) -> bool {
        self.collections.contains_key(&id)
    }

    pub fn version(&self, id: CollectionId) -> Option<&str> {
        self.collections.get(&id).map(|known| &*known.version)
    }

    /// Objects and bytes, as of a moment ago.
    pub fn size(&self, id: CollectionId) -> Option<(usize, usize)> {
        self.collections.get(&id)?;
        Some(
            self.desk
                .look(|p| p.sizes.get(&id.0).copied())
                .unwrap_or_default(),
        )
    }

    /// True if the collection does not follow what happens any more.
    pub fn is_frozen(&self, id: CollectionId) -> bool {
        self.collections
            .get(&id)
            .is_some_and(|known| known.frozen.is_some())
    }

    pub fn totals(&self) -> Totals {
        self.desk.look(|published| Totals {
            bytes: published.stats.live_bytes as usize,
            bytes_max: self.bytes_max as usize,
            collections: published.sizes.len(),
            objects: published.sizes.values().map(|(objects, _)| objects).sum(),
            evicted: published.stats.counts.evicted,
        })
    }

    pub fn stats(&self) -> Stats {
        self.desk.look(|published| published.stats.clone())
    }

    /// One item, through the thread.
    pub fn one(&mut self, id: CollectionId, key: &str) -> oneshot::Receiver<Option<OneRead>> {
        let (reply, read) = oneshot::channel();
        let _ = self.send(Message::One {
            id: id.0,
            key: key.into(),
            reply,
        });
        read
    }

    /// The present version, through the thread.
    pub fn view(&mut self, id: CollectionId) -> (oneshot::Receiver<Option<Snapshot>>, Reader) {
        let (reply, read) = oneshot::channel();
        let _ = self.send(Message::View { id: id.0, reply });
        (read, Reader(self.sender.clone()))
    }

    /// Asks for everything that waits to be written.
    pub fn flush(&mut self) -> oneshot::Receiver<()> {
        let (done, when_done) = oneshot::channel();
        let _ = self.send(Message::Flush { done: Some(done) });
        when_done
    }

    /// What is where.
    pub fn segments(&self) -> oneshot::Receiver<Vec<SegmentState>> {
        let (reply, segments) = oneshot::channel();
        let _ = self.send(Message::Segments { reply });
        segments
    }
}

/// Reads snapshots through the thread.
#[derive(Clone)]
pub struct Reader(Sender<Message>);

impl Reader {
    /// The next items of the snapshot, and it back, moved on. `None`: they can no longer be read.
    pub async fn read(&self, snapshot: Snapshot) -> Option<(Vec<super::read::Item>, Snapshot)> {
        let (reply, read) = oneshot::channel();
        self.0.send(Message::Read { snapshot, reply }).ok()?;
        read.await.ok()?
    }
}

fn not_kept(why: Why) -> NotKept {
    match why {
        Why::Off => NotKept::Off,
        Why::Overtaken => NotKept::Gone,
        Why::TooLarge | Why::NoRoom | Why::Budget | Why::Rotten => NotKept::NoRoom,
    }
}

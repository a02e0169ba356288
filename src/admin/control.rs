//! What only the machine's owner may ask, over a socket in `run_dir`: what is kept, object by object, and that some of it
//! be forgotten. Secrets are among it, so never over TCP, where every local user is.

use super::index::class_word;
use super::kept::{self, Row, SOCKET};
use super::report;
use super::serve::{Door, serve};
use crate::access::hex::from_hex;
use crate::hub::Shared;
use crate::limits;
use crate::reply::script::{BrokenOff, Pen, Script};
use crate::reply::{self, Body};
use crate::store::CollectionId;
use crate::sys::file::{FileError, make_private_directory, own_uid};
use crate::sys::wire::Wire;
use bytes::Bytes;
use http::{Method, Request, Response};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Keeps the socket open for as long as the hub runs.
pub async fn keep(shared: Rc<Shared>) {
    let run_dir = shared.config.borrow().run_dir.clone();
    let permits = Arc::new(Semaphore::new(limits::CONTROL_CONNECTIONS_MAX));
    loop {
        let error = match open(&run_dir) {
            Ok(socket) => {
                shared.tell_of_control(None);
                accept(&shared, &socket.listener, &permits).await.into()
            }
            Err(error) => error,
        };
        shared.tell_of_control(Some(format!(
            "run_dir: {error}; `edge-hub cache` cannot ask the hub"
        )));
        tokio::time::sleep(limits::CONTROL_RETRY_EVERY).await;
    }
}

/// Takes connections until that fails.
async fn accept(
    shared: &Rc<Shared>,
    listener: &UnixListener,
    permits: &Arc<Semaphore>,
) -> io::Error {
    loop {
        // Who finds no place waits in the kernel's queue.
        let Ok(permit) = Arc::clone(permits).acquire_owned().await else {
            return io::ErrorKind::Other.into();
        };
        match listener.accept().await {
            Ok((stream, _)) if is_owner(&stream) => {
                let shared = Rc::clone(shared);
                tokio::task::spawn_local(async move {
                    serve(shared, Wire::Unix(stream), Door::Control).await;
                    drop(permit);
                });
            }
            Ok(_) => {
                log::warn!("control: somebody else than root and the hub's own user was let go")
            }
            Err(error) => return error,
        }
    }
}

/// Root, or who the hub runs as. The mode of the socket says the same, where nobody changes it.
fn is_owner(stream: &UnixStream) -> bool {
    let uid = stream.peer_cred().map(|peer| peer.uid());
    uid.is_ok_and(|uid| uid == 0 || uid == own_uid())
}

/// Why there is no socket.
enum ControlError {
    File(FileError),
    Io(PathBuf, io::Error),
    /// Another hub has the folder, or something lies there that no hub made.
    Taken(PathBuf),
}

impl From<io::Error> for ControlError {
    fn from(error: io::Error) -> Self {
        ControlError::Io(PathBuf::from(SOCKET), error)
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlError::File(error) => error.fmt(f),
            ControlError::Io(path, error) => write!(f, "{}: {error}", path.display()),
            ControlError::Taken(path) => write!(
                f,
                "{} is another hub's, or no socket; give each hub a run_dir of its own",
                path.display()
            ),
        }
    }
}

/// The listener, and its file.
struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What a hub that was killed has left is replaced; what one that runs has is not.
fn open(run_dir: &Path) -> Result<Socket, ControlError> {
    make_private_directory(run_dir).map_err(ControlError::File)?;
    let path = run_dir.join(SOCKET);
    if let Ok(there) = fs::symlink_metadata(&path) {
        if !there.file_type().is_socket() || Blocking::connect(&path).is_ok() {
            return Err(ControlError::Taken(path));
        }
        let _ = fs::remove_file(&path);
    }
    let opened = UnixListener::bind(&path).and_then(|listener| {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    });
    match opened {
        Ok(listener) => Ok(Socket { listener, path }),
        Err(error) => Err(ControlError::Io(path, error)),
    }
}

/// One request of the machine's owner.
pub fn answer<B>(shared: &Rc<Shared>, request: &Request<B>) -> Response<Body> {
    let uri = request.uri();
    let of = |name: &str| {
        let pairs = uri.query().unwrap_or_default().split('&');
        pairs
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
    };
    let id = of("id").and_then(|(_, id)| Some(CollectionId(id.parse().ok()?)));
    let id = id.filter(|id| shared.cache.borrow().has(*id));
    match (request.method(), uri.path(), id) {
        (&Method::GET, "/collections", _) => {
            let shared = Rc::clone(shared);
            written(|pen| collections(pen, shared))
        }
        (&Method::GET, "/store", _) => {
            let store = report::store(&shared.cache.borrow());
            let mut out = Vec::new();
            kept::put(&serde_json::to_vec(&store).unwrap_or_default(), &mut out);
            kept::put_end(&mut out);
            reply::whole(200, TYPE, out)
        }
        (&Method::GET, "/segments", _) => {
            let shared = Rc::clone(shared);
            written(|pen| segments(pen, shared))
        }
        (&Method::GET, "/items", Some(id)) => {
            let shared = Rc::clone(shared);
            match of("item").map(|(_, item)| from_hex(item).map(String::from_utf8)) {
                None => written(move |pen| items(pen, shared, id)),
                Some(Some(Ok(item))) => written(move |pen| one(pen, shared, id, item)),
                Some(_) => reply::whole(400, "text/plain", "item is not written in hexadecimal\n"),
            }
        }
        (&Method::POST, "/drop", Some(id)) => {
            shared.cache.borrow_mut().drop_one(id);
            let shared = Rc::clone(shared);
            written(|pen| dropped(pen, shared))
        }
        _ => reply::whole(
            404,
            "text/plain",
            "there is no such collection, or no such question\n",
        ),
    }
}

const TYPE: &str = "application/octet-stream";
const GONE: BrokenOff = BrokenOff("what was kept can no longer be read");

fn written<F>(write: impl FnOnce(Pen) -> F) -> Response<Body>
where
    F: Future<Output = Result<(), BrokenOff>> + 'static,
{
    let mut response = reply::whole(200, TYPE, Bytes::new());
    *response.body_mut() = Body::script(Script::new(write));
    response
}

async fn collections(pen: Pen, shared: Rc<Shared>) -> Result<(), BrokenOff> {
    let shown = shared.cache.borrow_mut().shown(Instant::now());
    let mut out = Vec::new();
    for one in shown {
        let class = class_word(shared.cache.borrow().class(&one.key.agent));
        let row = serde_json::to_vec(&Row::new(&one, class));
        kept::put(&row.unwrap_or_default(), &mut out);
        flush(&pen, &mut out, limits::PIECE_BYTES).await;
    }
    end(&pen, out).await
}

async fn segments(pen: Pen, shared: Rc<Shared>) -> Result<(), BrokenOff> {
    let segments = shared.cache.borrow().segments();
    let mut out = Vec::new();
    for segment in segments.await.unwrap_or_default() {
        kept::put(&serde_json::to_vec(&segment).unwrap_or_default(), &mut out);
        flush(&pen, &mut out, limits::PIECE_BYTES).await;
    }
    end(&pen, out).await
}

/// Version and note, then key and value of each.
async fn items(pen: Pen, shared: Rc<Shared>, id: CollectionId) -> Result<(), BrokenOff> {
    let view = shared.cache.borrow_mut().view_of(id);
    let view = view.await.ok_or(GONE)?;
    let mut out = Vec::new();
    kept::put(view.version.as_bytes(), &mut out);
    kept::put(&view.note, &mut out);
    let mut reading = view.read();
    while let Some(items) = reading.next().await.map_err(|_| GONE)? {
        for item in items {
            kept::put(item.key.as_bytes(), &mut out);
            kept::put(&item.value, &mut out);
            flush(&pen, &mut out, limits::PIECE_BYTES).await;
        }
    }
    end(&pen, out).await
}

/// The same of one item, if it is there.
async fn one(
    pen: Pen,
    shared: Rc<Shared>,
    id: CollectionId,
    item: String,
) -> Result<(), BrokenOff> {
    let one = shared.cache.borrow_mut().one_of(id, &item);
    let one = one.await.ok_or(GONE)?;
    let mut out = Vec::new();
    kept::put(one.version.as_bytes(), &mut out);
    kept::put(&one.note, &mut out);
    if let Some(value) = &one.value {
        kept::put(item.as_bytes(), &mut out);
        kept::put(value, &mut out);
    }
    end(&pen, out).await
}

/// Ends when a power cut would not bring back what was dropped; where nothing can be written any more, with the reason.
async fn dropped(pen: Pen, shared: Rc<Shared>) -> Result<(), BrokenOff> {
    let done = shared.cache.borrow_mut().flush();
    done.await;
    let stats = shared.cache.borrow().flash();
    let mut out = Vec::new();
    if let Some(off) = stats.and_then(|stats| stats.off) {
        kept::put(off.as_bytes(), &mut out);
    }
    end(&pen, out).await
}

async fn end(pen: &Pen, mut out: Vec<u8>) -> Result<(), BrokenOff> {
    kept::put_end(&mut out);
    flush(pen, &mut out, 0).await;
    Ok(())
}

async fn flush(pen: &Pen, out: &mut Vec<u8>, over: usize) {
    if out.len() > over {
        pen.write(Bytes::from(std::mem::take(out))).await;
    }
}

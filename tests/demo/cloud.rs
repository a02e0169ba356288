//! A small API server: a few objects in memory, tokens, list, get, create, watch and watch lists, as a real one
//! answers them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use edge_hub::sys::hyper_io::HyperIo;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::body::Body;
use crate::client::Tasks;
use crate::tls::{H2, Serving};

/// The only token that it knows.
pub const TOKEN: &str = "the-token-of-edge-app";
/// Longest body that it reads, bytes.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Events that a watcher may be behind; one that is further behind is let go.
const EVENTS_MAX: usize = 64;

/// What it knows. Collections are named by their path.
struct Objects {
    version: u64,
    by_name: BTreeMap<(String, String), Value>,
    /// Everything that ever happened: version, collection, the event's line.
    history: Vec<(u64, String, Bytes)>,
    watchers: Vec<(String, mpsc::Sender<Bytes>)>,
}

/// The running server. It ends when this value is dropped.
pub struct Cloud {
    pub address: SocketAddr,
    objects: Rc<RefCell<Objects>>,
    _task: JoinSet<()>,
}

impl Cloud {
    pub async fn start(serving: &Serving) -> Result<Cloud, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let objects = Rc::new(RefCell::new(Objects {
            version: 1000,
            by_name: BTreeMap::new(),
            history: Vec::new(),
            watchers: Vec::new(),
        }));
        let acceptor = TlsAcceptor::from(serving.config.clone());
        let mut task = JoinSet::new();
        task.spawn_local(accept(listener, acceptor, Rc::clone(&objects)));
        Ok(Cloud {
            address,
            objects,
            _task: task,
        })
    }

    /// Adds or changes an object.
    pub fn put(&self, collection: &str, object: Value) {
        self.objects.borrow_mut().put(collection, object);
    }

    /// Deletes an object.
    pub fn delete(&self, collection: &str, name: &str) {
        self.objects.borrow_mut().delete(collection, name);
    }
}

impl Objects {
    fn put(&mut self, collection: &str, mut object: Value) -> Value {
        let name = name_of(&object).to_string();
        let key = (collection.to_string(), name);
        let kind = match self.by_name.contains_key(&key) {
            true => "MODIFIED",
            false => "ADDED",
        };
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.by_name.insert(key, object.clone());
        self.tell(collection, kind, &object);
        object
    }

    fn delete(&mut self, collection: &str, name: &str) {
        let key = (collection.to_string(), name.to_string());
        if let Some(mut object) = self.by_name.remove(&key) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.tell(collection, "DELETED", &object);
        }
    }

    fn tell(&mut self, collection: &str, kind: &str, object: &Value) {
        let event = line(kind, object);
        self.history
            .push((self.version, collection.to_string(), event.clone()));
        self.watchers
            .retain(|(at, watcher)| at != collection || watcher.try_send(event.clone()).is_ok());
    }

    fn items(&self, collection: &str) -> Vec<&Value> {
        self.by_name
            .iter()
            .filter(|((at, _), _)| at == collection)
            .map(|(_, object)| object)
            .collect()
    }

    /// What a watch begins with, and then what happens.
    fn watch(&mut self, collection: &str, query: &str) -> mpsc::Receiver<Bytes> {
        let (watcher, events) = mpsc::channel(EVENTS_MAX);
        let send = |event: Bytes| {
            let _ = watcher.try_send(event);
        };
        let watch_list = parameter(query, "sendInitialEvents") == Some("true");
        let from = parameter(query, "resourceVersion").and_then(|from| from.parse::<u64>().ok());
        match from {
            Some(from) if from > 0 && !watch_list => {
                let missed = self.history.iter();
                missed
                    .filter(|(version, at, _)| *version > from && at == collection)
                    .for_each(|(_, _, event)| send(event.clone()));
            }
            _ => {
                let items = self.items(collection);
                items.iter().for_each(|item| send(line("ADDED", item)));
            }
        }
        if watch_list {
            send(line("BOOKMARK", &self.bookmark(collection)));
        }
        self.watchers.push((collection.to_string(), watcher));
        events
    }

    fn bookmark(&self, collection: &str) -> Value {
        json!({
            "kind": kind_of(collection),
            "apiVersion": "v1",
            "metadata": {
                "resourceVersion": self.version.to_string(),
                "annotations": { "k8s.io/initial-events-end": "true" },
            },
        })
    }

    fn list(&self, collection: &str) -> Value {
        json!({
            "kind": format!("{}List", kind_of(collection)),
            "apiVersion": "v1",
            "metadata": { "resourceVersion": self.version.to_string() },
            "items": self.items(collection),
        })
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, objects: Rc<RefCell<Objects>>) {
    let mut connections = JoinSet::new();
    loop {
        // Both arms are cancel-safe.
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn_local(serve(stream, acceptor.clone(), Rc::clone(&objects)));
                }
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, objects: Rc<RefCell<Objects>>) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let h2 = stream.get_ref().1.alpn_protocol() == Some(H2);
    let service = service_fn(move |request| {
        let objects = Rc::clone(&objects);
        async move { Ok::<_, Infallible>(answer(request, &objects).await) }
    });
    let io = HyperIo::new(stream);
    // However a connection ends, its client opens another.
    let _ = match h2 {
        true => {
            http2::Builder::new(Tasks)
                .serve_connection(io, service)
                .await
        }
        false => http1::Builder::new().serve_connection(io, service).await,
    };
}

async fn answer(request: Request<Incoming>, objects: &RefCell<Objects>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    if path == "/version" {
        return said(
            200,
            &json!({ "major": "1", "minor": "36", "gitVersion": "v1.36-demo" }),
        );
    }
    if !authorized(&head.headers) {
        return failed(401, "Unauthorized", "Unauthorized");
    }
    let Some((collection, name)) = split(path) else {
        let message = "the server could not find the requested resource";
        return failed(404, "NotFound", message);
    };
    match (&head.method, name) {
        (&Method::GET, Some(name)) => {
            let key = (collection.to_string(), name.to_string());
            match objects.borrow().by_name.get(&key) {
                Some(object) => said(200, object),
                None => {
                    let message = format!("{} \"{name}\" not found", resource(collection));
                    failed(404, "NotFound", &message)
                }
            }
        }
        (&Method::GET, None) if matches!(parameter(query, "watch"), Some("1" | "true")) => {
            let events = objects.borrow_mut().watch(collection, query);
            response(200, Body::Events(events))
        }
        (&Method::GET, None) => said(200, &objects.borrow().list(collection)),
        (&Method::POST, None) => match read(body).await {
            Some(object) => create(&mut objects.borrow_mut(), collection, object),
            None => failed(400, "BadRequest", "the body is no object with a name"),
        },
        _ => failed(
            405,
            "MethodNotAllowed",
            "this demo lists, gets, watches and creates",
        ),
    }
}

fn create(objects: &mut Objects, collection: &str, object: Value) -> Response<Body> {
    let name = name_of(&object).to_string();
    if objects
        .by_name
        .contains_key(&(collection.to_string(), name.clone()))
    {
        let message = format!("{} \"{name}\" already exists", resource(collection));
        return failed(409, "AlreadyExists", &message);
    }
    said(201, &objects.put(collection, object))
}

fn authorized(headers: &HeaderMap) -> bool {
    let given = headers
        .get("authorization")
        .and_then(|given| given.to_str().ok());
    given.and_then(|given| given.strip_prefix("Bearer ")) == Some(TOKEN)
}

/// The collection's path and the object's name in `/api/v1/namespaces/NAMESPACE/RESOURCE[/NAME]`.
fn split(path: &str) -> Option<(&str, Option<&str>)> {
    let rest = path.strip_prefix("/api/v1/namespaces/")?;
    let words: Vec<&str> = rest.split('/').collect();
    match words[..] {
        [_, "pods" | "configmaps"] => Some((path, None)),
        [_, "pods" | "configmaps", name] => Some((path.rsplit_once('/')?.0, Some(name))),
        _ => None,
    }
}

fn resource(collection: &str) -> &str {
    collection.rsplit('/').next().unwrap_or_default()
}

fn kind_of(collection: &str) -> &'static str {
    match resource(collection) {
        "pods" => "Pod",
        _ => "ConfigMap",
    }
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(at, _)| *at == name).map(|(_, value)| value)
}

async fn read(mut body: Incoming) -> Option<Value> {
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame.ok()?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > BODY_BYTES_MAX {
            return None;
        }
    }
    let object: Value = serde_json::from_slice(&bytes).ok()?;
    (!name_of(&object).is_empty()).then_some(object)
}

fn line(kind: &str, object: &Value) -> Bytes {
    format!("{}\n", json!({ "type": kind, "object": object })).into()
}

fn failed(code: u16, reason: &str, message: &str) -> Response<Body> {
    said(
        code,
        &json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }),
    )
}

fn said(code: u16, object: &Value) -> Response<Body> {
    response(code, Body::whole(object.to_string()))
}

fn response(code: u16, body: Body) -> Response<Body> {
    Response::builder()
        .status(code)
        .header("audit-id", "00000000-0000-0000-0000-000000000000")
        .header("cache-control", "no-cache, private")
        .header("content-type", "application/json")
        .body(body)
        .expect("these headers are valid")
}

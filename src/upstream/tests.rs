//! The way up against scripted servers on loopback.

use super::*;
use crate::health::{LinkState, Reason};
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use rustls::pki_types::PrivateKeyDer;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

type Done = Pin<Box<dyn Future<Output = ()>>>;
type Script = Rc<dyn Fn(usize, Request<RecvStream>, SendResponse<Bytes>) -> Done>;

/// A CA and a server certificate of it.
struct Pki {
    roots: rustls::RootCertStore,
    acceptor: TlsAcceptor,
}

fn pki(alpn: &[&str]) -> Pki {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(vec![]).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_string(), "127.0.0.1".to_string()];
    let cert = rcgen::CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca_cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Pki {
        roots,
        acceptor: TlsAcceptor::from(Arc::new(config)),
    }
}

fn tls_for(roots: rustls::RootCertStore) -> TlsFor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    Rc::new(move |way| (!way.has_certificate()).then(|| config.clone()))
}

async fn listen() -> (TcpListener, ServerUrl) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = ServerUrl::parse(&format!("https://127.0.0.1:{port}"));
    (listener, url.unwrap())
}

fn settings(servers: Vec<ServerUrl>, pki: &Pki) -> Settings {
    Settings {
        ping_after: Duration::from_millis(100),
        ping_wait: Duration::from_millis(200),
        connect_timeout: Duration::from_secs(2),
        probe_min: Duration::from_millis(20),
        probe_max: Duration::from_millis(100),
        ..Settings::new(servers, Mode::Priority, tls_for(pki.roots.clone()))
    }
}

/// Serves HTTP/2 by a script, which is told the number of the connection. Counts connections.
fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    h2: h2::server::Builder,
    script: Script,
) -> Rc<Cell<usize>> {
    let count = Rc::new(Cell::new(0));
    let counted = count.clone();
    spawn_local(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            counted.set(counted.get() + 1);
            let (number, acceptor, h2, script) =
                (counted.get(), acceptor.clone(), h2.clone(), script.clone());
            spawn_local(async move {
                let Ok(tls) = acceptor.accept(tcp).await else {
                    return;
                };
                let Ok(mut connection) = h2.handshake::<_, Bytes>(tls).await else {
                    return;
                };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    spawn_local(script(number, request, respond));
                }
            });
        }
    });
    count
}

fn script<F: Future<Output = ()> + 'static>(
    run: impl Fn(usize, Request<RecvStream>, SendResponse<Bytes>) -> F + 'static,
) -> Script {
    Rc::new(move |number, request, respond| Box::pin(run(number, request, respond)))
}

fn answer(mut respond: SendResponse<Bytes>, status: u16, text: &'static str) {
    let head = Response::builder().status(status).body(()).unwrap();
    if let Ok(mut stream) = respond.send_response(head, text.is_empty())
        && !text.is_empty()
    {
        let _ = stream.send_data(Bytes::from_static(text.as_bytes()), true);
    }
}

fn head(method: &str, path: &str) -> Parts {
    Request::builder()
        .method(method)
        .uri(path)
        .body(())
        .unwrap()
        .into_parts()
        .0
}

async fn read_all(mut body: ResponseBody) -> Result<Vec<u8>, BodyError> {
    let mut all = Vec::new();
    while let Some(piece) = body.chunk().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
}

async fn get(upstream: &Upstream, path: &str) -> Result<(u16, String), SendError> {
    let response = upstream
        .send(Way::Bearer, &head("GET", path), RequestBody::Empty)
        .await?;
    let status = response.status().as_u16();
    let text = read_all(response.into_body()).await.expect("a whole body");
    Ok((status, String::from_utf8(text).unwrap()))
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while !done() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let limited = async {
        tokio::time::timeout(Duration::from_secs(20), test)
            .await
            .expect("the test ends in time");
    };
    LocalSet::new().block_on(&runtime, limited);
}

fn echo_path() -> Script {
    script(|_, request, respond| async move {
        let text: &'static str = request.uri().path().to_string().leak();
        answer(respond, 200, text);
    })
}

#[test]
fn one_connection_carries_all() {
    run(async {
        let pki = pki(&["h2"]);
        let (listener, url) = listen().await;
        let count = serve(
            listener,
            pki.acceptor.clone(),
            h2::server::Builder::new(),
            echo_path(),
        );
        let upstream = Upstream::new(settings(vec![url], &pki));
        // Those that come while it is being connected wait for the same connection.
        let (a, b, c) = tokio::join!(
            get(&upstream, "/a"),
            get(&upstream, "/b"),
            get(&upstream, "/c")
        );
        assert_eq!(
            (a.unwrap().1, b.unwrap().1, c.unwrap().1),
            ("/a".into(), "/b".into(), "/c".into())
        );
        assert_eq!(get(&upstream, "/d").await.unwrap(), (200, "/d".into()));
        assert_eq!(count.get(), 1);
        assert!(matches!(upstream.link().state(), LinkState::Up { .. }));
        let status = &upstream.status()[0];
        assert_eq!((status.connections, status.streams), (1, 0));
        // Another way is another connection.
        upstream
            .send(Way::Anonymous, &head("GET", "/"), RequestBody::Empty)
            .await
            .unwrap();
        // Two more: this server refuses the HTTP/1.1 that is offered for anonymous requests first.
        assert_eq!(count.get(), 3);
        let error = upstream
            .send(Way::Pair([3; 32]), &head("GET", "/"), RequestBody::Empty)
            .await
            .err()
            .unwrap();
        assert!(matches!(error, SendError::NotSent(_)), "{error}");
    });
}

#[test]
fn stream_limit_opens_another_connection() {
    run(async {
        let pki = pki(&["h2"]);
        let (listener, url) = listen().await;
        let mut h2 = h2::server::Builder::new();
        h2.max_concurrent_streams(2);
        let held = script(|_, _request, mut respond| async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            std::future::poll_fn(|cx| stream.poll_reset(cx)).await.ok();
        });
        let count = serve(listener, pki.acceptor.clone(), h2, held);
        let mut settings = settings(vec![url], &pki);
        settings.idle_close = Duration::from_millis(40);
        let upstream = Upstream::new(settings);
        spawn_local(upstream.clone().run());
        let mut open = Vec::new();
        for _ in 0..5 {
            open.push(
                upstream
                    .send(Way::Bearer, &head("GET", "/"), RequestBody::Empty)
                    .await
                    .unwrap(),
            );
        }
        // The prober's own connection speaks HTTP/1.1, which this server does not: those do not count here.
        assert_eq!(upstream.status()[0].streams, 5);
        assert_eq!(upstream.status()[0].connections, 3);
        assert!(count.get() >= 3);
        open.clear();
        until("surplus connections close", || {
            upstream.status()[0].connections == 1
        })
        .await;
    });
}

/// Speaks HTTP/2 frame by frame, for what h2's server cannot be made to do. `on` gets type, flags, stream and payload
/// and says what to send; an empty answer closes.
async fn raw(
    mut tls: TlsStream<TcpStream>,
    mut on: impl FnMut(u8, u8, u32, &[u8]) -> Option<Vec<u8>>,
) {
    let mut preface = [0; 24];
    tls.read_exact(&mut preface).await.unwrap();
    tls.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let mut header = [0; 9];
    while tls.read_exact(&mut header).await.is_ok() {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let mut payload = vec![0; length];
        tls.read_exact(&mut payload).await.unwrap();
        let stream = u32::from_be_bytes(header[5..9].try_into().unwrap());
        let reply = match (header[3], header[4]) {
            (4, 0) => frame(4, 1, 0, &[]),
            (6, 0) => frame(6, 1, 0, &payload),
            (kind, flags) => match on(kind, flags, stream, &payload) {
                Some(reply) => reply,
                None => return,
            },
        };
        tls.write_all(&reply).await.unwrap();
        tls.flush().await.unwrap();
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[test]
fn goaway_race_is_not_seen() {
    run(async {
        let pki = pki(&["h2"]);
        let (listener, url) = listen().await;
        let acceptor = pki.acceptor.clone();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let log = seen.clone();
        spawn_local(async move {
            for number in 1.. {
                let (tcp, _) = listener.accept().await.unwrap();
                let tls = acceptor.accept(tcp).await.unwrap();
                let log = log.clone();
                let mut whole = 0;
                spawn_local(raw(tls, move |kind, flags, stream, _| {
                    let ended = flags & 1 != 0;
                    if kind > 1 || !ended {
                        return Some(vec![]);
                    }
                    log.borrow_mut().push((number, stream));
                    whole += 1;
                    // HPACK 0x88 is ":status 200". The first connection answers its first stream only once both are
                    // here, whichever is whole first, and says goodbye to the second.
                    let ok = |stream| frame(1, 5, stream, &[0x88]);
                    Some(match (number, whole) {
                        (1, 1) => vec![],
                        (1, _) => [frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]), ok(1)].concat(),
                        _ => ok(stream),
                    })
                }));
            }
        });
        let upstream = Upstream::new(settings(vec![url], &pki));
        let post = |text| {
            let upstream = &upstream;
            async move {
                let body = RequestBody::Bytes(Bytes::from_static(text));
                upstream.send(Way::Bearer, &head("POST", "/"), body).await
            }
        };
        let (first, second) = tokio::join!(post(b"one"), post(b"two"));
        assert_eq!(first.unwrap().status(), 200);
        assert_eq!(second.unwrap().status(), 200);
        seen.borrow_mut().sort_unstable();
        assert_eq!(*seen.borrow(), [(1, 1), (1, 3), (2, 1)]);
        assert!(matches!(upstream.link().state(), LinkState::Up { .. }));
    });
}

#[test]
fn a_graceful_server_loses_nothing() {
    run(async {
        let pki = pki(&["h2"]);
        let (listener, url) = listen().await;
        let acceptor = pki.acceptor.clone();
        // Every connection says goodbye at its third request, as a server with --goaway-chance does all the time.
        spawn_local(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                spawn_local(async move {
                    let tls = acceptor.accept(tcp).await.unwrap();
                    let mut connection = h2::server::handshake(tls).await.unwrap();
                    let mut served = 0;
                    while let Some(Ok((_, respond))) = connection.accept().await {
                        answer(respond, 200, "fine");
                        served += 1;
                        if served == 3 {
                            connection.graceful_shutdown();
                        }
                    }
                });
            }
        });
        let upstream = Upstream::new(settings(vec![url], &pki));
        for _ in 0..20 {
            let post = |_| async {
                let body = RequestBody::Bytes(Bytes::from_static(b"body"));
                upstream
                    .send(Way::Bearer, &head("POST", "/"), body)
                    .await
                    .unwrap()
                    .status()
            };
            let done = tokio::join!(post(1), post(2), post(3), post(4), post(5));
            assert_eq!(
                done,
                (
                    StatusCode::OK,
                    StatusCode::OK,
                    StatusCode::OK,
                    StatusCode::OK,
                    StatusCode::OK
                )
            );
        }
        assert!(!upstream.link().is_down());
    });
}

#[test]
fn refused_streams_are_sent_again_while_the_body_is_small() {
    run(async {
        let pki = pki(&["h2"]);
        let (listener, url) = listen().await;
        let refusing = script(|number, request, mut respond| async move {
            let mut body = request.into_body();
            let mut got = Vec::new();
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
                got.extend_from_slice(&data);
                if number == 1 && got.len() >= 80_000 {
                    break;
                }
            }
            if number == 1 {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            } else {
                answer(respond, 200, String::from_utf8(got).unwrap().leak());
            }
        });
        let _count = serve(
            listener,
            pki.acceptor.clone(),
            h2::server::Builder::new(),
            refusing,
        );
        let upstream = Upstream::new(settings(vec![url], &pki));
        let post = |body| upstream.send(Way::Bearer, Box::leak(Box::new(head("POST", "/"))), body);
        let response = post(RequestBody::Bytes(Bytes::from_static(b"twice")))
            .await
            .unwrap();
        assert_eq!(read_all(response.into_body()).await.unwrap(), b"twice");
        assert_eq!(upstream.replay.get(), 0, "nothing is kept after the answer");
    });
    run(async {
        let pki = pki(&["h2"]);
        let (listener, url) = listen().await;
        let refusing = script(|_, request, mut respond| async move {
            let mut body = request.into_body();
            let mut got = 0;
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
                got += data.len();
                if got >= 80_000 {
                    break;
                }
            }
            respond.send_reset(h2::Reason::REFUSED_STREAM);
        });
        serve(
            listener,
            pki.acceptor.clone(),
            h2::server::Builder::new(),
            refusing,
        );
        let upstream = Upstream::new(settings(vec![url], &pki));
        let body = RequestBody::Bytes(Bytes::from(vec![b'x'; 200_000]));
        let error = upstream
            .send(Way::Bearer, &head("POST", "/"), body)
            .await
            .err()
            .unwrap();
        assert!(matches!(error, SendError::NotSent(_)), "{error}");
        assert_eq!(upstream.replay.get(), 0);
    });
}

#[test]
fn stalled_readers_stop_nobody() {
    run(async {
        let pki = pki(&["h2"]);
        let (listener, url) = listen().await;
        let endless = script(|_, request, mut respond| async move {
            if request.uri().path() != "/endless" {
                return answer(respond, 200, "quick");
            }
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            loop {
                stream.reserve_capacity(16_000);
                match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                    Some(Ok(room)) => stream.send_data(Bytes::from(vec![0; room]), false).unwrap(),
                    _ => return,
                }
            }
        });
        let count = serve(
            listener,
            pki.acceptor.clone(),
            h2::server::Builder::new(),
            endless,
        );
        let upstream = Upstream::new(settings(vec![url], &pki));
        let mut stalled = Vec::new();
        for _ in 0..20 {
            stalled.push(
                upstream
                    .send(Way::Bearer, &head("GET", "/endless"), RequestBody::Empty)
                    .await
                    .unwrap(),
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(get(&upstream, "/quick").await.unwrap().1, "quick");
        // One that goes on reading gets more than a window.
        let mut body = stalled.pop().unwrap().into_body();
        let mut got = 0;
        while got < 500_000 {
            got += body.chunk().await.unwrap().unwrap().len();
        }
        assert_eq!(count.get(), 1);
    });
}

#[test]
fn a_black_hole_is_known_soon_and_its_end_too() {
    run(async {
        let pki = pki(&["h2", "http/1.1"]);
        let (listener, url) = listen().await;
        // A relay that can swallow all.
        let (front, front_url) = listen().await;
        let open = Rc::new(Cell::new(true));
        let gate = open.clone();
        let back: SocketAddr = ([127, 0, 0, 1], url.port).into();
        spawn_local(async move {
            loop {
                let (client, _) = front.accept().await.unwrap();
                let gate = gate.clone();
                spawn_local(async move {
                    let server = TcpStream::connect(back).await.unwrap();
                    let (mut cr, mut cw) = client.into_split();
                    let (mut sr, mut sw) = server.into_split();
                    let up = pipe(&mut cr, &mut sw, &gate);
                    let down = pipe(&mut sr, &mut cw, &gate);
                    tokio::join!(up, down);
                });
            }
        });
        let held = script(|_, request, mut respond| async move {
            if request.uri().path() == "/watch" {
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                std::future::poll_fn(|cx| stream.poll_reset(cx)).await.ok();
            } else {
                answer(respond, 200, "here");
            }
        });
        serve_both(listener, pki.acceptor.clone(), held);
        let upstream = Upstream::new(settings(vec![front_url], &pki));
        spawn_local(upstream.clone().run());
        let watch = upstream
            .send(Way::Bearer, &head("GET", "/watch"), RequestBody::Empty)
            .await
            .unwrap();
        // It is silent, but answers its pings.
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(!upstream.link().is_down());
        open.set(false);
        let cut = tokio::time::Instant::now();
        let pending = get(&upstream, "/pending");
        let error = pending.await.err().unwrap();
        assert!(matches!(error, SendError::Lost(_)), "{error}");
        assert!(
            cut.elapsed() < Duration::from_millis(1500),
            "{:?}",
            cut.elapsed()
        );
        assert!(
            read_all(watch.into_body()).await.is_err(),
            "a cut watch is no end of a watch"
        );
        upstream.link().became_down().await;
        let error = get(&upstream, "/later").await.err().unwrap();
        assert!(matches!(error, SendError::Down(_)), "{error}");
        open.set(true);
        upstream.link().became_up().await;
        assert_eq!(get(&upstream, "/again").await.unwrap().1, "here");
    });
}

async fn pipe(
    from: &mut tokio::net::tcp::OwnedReadHalf,
    to: &mut tokio::net::tcp::OwnedWriteHalf,
    open: &Cell<bool>,
) {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) if open.get() => drop(to.write_all(&buffer[..n]).await),
            Ok(_) => {}
        }
    }
}

/// HTTP/2 by a script; HTTP/1.1 (probes) is answered 200.
fn serve_both(listener: TcpListener, acceptor: TlsAcceptor, script: Script) {
    spawn_local(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (acceptor, script) = (acceptor.clone(), script.clone());
            spawn_local(async move {
                let Ok(tls) = acceptor.accept(tcp).await else {
                    return;
                };
                if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
                    let Ok(mut connection) = h2::server::handshake(tls).await else {
                        return;
                    };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        spawn_local(script(0, request, respond));
                    }
                } else {
                    serve_http1(tls, |_| Response::new(Full::from("200"))).await;
                }
            });
        }
    });
}

#[test]
fn refusal_is_known_at_once_and_recovery_is_found() {
    run(async {
        let pki = pki(&["h2", "http/1.1"]);
        let (listener, url) = listen().await;
        let address = listener.local_addr().unwrap();
        drop(listener);
        let upstream = Upstream::new(settings(vec![url], &pki));
        let error = get(&upstream, "/").await.err().unwrap();
        assert!(matches!(error, SendError::NotSent(_)), "{error}");
        assert!(matches!(
            upstream.link().state(),
            LinkState::Down {
                reason: Reason::Refused,
                ..
            }
        ));
        let error = get(&upstream, "/").await.err().unwrap();
        assert!(matches!(error, SendError::Down(_)), "{error}");
        spawn_local(upstream.clone().run());
        let listener = TcpListener::bind(address).await.unwrap();
        serve_both(listener, pki.acceptor.clone(), echo_path());
        upstream.link().became_up().await;
        assert_eq!(get(&upstream, "/x").await.unwrap().1, "/x");
        assert_eq!(
            upstream.status()[0].last_error.as_deref(),
            Some("connection refused")
        );
    });
}

/// Clients on h2 0.4.16 and newer close a connection on which a hundred empty frames came that end nothing.
#[test]
fn the_empty_frame_that_ends_a_body_is_no_piece() {
    run(async {
        let pki = pki(&["h2"]);
        let (listener, url) = listen().await;
        // Without a length, as a list that is written while it is read.
        let apart = script(|_, _, mut respond| async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"all"), false).unwrap();
            tokio::task::yield_now().await;
            stream.send_data(Bytes::new(), true).unwrap();
        });
        serve(
            listener,
            pki.acceptor.clone(),
            h2::server::Builder::new(),
            apart,
        );
        let upstream = Upstream::new(settings(vec![url], &pki));
        let response = upstream
            .send(Way::Bearer, &head("GET", "/"), RequestBody::Empty)
            .await;
        let mut body = response.unwrap().into_body();
        let mut pieces = Vec::new();
        while let Some(piece) = body.chunk().await {
            pieces.push(piece.unwrap());
        }
        assert_eq!(pieces, ["all"]);
    });
}

#[test]
fn a_body_that_breaks_off_is_an_error() {
    run(async {
        let pki = pki(&["h2"]);
        let (listener, url) = listen().await;
        let breaking = script(|_, request, mut respond| async move {
            let path = request.uri().path().to_string();
            let mut head = Response::builder();
            if path == "/short" {
                head = head.header("content-length", 100);
            }
            let mut stream = respond
                .send_response(head.body(()).unwrap(), false)
                .unwrap();
            stream
                .send_data(Bytes::from_static(b"half"), path == "/short")
                .unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            match path.as_str() {
                "/reset" => stream.send_reset(h2::Reason::INTERNAL_ERROR),
                "/cancel" => stream.send_reset(h2::Reason::CANCEL),
                _ => {}
            }
        });
        serve(
            listener,
            pki.acceptor.clone(),
            h2::server::Builder::new(),
            breaking,
        );
        let upstream = Upstream::new(settings(vec![url], &pki));
        for path in ["/reset", "/cancel", "/short"] {
            let response = upstream
                .send(Way::Bearer, &head("GET", path), RequestBody::Empty)
                .await;
            // A wrong length may be found out before the head is handed over.
            if let Ok(response) = response {
                assert!(read_all(response.into_body()).await.is_err(), "{path}");
            }
        }
        assert!(!upstream.link().is_down());
    });
}

#[test]
fn answers_come_before_the_end_of_the_upload() {
    run(async {
        let pki = pki(&["h2"]);
        let (listener, url) = listen().await;
        let early = script(|_, request, mut respond| async move {
            if request.uri().path() == "/refuse" {
                return answer(respond, 413, "too large");
            }
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            let mut body = request.into_body();
            let mut got = 0;
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
                got += data.len();
            }
            stream
                .send_data(Bytes::from(got.to_string()), true)
                .unwrap();
        });
        serve(
            listener,
            pki.acceptor.clone(),
            h2::server::Builder::new(),
            early,
        );
        let upstream = Upstream::new(settings(vec![url], &pki));
        let big = || RequestBody::Bytes(Bytes::from(vec![7; 3_000_000]));
        let response = upstream
            .send(Way::Bearer, &head("POST", "/refuse"), big())
            .await
            .unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(read_all(response.into_body()).await.unwrap(), b"too large");
        let response = upstream
            .send(Way::Bearer, &head("POST", "/read"), big())
            .await
            .unwrap();
        assert_eq!(read_all(response.into_body()).await.unwrap(), b"3000000");
        assert_eq!(upstream.status()[0].streams, 0);
    });
}

#[test]
fn reads_survive_a_stale_connection_and_writes_say_so() {
    run(async {
        let pki = pki(&["h2"]);
        let (listener, url) = listen().await;
        let acceptor = pki.acceptor.clone();
        spawn_local(async move {
            for number in 1.. {
                let (tcp, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                spawn_local(async move {
                    let tls = acceptor.accept(tcp).await.unwrap();
                    let mut connection = h2::server::handshake(tls).await.unwrap();
                    while let Some(Ok((_, respond))) = connection.accept().await {
                        if number != 3 {
                            return; // the socket closes under the request
                        }
                        answer(respond, 200, "second try");
                    }
                });
            }
        });
        let upstream = Upstream::new(settings(vec![url], &pki));
        let post = upstream
            .send(Way::Bearer, &head("POST", "/"), RequestBody::Empty)
            .await;
        assert!(matches!(post, Err(SendError::Lost(_))), "{:?}", post.err());
        assert_eq!(get(&upstream, "/").await.unwrap().1, "second try");
    });
}

/// A whole body in memory.
struct Full(Option<Bytes>);

impl From<&'static str> for Full {
    fn from(text: &'static str) -> Full {
        Full(Some(Bytes::from_static(text.as_bytes())))
    }
}

impl hyper::body::Body for Full {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(
            self.0
                .take()
                .map(|bytes| Ok(hyper::body::Frame::data(bytes))),
        )
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.0.as_ref().map_or(0, |b| b.len() as u64))
    }
}

async fn serve_http1(
    tls: TlsStream<TcpStream>,
    answer: impl Fn(Request<hyper::body::Incoming>) -> Response<Full>,
) {
    let service = hyper::service::service_fn(|request| {
        let response = answer(request);
        async { Ok::<_, Infallible>(response) }
    });
    let io = crate::sys::hyper_io::HyperIo::new(tls);
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(io, service)
        .with_upgrades()
        .await;
}

#[test]
fn http1_servers_are_spoken_to_in_kind() {
    run(async {
        let pki = pki(&["http/1.1"]);
        let (listener, url) = listen().await;
        let acceptor = pki.acceptor.clone();
        let count = Rc::new(Cell::new(0));
        let counted = count.clone();
        let port = url.port;
        spawn_local(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                counted.set(counted.get() + 1);
                let acceptor = acceptor.clone();
                spawn_local(async move {
                    let tls = acceptor.accept(tcp).await.unwrap();
                    serve_http1(tls, |request| {
                        assert_eq!(request.headers()["host"], format!("127.0.0.1:{port}"));
                        Response::new(Full::from("one"))
                    })
                    .await;
                });
            }
        });
        let upstream = Upstream::new(settings(vec![url], &pki));
        for _ in 0..5 {
            assert_eq!(get(&upstream, "/x?y").await.unwrap(), (200, "one".into()));
        }
        assert_eq!(count.get(), 1, "the connection is used again");
        let body = RequestBody::Bytes(Bytes::from_static(b"{}"));
        let response = upstream
            .send(Way::Bearer, &head("POST", "/"), body)
            .await
            .unwrap();
        // One byte short of its end, it cannot be used again.
        drop(response);
        assert_eq!(get(&upstream, "/").await.unwrap().0, 200);
        let (a, b) = tokio::join!(get(&upstream, "/"), get(&upstream, "/"));
        assert!(a.is_ok() && b.is_ok());
        assert!(count.get() >= 2);
        assert_eq!(upstream.status()[0].streams, 0);
    });
}

#[test]
fn upgrades() {
    run(async {
        let pki = pki(&["h2", "http/1.1"]);
        let (listener, url) = listen().await;
        let acceptor = pki.acceptor.clone();
        spawn_local(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let tls = acceptor.accept(tcp).await.unwrap();
                assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
                spawn_local(serve_http1(tls, |mut request| {
                    if request.uri().path() == "/forbidden" {
                        return Response::builder()
                            .status(403)
                            .body(Full::from("no"))
                            .unwrap();
                    }
                    assert_eq!(
                        request
                            .headers()
                            .get_all("x-stream-protocol-version")
                            .iter()
                            .count(),
                        2
                    );
                    let upgrade = hyper::upgrade::on(&mut request);
                    spawn_local(async move {
                        let mut io = TokioIo(upgrade.await.unwrap());
                        let mut buffer = [0; 5];
                        io.read_exact(&mut buffer).await.unwrap();
                        io.write_all(&buffer).await.unwrap();
                    });
                    Response::builder()
                        .status(101)
                        .header("connection", "Upgrade")
                        .header("upgrade", "SPDY/3.1")
                        .body(Full(None))
                        .unwrap()
                }));
            }
        });
        let upstream = Upstream::new(settings(vec![url], &pki));
        let mut wanted = head("POST", "/exec");
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("x-stream-protocol-version", "v3.channel.k8s.io"),
        ] {
            wanted
                .headers
                .append(name, http::HeaderValue::from_static(value));
        }
        let response = upstream
            .upgrade(Way::Bearer, &wanted, RequestBody::Empty)
            .await
            .unwrap();
        assert_eq!(response.status(), 101);
        let mut io = TokioIo(hyper::upgrade::on(response).await.unwrap());
        io.write_all(b"hello").await.unwrap();
        let mut echo = [0; 5];
        io.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"hello");
        assert_eq!(upstream.upgrades.available_permits(), UPGRADES_MAX - 1);
        drop(io);
        until("its place is free again", || {
            upstream.upgrades.available_permits() == UPGRADES_MAX
        })
        .await;
        wanted.uri = "/forbidden".parse().unwrap();
        let response = upstream
            .upgrade(Way::Bearer, &wanted, RequestBody::Empty)
            .await
            .unwrap();
        assert_eq!(response.status(), 403);
        let mut body = response.into_body();
        let piece =
            std::future::poll_fn(|cx| hyper::body::Body::poll_frame(Pin::new(&mut body), cx));
        assert_eq!(piece.await.unwrap().unwrap().into_data().unwrap(), "no");
    });
}

/// hyper's upgraded stream, for tokio's helpers.
struct TokioIo(hyper::upgrade::Upgraded);

impl tokio::io::AsyncRead for TokioIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let mut inner = hyper::rt::ReadBuf::new(buf.initialize_unfilled());
        std::task::ready!(hyper::rt::Read::poll_read(
            Pin::new(&mut self.0),
            cx,
            inner.unfilled()
        ))?;
        let read = inner.filled().len();
        buf.advance(read);
        std::task::Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for TokioIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        hyper::rt::Write::poll_write(Pin::new(&mut self.0), cx, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        hyper::rt::Write::poll_flush(Pin::new(&mut self.0), cx)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        hyper::rt::Write::poll_shutdown(Pin::new(&mut self.0), cx)
    }
}

#[test]
fn a_strange_certificate_is_refused_with_its_reason() {
    run(async {
        let theirs = pki(&["h2"]);
        let ours = pki(&["h2"]);
        let (listener, url) = listen().await;
        serve(
            listener,
            theirs.acceptor.clone(),
            h2::server::Builder::new(),
            echo_path(),
        );
        let upstream = Upstream::new(settings(vec![url], &ours));
        let error = get(&upstream, "/").await.err().unwrap();
        assert!(matches!(error, SendError::TlsRefused(_)), "{error}");
        assert!(
            error
                .to_string()
                .contains("not signed by the configured CA"),
            "{error}"
        );
        assert!(matches!(
            upstream.link().state(),
            LinkState::Down {
                reason: Reason::Tls(_),
                ..
            }
        ));
        // The right CA comes, and with it the link.
        spawn_local(upstream.clone().run());
        upstream.reload(tls_for(theirs.roots.clone()), &|_| true);
        assert!(
            upstream.status()[0]
                .last_error
                .as_deref()
                .unwrap()
                .contains("configured CA")
        );
    });
}

#[test]
fn a_load_balancer_speaks_for_the_link_an_api_server_for_itself() {
    run(async {
        let pki = pki(&["h2"]);
        let (listener, url) = listen().await;
        let answers = script(|_, request, mut respond| async move {
            let mut head = Response::builder().status(503);
            if request.uri().path() == "/api" {
                head = head
                    .header("content-type", "application/json")
                    .header("audit-id", "x");
            }
            let mut stream = respond
                .send_response(head.body(()).unwrap(), false)
                .unwrap();
            stream.send_data(Bytes::from_static(b"why"), true).unwrap();
        });
        serve(
            listener,
            pki.acceptor.clone(),
            h2::server::Builder::new(),
            answers,
        );
        let upstream = Upstream::new(settings(vec![url.clone()], &pki));
        assert_eq!(get(&upstream, "/api").await.unwrap(), (503, "why".into()));
        assert!(!upstream.link().is_down());
        let error = get(&upstream, "/lb").await.err().unwrap();
        let SendError::Gateway(response) = error else {
            panic!("{error}")
        };
        assert_eq!(read_all(response.into_body()).await.unwrap(), b"why");
        assert!(matches!(
            upstream.link().state(),
            LinkState::Down {
                reason: Reason::Gateway(503),
                ..
            }
        ));
        // A write gets the answer itself.
        let upstream = Upstream::new(settings(vec![url], &pki));
        let response = upstream
            .send(Way::Bearer, &head("POST", "/lb"), RequestBody::Empty)
            .await
            .unwrap();
        assert_eq!(response.status(), 503);
        assert!(upstream.link().is_down());
    });
}

#[test]
fn servers_in_order() {
    run(async {
        let pki = pki(&["h2"]);
        let (first, first_url) = listen().await;
        let (second, second_url) = listen().await;
        let named = |name: &'static str| {
            script(move |_, _, respond| async move { answer(respond, 200, name) })
        };
        serve(
            first,
            pki.acceptor.clone(),
            h2::server::Builder::new(),
            named("first"),
        );
        serve(
            second,
            pki.acceptor.clone(),
            h2::server::Builder::new(),
            named("second"),
        );
        let (gone, gone_url) = listen().await;
        drop(gone);
        let upstream = Upstream::new(settings(
            vec![gone_url.clone(), first_url.clone(), second_url.clone()],
            &pki,
        ));
        assert_eq!(get(&upstream, "/").await.unwrap().1, "first");
        assert_eq!(get(&upstream, "/").await.unwrap().1, "first");
        assert!(!upstream.link().is_down());
        let post = upstream
            .send(Way::Bearer, &head("POST", "/"), RequestBody::Empty)
            .await;
        assert!(post.is_ok(), "what was never sent may go to the next");
        let mut turning = settings(vec![first_url, second_url], &pki);
        turning.mode = Mode::RoundRobin;
        let upstream = Upstream::new(turning);
        let mut names = Vec::new();
        for _ in 0..4 {
            names.push(get(&upstream, "/").await.unwrap().1);
        }
        assert_eq!(names, ["first", "second", "first", "second"]);
    });
}

#[test]
fn a_reload_lets_streams_end_and_connects_anew() {
    run(async {
        let pki = pki(&["h2"]);
        let (listener, url) = listen().await;
        let release = Rc::new(tokio::sync::Notify::new());
        let released = release.clone();
        let held = script(move |_, request, mut respond| {
            let released = released.clone();
            async move {
                if request.uri().path() != "/held" {
                    return answer(respond, 200, "new");
                }
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                released.notified().await;
                stream
                    .send_data(Bytes::from_static(b"whole"), true)
                    .unwrap();
            }
        });
        let count = serve(
            listener,
            pki.acceptor.clone(),
            h2::server::Builder::new(),
            held,
        );
        let upstream = Upstream::new(settings(vec![url], &pki));
        let old = upstream
            .send(Way::Bearer, &head("GET", "/held"), RequestBody::Empty)
            .await
            .unwrap();
        upstream.reload(tls_for(pki.roots.clone()), &|_| true);
        assert_eq!(get(&upstream, "/").await.unwrap().1, "new");
        assert_eq!(count.get(), 2);
        release.notify_one();
        assert_eq!(read_all(old.into_body()).await.unwrap(), b"whole");
        until("the old connection closes", || {
            upstream.status()[0].connections == 1
        })
        .await;
    });
}

#[test]
fn a_renewed_pair_is_nobody_elses_business() {
    run(async {
        let pki = pki(&["h2"]);
        let (listener, url) = listen().await;
        let count = serve(
            listener,
            pki.acceptor.clone(),
            h2::server::Builder::new(),
            echo_path(),
        );
        let for_all = || -> TlsFor {
            let tls = tls_for(pki.roots.clone());
            Rc::new(move |_| tls(&Way::Bearer))
        };
        let upstream = Upstream::new(Settings {
            tls: for_all(),
            ..settings(vec![url], &pki)
        });
        let ways = [Way::Bearer, Way::Pair([1; 32]), Way::Pair([2; 32])];
        let ask = async || {
            for way in ways {
                let head = head("GET", "/");
                let sent = upstream.send(way, &head, RequestBody::Empty).await;
                assert_eq!(sent.unwrap().status(), 200);
            }
        };
        ask().await;
        assert_eq!(count.get(), 3);
        upstream.reload(for_all(), &|way| way == ways[1]);
        ask().await;
        ask().await;
        assert_eq!(count.get(), 4, "one of the three is new");
    });
}

#[test]
fn a_silent_accept_times_out() {
    run(async {
        let pki = pki(&["h2"]);
        let (listener, url) = listen().await;
        let mut settings = settings(vec![url], &pki);
        settings.connect_timeout = Duration::from_millis(100);
        let upstream = Upstream::new(settings);
        // Nobody accepts: the kernel does, and TLS hears nothing. All that wait share one attempt.
        let begin = tokio::time::Instant::now();
        let (a, b, c) = tokio::join!(
            get(&upstream, "/"),
            get(&upstream, "/"),
            get(&upstream, "/")
        );
        assert!(a.is_err() && b.is_err() && c.is_err());
        assert!(
            begin.elapsed() < Duration::from_millis(190),
            "{:?}",
            begin.elapsed()
        );
        assert!(matches!(
            upstream.link().state(),
            LinkState::Down {
                reason: Reason::TimedOut,
                ..
            }
        ));
        drop(listener);
    });
}

#[test]
fn a_certificate_that_the_server_refuses_is_not_the_link() {
    run(async {
        let pki = pki(&["h2", "http/1.1"]);
        // The server wants client certificates of a CA that ours is not of.
        let stranger = rcgen::generate_simple_self_signed(vec!["stranger".to_string()]).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(stranger.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::server::WebPkiClientVerifier::builder_with_provider(
            roots.into(),
            provider.clone(),
        );
        let verifier = builder.allow_unauthenticated().build().unwrap();
        let mut config = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(pki.acceptor.config().cert_resolver.clone());
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (listener, url) = listen().await;
        serve(
            listener,
            TlsAcceptor::from(Arc::new(config)),
            h2::server::Builder::new(),
            echo_path(),
        );
        let ours = rcgen::generate_simple_self_signed(vec!["node".to_string()]).unwrap();
        let client =
            |builder: rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>,
             own: bool| {
                let key = PrivateKeyDer::try_from(ours.signing_key.serialize_der()).unwrap();
                Arc::new(match own {
                    true => builder
                        .with_client_auth_cert(vec![ours.cert.der().clone()], key)
                        .unwrap(),
                    false => builder.with_no_client_auth(),
                })
            };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(pki.roots.clone());
        let (with, without) = (client(builder.clone(), true), client(builder, false));
        let mut settings = settings(vec![url], &pki);
        settings.tls = Rc::new(move |way| {
            Some(if way.has_certificate() {
                with.clone()
            } else {
                without.clone()
            })
        });
        let upstream = Upstream::new(settings);
        spawn_local(upstream.clone().run());
        let error = upstream
            .send(Way::Node, &head("GET", "/"), RequestBody::Empty)
            .await
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("refuses our certificate"),
            "{error}"
        );
        upstream.link().became_up().await;
        assert_eq!(get(&upstream, "/token").await.unwrap().1, "/token");
    });
}

#[test]
fn a_black_hole_behind_http1_is_found_by_probes() {
    run(async {
        let pki = pki(&["http/1.1"]);
        let (listener, url) = listen().await;
        let acceptor = pki.acceptor.clone();
        let dead = Rc::new(Cell::new(false));
        let hole = dead.clone();
        spawn_local(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, hole) = (acceptor.clone(), hole.clone());
                spawn_local(async move {
                    if hole.get() {
                        return std::future::pending().await;
                    }
                    let Ok(tls) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let service = hyper::service::service_fn(
                        |request: Request<hyper::body::Incoming>| async move {
                            if request.uri().path() == "/watch" {
                                std::future::pending::<()>().await;
                            }
                            Ok::<_, Infallible>(Response::new(Full::from("fine")))
                        },
                    );
                    let io = crate::sys::hyper_io::HyperIo::new(tls);
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(io, service)
                        .await;
                });
            }
        });
        let mut settings = settings(vec![url], &pki);
        settings.connect_timeout = Duration::from_millis(200);
        let upstream = Upstream::new(settings);
        spawn_local(upstream.clone().run());
        let watch = get(&upstream, "/watch");
        let cut = async {
            until("the watch is open", || upstream.status()[0].streams == 1).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(!upstream.link().is_down());
            dead.set(true);
        };
        let (watch, ()) = tokio::join!(watch, cut);
        assert!(watch.is_err(), "a request into a black hole ends");
        assert!(upstream.link().is_down());
    });
}

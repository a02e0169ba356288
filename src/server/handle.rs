//! One request, from its head to its answer.

use super::connection::{Busy, Underway};
use super::guard::REFUSED_PATH;
use super::guarded::RefusalCell;
use super::tunnel;
use crate::access::{self, Caller, Subject, Way};
use crate::admin::metrics::From;
use crate::cache::Begun;
use crate::cache::answer::{self, What};
use crate::cache::keep::{Head, Keeper};
use crate::cache::key;
use crate::cache::watched::Follower;
use crate::filter::list::Fault;
use crate::filter::{Cannot, Judge};
use crate::health::{LinkState, Reason};
use crate::hub::Shared;
use crate::limits;
use crate::object::status::{StatusDetails, StatusFields, write_status};
use crate::object::{self, Encoding, Malformed};
use crate::reply::access_line::AccessLine;
use crate::reply::backlog::Backlog;
use crate::reply::filtered::{self, NotTold, Unfiltered};
use crate::reply::refusal::Refusal;
use crate::reply::script::Script;
use crate::reply::{self, Body};
use crate::request::{Asked, Resource, Verb, accept, classify};
use crate::route::{self, Opening, Plan};
use crate::upstream::{self, RequestBody, ResponseBody, SendError, headers};
use crate::watch::held::{self, Begin};
use crate::watch::relay::{self, Relay};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// The client's side of a connection, as the door saw it.
pub struct Peer {
    subject: Option<Subject>,
    refusal: RefusalCell,
    /// Of an HTTP/1.1 connection.
    backlog: Option<Backlog>,
    pub busy: Rc<Busy>,
}

impl Peer {
    pub fn new(subject: Option<Subject>, refusal: RefusalCell, backlog: Option<Backlog>) -> Self {
        Peer {
            subject,
            refusal,
            backlog,
            busy: Rc::default(),
        }
    }
}

/// Answers one request. Every answer of the TLS listeners comes from here.
pub async fn handle(
    shared: Rc<Shared>,
    peer: Rc<Peer>,
    request: Request<Incoming>,
) -> Response<Body> {
    let started = Instant::now();
    let underway = Underway::begin(&peer.busy);
    let (head, body) = request.into_parts();
    if head.uri.path() == REFUSED_PATH {
        let why = peer.refusal.get().unwrap_or(Refusal::NotAPath);
        let answer = (From::Hub, reply::refuse(why, ""));
        return finish(&peer, AccessLine::unread(started), underway, answer);
    }
    let asked = match classify(&head) {
        Ok(asked) => asked,
        Err(why) => {
            let answer = (From::Hub, reply::refuse(refusal_of(why), ""));
            return finish(&peer, AccessLine::unread(started), underway, answer);
        }
    };
    let line = AccessLine::new(&asked, started);
    let exchange = Exchange {
        shared: &shared,
        asked: &asked,
    };
    let answer = match access::authenticate(peer.subject.as_ref(), &head.headers, &shared.rules()) {
        Ok(caller) => exchange.answer(caller, head, body).await,
        Err(access::Refused::NotListed { common_name }) => {
            log::warn!(
                "client certificate refused: CN={} is not listed under `identities`",
                common_name.unwrap_or_default().escape_debug()
            );
            (From::Hub, reply::refuse(Refusal::NotListed, ""))
        }
    };
    finish(&peer, line, underway, answer)
}

fn finish(
    peer: &Peer,
    mut line: AccessLine,
    underway: Underway,
    (from, response): Answer,
) -> Response<Body> {
    line.answered(response.status().as_u16(), from);
    let backlog = peer.backlog.clone();
    response.map(|body| body.with(line, Box::new(underway), backlog))
}

fn refusal_of(why: crate::request::Refused) -> Refusal {
    use crate::request::Refused;
    match why {
        Refused::NotAPath => Refusal::NotAPath,
        Refused::TooLong => Refusal::TargetTooLong,
        Refused::Method => Refusal::Method,
        Refused::TwoAuthorizations => Refusal::TwoAuthorizations,
    }
}

/// A classified request under way.
struct Exchange<'a> {
    shared: &'a Rc<Shared>,
    asked: &'a Asked,
}

type Answer = (From, Response<Body>);

impl Exchange<'_> {
    async fn answer(&self, caller: Caller, head: Parts, body: Incoming) -> Answer {
        match route::plan(self.asked, self.shared.upstream.link().is_down()) {
            Plan::Up => self.up(caller, head, body).await,
            // Rare, and bigger than all the others.
            Plan::UpAsUpgrade => Box::pin(self.up_as_upgrade(caller, head, body)).await,
            plan => Box::pin(self.without_link(plan, caller)).await,
        }
    }

    /// The connections that the request goes up on. A token that was never accepted goes with the anonymous ones: the
    /// API server ends the whole connection of one that it does not know (kubernetes-api.md 6).
    fn way(&self, caller: Caller) -> upstream::Way {
        match caller.way {
            Way::Pair(at) => upstream::Way::Pair(at),
            Way::Bearer if self.shared.known.borrow().contains(&caller.who) => {
                upstream::Way::Bearer
            }
            Way::Bearer | Way::Anonymous => upstream::Way::Anonymous,
        }
    }

    /// A watch or a stream of a token that was never accepted would hold one of the few connections that
    /// [`Exchange::way`] has for strangers, for an hour; so the API server is asked about the token first. Its refusal
    /// is the answer.
    async fn introduce(&self, caller: Caller, head: &Parts) -> Option<Answer> {
        let may_last = self.asked.verb == Verb::Watch
            || (self.asked.verb.is_read()
                && (self.asked.resource()).is_some_and(|r| r.subresource.is_some()));
        if caller.way != Way::Bearer || !may_last || self.way(caller) == upstream::Way::Bearer {
            return None;
        }
        let mut question = Request::get("/version").body(()).ok()?.into_parts().0;
        let token = head.headers.get(header::AUTHORIZATION)?.clone();
        question.headers.insert(header::AUTHORIZATION, token);
        let send =
            (self.shared.upstream).send(upstream::Way::Anonymous, &question, RequestBody::Empty);
        // What fails here fails again with the request itself, which knows what to make of it.
        let response = send.await.ok()?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Some((From::Cloud, self.pass(caller, None, response)));
        }
        if !response.status().is_server_error() {
            self.shared.known.borrow_mut().accept(caller.who);
        }
        None
    }

    /// Why nothing can be asked upstream.
    fn offline(&self, write: bool) -> Answer {
        let refusal = match self.shared.upstream.link().state() {
            LinkState::Down {
                reason: Reason::Tls(_),
                ..
            } => Refusal::UpstreamCertificate,
            _ if write => Refusal::OfflineWrite,
            _ => Refusal::Offline,
        };
        (
            From::Hub,
            reply::refuse(refusal, &self.shared.offline_since()),
        )
    }

    /// To the API server; a read that finds no way there is answered from what is kept.
    async fn up(&self, caller: Caller, mut head: Parts, body: Incoming) -> Answer {
        head.headers = headers::request_headers(std::mem::take(&mut head.headers));
        if self.asked.verb == Verb::Watch {
            // A watch must be read as it comes; the API server compresses some from 1.37 on.
            head.headers.remove(header::ACCEPT_ENCODING);
        }
        if let Some(refused) = self.introduce(caller, &head).await {
            return refused;
        }
        let body = RequestBody::incoming(body);
        let begun = self.shared.cache.borrow().begun();
        let send = self.shared.upstream.send(self.way(caller), &head, body);
        let sent = match self.patience() {
            Some(patience) => timeout(patience, send).await,
            None => Ok(send.await),
        };
        match sent {
            Ok(Ok(response)) => {
                let begun = Some(begun).filter(|_| head.method == Method::GET);
                match self.shared.filters.judge(self.asked) {
                    Some(judge) if response.status() == StatusCode::OK => {
                        Box::pin(self.pass_filtered(caller, begun, response, judge)).await
                    }
                    _ => (From::Cloud, self.pass(caller, begun, response)),
                }
            }
            // Boxed, or what waits for an answer would carry what comes without one.
            Ok(Err(error)) => Box::pin(self.not_answered(caller, error)).await,
            Err(_) => {
                let kept = Box::pin(self.kept_instead(caller)).await;
                kept.unwrap_or_else(|| (From::Hub, reply::refuse(Refusal::UpstreamSilent, "")))
            }
        }
    }

    /// How long the answer's head may take, so that what is kept still reaches a client that gives up by itself.
    fn patience(&self) -> Option<Duration> {
        if !matches!(self.asked.verb, Verb::Get | Verb::List) || key::scope(self.asked).is_none() {
            return None;
        }
        let asked = &self.asked.options;
        let secs = asked
            .client_timeout_secs
            .or(asked.timeout_secs)
            .filter(|s| *s > 0)?;
        let margin = limits::ANSWER_MARGIN.min(Duration::from_secs(secs) / 4);
        Some(Duration::from_secs(secs) - margin)
    }

    /// The API server's answer, on its way to the client and, where worth keeping, to the cache; `begun` is when it was
    /// asked for, if it may be kept.
    fn pass(
        &self,
        caller: Caller,
        begun: Option<Begun>,
        response: Response<ResponseBody>,
    ) -> Response<Body> {
        let (mut head, body) = response.into_parts();
        head.headers = headers::response_headers(head.headers);
        self.learn(caller, head.status);
        let content_type = text(&head.headers, header::CONTENT_TYPE).to_owned();
        let gzip = match text(&head.headers, header::CONTENT_ENCODING) {
            "" | "identity" => Some(false),
            "gzip" => Some(true),
            // Nobody here could read it.
            _ => None,
        };
        let body = match (self.asked.verb, gzip, begun) {
            (Verb::Watch, Some(false), _) if head.status == StatusCode::OK => {
                self.watched(caller, body, &content_type)
            }
            (_, Some(gzip), Some(begun)) => {
                let seen = Head {
                    status: head.status.as_u16(),
                    content_type: &content_type,
                    gzip,
                    begun,
                };
                let keeper = Keeper::new(&self.shared.cache, self.asked, caller.who, &seen);
                Body::passed(body, keeper)
            }
            _ => Body::passed(body, None),
        };
        Response::from_parts(head, body)
    }

    /// The same, of an answer that is told otherwise than it came.
    async fn pass_filtered(
        &self,
        caller: Caller,
        begun: Option<Begun>,
        response: Response<ResponseBody>,
        judge: Judge,
    ) -> Answer {
        if self.asked.verb == Verb::Watch {
            return (From::Cloud, self.pass(caller, begun, response));
        }
        let (mut head, body) = response.into_parts();
        head.headers = headers::response_headers(head.headers);
        self.learn(caller, head.status);
        let content_type = text(&head.headers, header::CONTENT_TYPE).to_owned();
        let gzip = match text(&head.headers, header::CONTENT_ENCODING) {
            "" | "identity" => Some(false),
            "gzip" => Some(true),
            _ => None,
        };
        let (Some(encoding), Some(gzip)) = (accept::encoding_of(&content_type), gzip) else {
            return self
                .not_told(caller, NotTold::from(Malformed::Syntax))
                .await;
        };
        let incoming = Unfiltered {
            body,
            gzip,
            encoding,
            judge,
        };
        let keeper = |begun| {
            let seen = Head {
                status: head.status.as_u16(),
                content_type: &content_type,
                gzip: false,
                begun,
            };
            Keeper::new(&self.shared.cache, self.asked, caller.who, &seen)
        };
        let keeper = begun.and_then(keeper);
        let told = match self.asked.verb {
            Verb::List => filtered::list(incoming, keeper).await,
            _ => match filtered::object(incoming).await {
                Ok(None) => return (From::Hub, not_found(encoding, self.asked.resource())),
                Ok(Some(told)) => {
                    if let Some(mut keeper) = keeper {
                        keeper.feed(&told);
                        keeper.finish();
                    }
                    Ok(Body::whole(told))
                }
                Err(why) => Err(why),
            },
        };
        let body = match told {
            Ok(body) => body,
            Err(why) => return self.not_told(caller, why).await,
        };
        head.headers.remove(header::CONTENT_LENGTH);
        head.headers.remove(header::CONTENT_ENCODING);
        (From::Cloud, Response::from_parts(head, body))
    }

    /// An answer came, and is not passed on.
    async fn not_told(&self, caller: Caller, why: NotTold) -> Answer {
        let refusal = match why {
            NotTold::Upstream(error) => {
                log::debug!("no answer: {error}");
                let kept = self.kept_instead(caller).await;
                return kept.unwrap_or_else(|| (From::Hub, reply::refuse(Refusal::Offline, "")));
            }
            NotTold::Fault(fault) => {
                filtered::note(&fault);
                match fault {
                    Fault::Cannot(Cannot::Decide) => Refusal::NotDecided,
                    _ => Refusal::NotFiltered,
                }
            }
        };
        (From::Hub, reply::refuse(refusal, ""))
    }

    /// What the status says about the caller.
    fn learn(&self, caller: Caller, status: StatusCode) {
        match status {
            StatusCode::UNAUTHORIZED => {
                self.shared.known.borrow_mut().refuse(&caller.who);
                self.shared.cache.borrow_mut().forget_all_of(&caller.who);
            }
            StatusCode::FORBIDDEN => {
                if let Some(scope) = key::scope(self.asked) {
                    self.shared.cache.borrow_mut().forget(&caller.who, &scope);
                }
            }
            // A load balancer, or a server that is starting: neither has looked at the token.
            _ if status.is_server_error() => {}
            _ => self.shared.known.borrow_mut().accept(caller.who),
        }
        if let Some(resource) = self.asked.resource()
            && !self.asked.verb.is_read()
            && status.is_success()
        {
            self.shared.cache.borrow_mut().written(resource);
        }
    }

    fn watched(&self, caller: Caller, body: ResponseBody, content_type: &str) -> Body {
        let Some(encoding) = accept::encoding_of(content_type) else {
            return Body::passed(body, None);
        };
        let follower = Follower::new(&self.shared.cache, self.asked, caller.who, encoding);
        let watch_list = self.asked.options.send_initial_events;
        let stop = self.shared.draining();
        Body::script(Script::new(|pen| {
            Relay::new(pen, encoding, follower, watch_list).run(body, stop)
        }))
    }

    /// No answer came.
    async fn not_answered(&self, caller: Caller, error: SendError) -> Answer {
        let refusal = match error {
            SendError::Gateway(response) => {
                let kept = self.kept_instead(caller).await;
                return kept.unwrap_or_else(|| (From::Cloud, self.pass(caller, None, *response)));
            }
            SendError::Down(_) => {
                let plan = route::without_link(self.asked.verb);
                return self.without_link(plan, caller).await;
            }
            SendError::NotSent(_) => Refusal::NotSent,
            SendError::Lost(_) if self.asked.verb.is_read() => Refusal::Offline,
            SendError::Lost(_) => Refusal::OutcomeUnknown,
            SendError::TlsRefused(_) => Refusal::UpstreamCertificate,
            SendError::Client(_) => Refusal::BodyBroken,
        };
        log::debug!("no answer: {error}");
        let kept = self.kept_instead(caller).await;
        kept.unwrap_or_else(|| (From::Hub, reply::refuse(refusal, "")))
    }

    /// From what is kept, if the request is a read and its answer is kept.
    async fn kept_instead(&self, caller: Caller) -> Option<Answer> {
        match route::without_link(self.asked.verb) {
            Plan::FromCache => self.kept(caller).await,
            // Held only when the link is known to be down; a client that asks again gets its watch.
            Plan::Hold if self.shared.upstream.link().is_down() => Some(self.hold(caller).await),
            _ => None,
        }
    }

    async fn without_link(&self, plan: Plan, caller: Caller) -> Answer {
        match plan {
            Plan::FromCache => {
                let kept = self.kept(caller).await;
                kept.unwrap_or_else(|| self.offline(false))
            }
            Plan::Hold => self.hold(caller).await,
            _ => self.offline(true),
        }
    }

    async fn kept(&self, caller: Caller) -> Option<Answer> {
        let cache = &self.shared.cache;
        let found = answer::find(cache, self.asked, caller.who, Instant::now()).await?;
        let response = match found.what {
            What::Object {
                encoding,
                type_meta,
                stored,
            } => {
                let mut out = Vec::new();
                object::write_single(encoding, &type_meta, &stored, &mut out);
                reply::whole(200, accept::content_type(encoding), out)
            }
            What::Absent {
                encoding,
                body: Some(body),
            } => reply::whole(404, accept::content_type(encoding), body),
            What::Absent {
                encoding,
                body: None,
            } => not_found(encoding, self.asked.resource()),
            What::Document { content_type, body } => reply::whole(200, &content_type, body),
            What::List(list) => {
                let content_type = accept::content_type(list.encoding);
                let begun = reply::list::begin(list).await.ok()?;
                let body = Body::script(Script::new(|pen| reply::list::write(pen, begun)));
                with_content_type(Response::new(body), content_type)
            }
        };
        Some((From::Cache, aged(response, found.age)))
    }

    async fn hold(&self, caller: Caller) -> Answer {
        let cache = &self.shared.cache;
        let found = answer::find_list(cache, self.asked, caller.who, Instant::now()).await;
        let known = self.shared.known.borrow().contains(&caller.who);
        let encoding = found
            .as_ref()
            .map_or(self.asked.best().encoding, |(list, _)| list.encoding);
        let kept = found.as_ref().map(|(list, _)| &*list.view.version);
        let opening = route::opening(self.asked, kept, known);
        let begin = match (opening, &found) {
            (Opening::Replay { end_bookmark }, Some((list, _))) => Begin::Replay {
                list: list.clone(),
                end_bookmark,
            },
            (Opening::Expired, _) => Begin::Expired(encoding),
            (Opening::Silent, _) => Begin::Nothing,
            _ => return self.offline(false),
        };
        let lifetime = relay::lifetime(self.asked.options.timeout_secs, self.shared.random());
        let most = limits::HELD_SPREAD.as_millis() as u64;
        let spread = Duration::from_millis(self.shared.random() % most);
        let upstream = Rc::clone(&self.shared.upstream);
        let link_up = async move { upstream.link().became_up().await };
        let stop = self.shared.draining();
        let body = Body::script(Script::new(|pen| {
            held::hold(pen, begin, lifetime, spread, link_up, stop)
        }));
        let response = with_content_type(Response::new(body), accept::watch_content_type(encoding));
        match found {
            Some((_, age)) => (From::Cache, aged(response, age)),
            None => (From::Hub, response),
        }
    }

    async fn up_as_upgrade(&self, caller: Caller, mut head: Parts, body: Incoming) -> Answer {
        let client = head.extensions.remove::<OnUpgrade>();
        head.headers = headers::upgrade_headers(std::mem::take(&mut head.headers));
        let body = RequestBody::incoming(body);
        let sent = self
            .shared
            .upstream
            .upgrade(self.way(caller), &head, body)
            .await;
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => return self.not_answered(caller, error).await,
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (mut head, body) = response.into_parts();
            head.headers = headers::response_headers(head.headers);
            self.learn(caller, head.status);
            let body = ResponseBody::alone(body);
            return (
                From::Cloud,
                Response::from_parts(head, Body::passed(body, None)),
            );
        }
        let Some(client) = client else {
            return (
                From::Hub,
                reply::refuse(Refusal::Malformed("this connection cannot be upgraded"), ""),
            );
        };
        let server = hyper::upgrade::on(&mut response);
        let upstream = Rc::clone(&self.shared.upstream);
        let link_down = async move { upstream.link().became_down().await };
        self.shared.spawn(tunnel::run(client, server, link_down));
        let (mut head, _) = response.into_parts();
        head.headers = headers::upgrade_response_headers(head.headers);
        (From::Cloud, Response::from_parts(head, Body::whole("")))
    }
}

/// The 404 that the API server would give for an object that a complete list does not hold.
fn not_found(encoding: Encoding, resource: Option<&Resource>) -> Response<Body> {
    let (name, group, kind) = resource.map_or(("", "", ""), |r| {
        (
            r.name.as_deref().unwrap_or_default(),
            r.group.as_str(),
            r.resource.as_str(),
        )
    });
    let qualified = resource.map(Resource::qualified).unwrap_or_default();
    let status = StatusFields {
        code: 404,
        reason: "NotFound",
        message: &format!("{qualified} \"{name}\" not found"),
        details: Some(StatusDetails { name, group, kind }),
    };
    let mut out = Vec::new();
    write_status(encoding, &status, &mut out);
    reply::whole(404, accept::content_type(encoding), out)
}

fn with_content_type(mut response: Response<Body>, content_type: &'static str) -> Response<Body> {
    let value = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response
}

/// Marks an answer from what is kept.
fn aged(mut response: Response<Body>, age: Duration) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(&format!("age={}", age.as_secs())) {
        response.headers_mut().insert("edge-hub-cache", value);
    }
    let no_cache = HeaderValue::from_static("no-cache, private");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_cache);
    response
}

fn text(headers: &http::HeaderMap, name: header::HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
}

//! One request, from its head to its answer.

use super::connection::{Busy, Underway};
use super::guard::REFUSED_PATH;
use super::guarded::RefusalCell;
use super::splice::{Begin, Watch};
use super::strangers::{Origin, TooMany};
use super::tunnel;
use crate::access::verdict::{Verdict, verdict};
use crate::access::{self, Caller, Proof, Rules, Shown, Way, Who};
use crate::admin::metrics::From;
use crate::cache::Begun;
use crate::cache::answer::{self, List, What};
use crate::cache::keep::{Head, Keeper};
use crate::cache::key;
use crate::cache::watched::Follower;
use crate::filter::list::Fault;
use crate::filter::{Cannot, Judge};
use crate::health::{LinkState, Reason};
use crate::hub::Shared;
use crate::limits;
use crate::local::{is_csi_node, posted};
use crate::object::status::{StatusDetails, StatusFields, write_status};
use crate::object::{self, Encoding, Malformed};
use crate::reply::access_line::AccessLine;
use crate::reply::backlog::Backlog;
use crate::reply::filtered::{self, NotTold, Unfiltered};
use crate::reply::refusal::Refusal;
use crate::reply::script::Script;
use crate::reply::{self, Body};
use crate::request::{Asked, Form, Resource, Verb, accept, classify, wants_upgrade};
use crate::route::{self, Opening, Plan};
use crate::sys::clock;
use crate::upstream::{self, RequestBody, ResponseBody, SendError, headers};
use crate::watch::ask::{Ask, Said};
use crate::watch::relay;
use crate::watch::told::Told;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// The client's side of a connection, as the door saw it.
pub struct Peer {
    proof: Proof,
    origin: Origin,
    refusal: RefusalCell,
    /// Of an HTTP/1.1 connection.
    backlog: Option<Backlog>,
    said: Said,
    shown: Shown,
    pub busy: Rc<Busy>,
}

impl Peer {
    /// Who asks.
    pub fn names(
        &self,
        headers: &http::HeaderMap,
        rules: &Rules,
    ) -> Result<Caller, access::Refused> {
        access::authenticate(&self.proof, headers, rules, &self.shown)
    }

    pub fn new(
        proof: Proof,
        origin: Origin,
        refusal: RefusalCell,
        backlog: Option<Backlog>,
    ) -> Self {
        Peer {
            proof,
            origin,
            refusal,
            backlog,
            said: Said::default(),
            shown: Shown::default(),
            busy: Rc::default(),
        }
    }
}

/// Answers one request. Every answer of all listeners but the admin's comes from here.
pub async fn handle(
    shared: Rc<Shared>,
    peer: Rc<Peer>,
    request: Request<Incoming>,
) -> Response<Body> {
    let started = Instant::now();
    let underway = Underway::begin(&peer.busy);
    let (mut head, body) = request.into_parts();
    if head.uri.path() == REFUSED_PATH {
        let why = peer.refusal.get().unwrap_or(Refusal::NotAPath);
        let answer = (From::Hub, reply::refuse(why, ""));
        return finish(&peer, AccessLine::unread(started), underway, answer);
    }
    let upgrade = wants_upgrade(&head);
    let asked = match classify(&head) {
        Ok(asked) => asked,
        Err(why) => {
            let mut response = reply::refuse(refusal_of(why), "");
            end_where_unguarded(upgrade, &mut response);
            let answer = (From::Hub, response);
            return finish(&peer, AccessLine::unread(started), underway, answer);
        }
    };
    let line = AccessLine::new(&asked, started);
    let exchange = Exchange::new(&shared, &peer, &asked, &head.headers);
    let (from, mut response) = match peer.names(&head.headers, &shared.rules()) {
        Ok(caller) => {
            if let Way::Pair(_) = caller.way {
                // Where the pair is good it beats a token, and where it is not nobody else is let in beside it.
                head.headers.remove(header::AUTHORIZATION);
                if peer.proof == Proof::Local {
                    headers::strip_impersonation(&mut head.headers);
                }
            }
            exchange.answer(caller, head, body).await
        }
        Err(why) => (From::Hub, reply::refuse(not_let_in(why), "")),
    };
    end_where_unguarded(upgrade, &mut response);
    finish(&peer, line, underway, (from, response))
}

/// What follows on the connection of a request to upgrade was not looked at by the guard, which must take it for another
/// protocol.
fn end_where_unguarded(upgrade: bool, response: &mut Response<Body>) {
    if upgrade && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
}

fn finish(
    peer: &Peer,
    mut line: AccessLine,
    underway: Underway,
    (from, response): Answer,
) -> Response<Body> {
    line.answered(response.status().as_u16(), from);
    let backlog = peer.backlog.clone();
    // In this order: the line is written before the request is no longer under way.
    response.map(|body| body.with(Box::new((line, underway)), backlog))
}

fn not_let_in(why: access::Refused) -> Refusal {
    match why {
        access::Refused::NotListed { subject } => {
            log::warn!(
                "client certificate refused: {} is not listed under `identities`",
                subject.escape_debug()
            );
            Refusal::NotListed
        }
        access::Refused::NotLocal => Refusal::NotLocal,
        access::Refused::NoNodePair => Refusal::NoNodePair,
    }
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
pub(super) struct Exchange<'a> {
    pub(super) shared: &'a Rc<Shared>,
    pub(super) peer: &'a Rc<Peer>,
    pub(super) asked: &'a Asked,
    authorization: Option<HeaderValue>,
    /// It was let up as a stranger's, and is still taken for one.
    is_stranger: Cell<bool>,
}

pub(super) type Answer = (From, Response<Body>);

impl<'a> Exchange<'a> {
    pub(super) fn new(
        shared: &'a Rc<Shared>,
        peer: &'a Rc<Peer>,
        asked: &'a Asked,
        headers: &http::HeaderMap,
    ) -> Exchange<'a> {
        Exchange {
            shared,
            peer,
            asked,
            authorization: headers.get(header::AUTHORIZATION).cloned(),
            is_stranger: Cell::new(false),
        }
    }

    async fn answer(&self, caller: Caller, head: Parts, body: Incoming) -> Answer {
        let posted = posted(self.asked, &caller, &self.shared.config.borrow().node_name);
        match posted.filter(|kind| !kind.is_nodes_own() || self.shared.is_node(&caller.who)) {
            // Rare, and bigger than all the others.
            Some(kind) => Box::pin(self.posted(kind, caller, head, body)).await,
            None => self.planned(caller, head, body).await,
        }
    }

    pub(super) async fn planned(&self, caller: Caller, head: Parts, body: Incoming) -> Answer {
        match route::plan(self.asked, self.shared.upstream.link().is_down()) {
            Plan::Up => {
                if self.asked.verb.is_read() && self.shared.upstream.link().is_unknown() {
                    let ask = self.ask(head.clone());
                    if let Some(kept) = Box::pin(self.kept_at_start(caller, ask)).await {
                        return kept;
                    }
                }
                self.up(caller, head, body).await
            }
            // As rare.
            Plan::UpAsUpgrade => Box::pin(self.up_as_upgrade(caller, head, body)).await,
            plan => {
                let ask = self.ask(head);
                Box::pin(self.without_link(plan, caller, ask)).await
            }
        }
    }

    /// Whether no server has said anything since the hub's start, though there was time for it.
    pub(super) async fn has_no_word_yet(&self) -> bool {
        let link = self.shared.upstream.link();
        let wait = limits::FIRST_WORD_WAIT.saturating_sub(self.shared.started.elapsed());
        timeout(wait, link.became_known()).await.is_err()
    }

    /// What is kept, while it is not known whether any server can be reached: a node that boots does not wait for that.
    async fn kept_at_start(&self, caller: Caller, ask: Option<Ask>) -> Option<Answer> {
        match self.has_no_word_yet().await {
            true => self.kept_instead(caller, ask).await,
            false => None,
        }
    }

    /// A watch as it can be asked for again.
    fn ask(&self, mut head: Parts) -> Option<Ask> {
        if self.asked.verb != Verb::Watch {
            return None;
        }
        head.headers = headers::request_headers(head.headers);
        Some(Ask::new(&head, &self.peer.said, &self.peer.shown))
    }

    /// The connections that the request goes up on. A token that was never accepted goes with the anonymous ones: the
    /// API server ends the whole connection of one that it does not know (kubernetes-api.md 6).
    pub(super) fn way(&self, caller: Caller) -> upstream::Way {
        match caller.way {
            Way::Pair(at) => upstream::Way::Pair(at),
            Way::Bearer if self.shared.is_known(&caller) => upstream::Way::Bearer,
            Way::Bearer | Way::Anonymous => upstream::Way::Anonymous,
        }
    }

    /// Waits until a request may go up of which it is not known that the API server knows its caller.
    async fn enter(&self, caller: Caller) -> Option<Answer> {
        let is_known = || self.way(caller) != upstream::Way::Anonymous;
        if is_known() {
            return None;
        }
        let strangers = &self.shared.strangers;
        match strangers.enter(self.peer.origin.source(), is_known).await {
            Ok(()) => {
                self.is_stranger.set(!is_known());
                None
            }
            Err(TooMany) => Some((From::Hub, reply::refuse(Refusal::TooManyStrangers, ""))),
        }
    }

    /// A watch or a stream of a token that was never accepted would hold one of the few connections that
    /// [`Exchange::way`] has for strangers, for an hour; so the API server is asked about the token first. Its refusal
    /// is the answer.
    pub(super) async fn introduce(&self, caller: Caller) -> Option<Answer> {
        let may_last = self.asked.verb == Verb::Watch
            || (self.asked.verb.is_read()
                && (self.asked.resource()).is_some_and(|r| r.subresource.is_some()));
        if caller.way != Way::Bearer || !may_last || self.way(caller) == upstream::Way::Bearer {
            return None;
        }
        let mut question = Request::get("/version").body(()).ok()?.into_parts().0;
        let token = self.authorization.clone()?;
        question.headers.insert(header::AUTHORIZATION, token);
        let send =
            (self.shared.upstream).send(upstream::Way::Anonymous, &question, RequestBody::Empty);
        // What fails here fails again with the request itself, which knows what to make of it.
        let response = send.await.ok()?;
        let verdict = verdict(
            &classify(&question).ok()?,
            response.status(),
            response.headers(),
        );
        self.judged(caller, verdict);
        match verdict {
            Verdict::Refused => Some((From::Cloud, self.pass(caller, None, None, response))),
            _ => None,
        }
    }

    /// Takes what the API server says of the caller, and gives who that is.
    fn judged(&self, caller: Caller, verdict: Verdict) -> Caller {
        (self.shared).judged(caller, self.authorization.as_ref(), verdict)
    }

    /// Who asks, where the API server cannot say it. `None`: nothing that is kept is for this caller. Who is nobody gets
    /// nothing but the documents that tell nobody's secrets.
    pub(super) async fn recognised(&self, caller: Caller) -> Option<Caller> {
        if caller.is_nobody() && self.asked.resource().is_some() {
            return None;
        }
        let authorization = self.authorization.as_ref();
        self.shared.recognised(caller, authorization).await
    }

    /// Why nothing can be asked upstream.
    pub(super) fn offline(&self, write: bool) -> Answer {
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
        if self.is_read_here()
            && let Some(accept) = accept::without_cbor(text(&head.headers, header::ACCEPT))
            && let Ok(accept) = HeaderValue::try_from(accept)
        {
            head.headers.insert(header::ACCEPT, accept);
        }
        let mut ask = None;
        if self.asked.verb == Verb::Watch {
            // A watch must be read as it comes; the API server compresses some from 1.37 on.
            head.headers.remove(header::ACCEPT_ENCODING);
            let watch = Ask::new(&head, &self.peer.said, &self.peer.shown);
            // Who wants initial events gets a mark with them that who takes no bookmarks may not expect.
            let options = &self.asked.options;
            if !options.allow_bookmarks && !options.send_initial_events {
                head.uri = watch.with_bookmarks().map_or(head.uri, Uri::from);
            }
            ask = Some(watch);
        }
        if let Some(refused) = self.enter(caller).await {
            return refused;
        }
        if let Some(refused) = self.introduce(caller).await {
            return refused;
        }
        let judge = self.shared.filters.judge(self.asked).await;
        if judge.as_ref().is_some_and(Judge::is_blind) {
            filtered::note(&Fault::Cannot(Cannot::Decide));
            return (From::Hub, reply::refuse(Refusal::NotDecided, ""));
        }
        let odd = |ask: &Ask| ask.takes_tables() || self.asked.best().form != Form::Object;
        if judge.is_some() && ask.as_ref().is_some_and(odd) {
            // Of a list the answer itself shows what it is; of a watch that may never come.
            return self.not_told(caller, NotTold::from(Malformed::Shape)).await;
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
                match judge {
                    Some(judge) if response.status() == StatusCode::OK && ask.is_none() => {
                        Box::pin(self.pass_filtered(caller, begun, response, judge)).await
                    }
                    Some(_) if response.status() == StatusCode::OK && !is_plain(&response) => {
                        let why = NotTold::from(Malformed::Syntax);
                        Box::pin(self.not_told(caller, why)).await
                    }
                    _ => (From::Cloud, self.pass(caller, begun, ask, response)),
                }
            }
            // Boxed, or what waits for an answer would carry what comes without one.
            Ok(Err(error)) => Box::pin(self.not_answered(caller, error, ask)).await,
            Err(_) => {
                let kept = Box::pin(self.kept_instead(caller, ask)).await;
                kept.unwrap_or_else(|| (From::Hub, reply::refuse(Refusal::UpstreamSilent, "")))
            }
        }
    }

    /// True if the hub must be able to read the answer: to go on with a watch, or to keep it.
    fn is_read_here(&self) -> bool {
        self.asked.verb == Verb::Watch
            || (self.asked.verb.is_read()
                && key::has_scope(self.asked)
                && self
                    .shared
                    .cache
                    .borrow()
                    .class(&self.asked.agent)
                    .is_some())
    }

    /// How long the answer's head may take, so that what is kept still reaches a client that gives up by itself.
    fn patience(&self) -> Option<Duration> {
        if !matches!(self.asked.verb, Verb::Get | Verb::List) || !key::has_scope(self.asked) {
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
    /// asked for, if it may be kept; `ask` is how a watch is asked for again.
    pub(super) fn pass(
        &self,
        caller: Caller,
        begun: Option<Begun>,
        ask: Option<Ask>,
        response: Response<ResponseBody>,
    ) -> Response<Body> {
        let (mut head, body) = response.into_parts();
        let caller = self.learn(caller, head.status, &head.headers);
        head.headers = headers::response_headers(head.headers);
        self.learn_time(&head.headers);
        let content_type = text(&head.headers, header::CONTENT_TYPE).to_owned();
        let gzip = match text(&head.headers, header::CONTENT_ENCODING) {
            "" | "identity" => Some(false),
            "gzip" => Some(true),
            // Nobody here could read it.
            _ => None,
        };
        let encoding = accept::encoding_of(&content_type);
        let body = match (ask, gzip, begun) {
            (Some(ask), Some(false), _) if head.status == StatusCode::OK => match encoding {
                Some(encoding) => self.watched(caller, ask, encoding, body),
                None => Body::passed(body, None),
            },
            (None, Some(gzip), Some(begun)) => {
                let seen = Head {
                    status: head.status.as_u16(),
                    content_type: &content_type,
                    gzip,
                    begun,
                };
                let keeper = self
                    .is_kept_for(&caller)
                    .then(|| Keeper::new(&self.shared.cache, self.asked, caller.who, &seen));
                Body::passed(body, keeper.flatten())
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
        let (mut head, body) = response.into_parts();
        let caller = self.learn(caller, head.status, &head.headers);
        head.headers = headers::response_headers(head.headers);
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
        let keeper = begun.filter(|_| self.is_kept_for(&caller)).and_then(keeper);
        let told = match self.asked.verb {
            Verb::List => filtered::list(incoming, keeper).await,
            _ => match filtered::object(incoming).await {
                Ok(None) => {
                    let told = as_server(encoding, self.asked.resource(), 404, "NotFound");
                    return (From::Hub, told);
                }
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
                let kept = self.kept_instead(caller, None).await;
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

    /// Nothing but documents is kept of what nobody was told, and nothing of what was told to a token of which it is not
    /// known whose it is.
    pub(super) fn is_kept_for(&self, caller: &Caller) -> bool {
        match caller.token {
            Some(_) => self.shared.is_known(caller),
            None => !caller.is_nobody() || self.asked.resource().is_none(),
        }
    }

    /// What the head of an answer says about the caller, and about what he may have. Gives who the caller is.
    pub(super) fn learn(
        &self,
        caller: Caller,
        status: StatusCode,
        headers: &http::HeaderMap,
    ) -> Caller {
        let caller = self.judged(caller, verdict(self.asked, status, headers));
        if status == StatusCode::FORBIDDEN
            && let Some(scope) = key::scope(self.asked)
        {
            self.shared.cache.borrow_mut().forget(&caller.who, &scope);
        }
        if self.is_stranger.get() && self.way(caller) != upstream::Way::Anonymous {
            self.is_stranger.set(false);
            self.shared.strangers.known(self.peer.origin.source());
        }
        // A token is no change of the account that it is of.
        if let Some(resource) = self.asked.resource()
            && !self.asked.verb.is_read()
            && status.is_success()
            && resource.subresource.as_deref() != Some("token")
        {
            self.shared.cache.borrow_mut().written(resource);
        }
        caller
    }

    /// What time the API server has, from answers that are its own: those of other groups may be another server's, and those
    /// of subresources a pod's.
    fn learn_time(&self, headers: &http::HeaderMap) {
        let is_its_own = |r: &Resource| r.group.is_empty() && r.subresource.is_none();
        if self.asked.resource().is_some_and(is_its_own)
            && let Some(unix_secs) = clock::parse_imf_fixdate(text(headers, header::DATE))
        {
            self.shared.clock().told(unix_secs);
        }
    }

    fn watched(&self, caller: Caller, ask: Ask, encoding: Encoding, body: ResponseBody) -> Body {
        let follower = self
            .is_kept_for(&caller)
            .then(|| Follower::new(&self.shared.cache, self.asked, caller.who, encoding));
        let follower = follower.flatten().map(Box::new);
        let watch = self.watch(caller, ask, encoding);
        self.watch_body(watch, Begin::Up(Box::new((body, follower))))
    }

    fn watch_body(&self, watch: Watch, begin: Begin) -> Body {
        let patience = self.shared.config.borrow().stalled_watch;
        Body::script(Script::new(|pen| watch.run(pen, begin))).patient_for(patience)
    }

    fn watch(&self, caller: Caller, ask: Ask, encoding: Encoding) -> Watch {
        let options = &self.asked.options;
        Watch {
            shared: Rc::clone(self.shared),
            peer: Rc::clone(self.peer),
            who: caller.who,
            ask,
            encoding,
            told: Told::new(options),
            class: self.shared.cache.borrow().class(&self.asked.agent),
            lifetime: relay::lifetime(options.timeout_secs, self.shared.random()),
            lens: self.shared.filters.lens(self.asked, caller.who, encoding),
        }
    }

    /// No answer came.
    pub(super) async fn not_answered(
        &self,
        caller: Caller,
        error: SendError,
        ask: Option<Ask>,
    ) -> Answer {
        let refusal = match error {
            SendError::Gateway(response) => {
                let kept = self.kept_instead(caller, ask).await;
                let passed = || self.pass(caller, None, None, *response);
                return kept.unwrap_or_else(|| (From::Cloud, passed()));
            }
            SendError::Down(_) => {
                let plan = route::without_link(self.asked.verb);
                return self.without_link(plan, caller, ask).await;
            }
            SendError::NotSent(_) => Refusal::NotSent,
            SendError::Lost(_) if self.asked.verb.is_read() => Refusal::Offline,
            SendError::Lost(_) => Refusal::OutcomeUnknown,
            SendError::TlsRefused(_) => Refusal::UpstreamCertificate,
            SendError::Client(_) => Refusal::BodyBroken,
        };
        log::debug!("no answer: {error}");
        let kept = self.kept_instead(caller, ask).await;
        kept.unwrap_or_else(|| (From::Hub, reply::refuse(refusal, "")))
    }

    /// From what is kept, if the request is a read and its answer is kept.
    async fn kept_instead(&self, caller: Caller, ask: Option<Ask>) -> Option<Answer> {
        match route::without_link(self.asked.verb) {
            Plan::FromCache => match self.lease_kept(&caller) {
                Some(lease) => Some(lease),
                None => self.kept(caller).await,
            },
            Plan::Hold => self.hold(caller, ask?).await,
            _ => None,
        }
    }

    async fn without_link(&self, plan: Plan, caller: Caller, ask: Option<Ask>) -> Answer {
        let write = !matches!(plan, Plan::FromCache | Plan::Hold);
        let kept = self.kept_instead(caller, ask).await;
        kept.unwrap_or_else(|| self.offline(write))
    }

    async fn kept(&self, caller: Caller) -> Option<Answer> {
        let caller = self.recognised(caller).await?;
        let cache = &self.shared.cache;
        let found = answer::find(cache, self.asked, caller.who, Instant::now()).await?;
        let judge = self.shared.filters.judge_now(self.asked);
        let now = judge.as_ref().and_then(Judge::of_kept);
        let response = match found.what {
            What::Object {
                encoding,
                type_meta,
                stored,
            } => {
                let mut out = Vec::new();
                let told = reply::list::as_now(now.as_ref(), encoding, &stored);
                object::write_single(encoding, &type_meta, &told, &mut out);
                reply::whole(200, accept::content_type(encoding), out)
            }
            // A kubelet that hears so wants to make it, cannot, and ends (kubernetes-api.md 4.4).
            What::Absent { .. } if self.asked.resource().is_some_and(is_csi_node) => return None,
            What::Absent {
                encoding,
                body: Some(body),
            } => reply::whole(404, accept::content_type(encoding), body),
            What::Absent {
                encoding,
                body: None,
            } => as_server(encoding, self.asked.resource(), 404, "NotFound"),
            What::Document { content_type, body } => reply::whole(200, &content_type, body),
            What::List(list) => {
                let content_type = accept::content_type(list.encoding);
                let begun = reply::list::begin(list, now).await.ok()?;
                let body = Body::script(Script::new(|pen| reply::list::write(pen, begun)));
                with_content_type(Response::new(body), content_type)
            }
        };
        Some((From::Cache, aged(response, found.age)))
    }

    /// A watch that begins without the API server. `None`: nothing is known that it could begin with.
    async fn hold(&self, caller: Caller, mut ask: Ask) -> Option<Answer> {
        // What the API server refuses, or reads otherwise, would be held for nothing.
        if self.asked.options.ambiguous {
            return None;
        }
        let caller = self.recognised(caller).await?;
        let cache = &self.shared.cache;
        let found = answer::find_list(cache, self.asked, caller.who, Instant::now()).await;
        let known = self.shared.is_known(&caller) || matches!(caller.who, Who::Account(_));
        let kept = found.as_ref().map(|(list, _)| &*list.view.version);
        let opening = route::opening(self.asked, kept, known);
        let age = found.as_ref().map(|(_, age)| *age);
        let list = found.map(|(list, _)| list);
        let mut encoding = self.asked.best().encoding;
        if let Some(list) = &list {
            encoding = list.encoding;
            ask.takes_only(accept::only(encoding, &list.type_meta));
        }
        let watch = self.watch(caller, ask, encoding);
        let begin = match (opening, list) {
            (Opening::Replay, Some(list)) => Begin::Replay(Box::new(list)),
            (Opening::Silent, list) => {
                let holds = |list: &List| watch.told.version() == Some(&*list.view.version);
                Begin::Silent(list.filter(holds).map(Box::new))
            }
            // The API server may still know what the client knows.
            (Opening::Behind, _) if known => Begin::Behind,
            (Opening::Behind, _) => Begin::Expired,
            _ => return None,
        };
        let body = self.watch_body(watch, begin);
        let response = with_content_type(Response::new(body), accept::watch_content_type(encoding));
        Some(match age {
            Some(age) => (From::Cache, aged(response, age)),
            None => (From::Hub, response),
        })
    }

    async fn up_as_upgrade(&self, caller: Caller, mut head: Parts, body: Incoming) -> Answer {
        if let Some(refused) = self.enter(caller).await {
            return refused;
        }
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
            Err(error) => return self.not_answered(caller, error, None).await,
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (mut head, body) = response.into_parts();
            self.learn(caller, head.status, &head.headers);
            head.headers = headers::response_headers(head.headers);
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

/// What the API server itself would say of an object that is known not to be there, or to be there.
pub(super) fn as_server(
    encoding: Encoding,
    resource: Option<&Resource>,
    code: u16,
    reason: &'static str,
) -> Response<Body> {
    let (name, group, kind) = resource.map_or(("", "", ""), |r| {
        (
            r.name.as_deref().unwrap_or_default(),
            r.group.as_str(),
            r.resource.as_str(),
        )
    });
    let qualified = resource.map(Resource::qualified).unwrap_or_default();
    let what = match code {
        404 => "not found",
        _ => "already exists",
    };
    let status = StatusFields {
        code,
        reason,
        message: &format!("{qualified} \"{name}\" {what}"),
        details: Some(StatusDetails { name, group, kind }),
    };
    let mut out = Vec::new();
    write_status(encoding, &status, &mut out);
    reply::whole(code, accept::content_type(encoding), out)
}

/// Whether the events of a watch can be read as they come.
fn is_plain(response: &Response<ResponseBody>) -> bool {
    accept::encoding_of(text(response.headers(), header::CONTENT_TYPE)).is_some()
        && matches!(
            text(response.headers(), header::CONTENT_ENCODING),
            "" | "identity"
        )
}

fn with_content_type(mut response: Response<Body>, content_type: &'static str) -> Response<Body> {
    let value = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response
}

/// Marks an answer from what is kept.
pub(super) fn aged(mut response: Response<Body>, age: Duration) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(&format!("age={}", age.as_secs())) {
        response.headers_mut().insert("edge-hub-cache", value);
    }
    let no_cache = HeaderValue::from_static("no-cache, private");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_cache);
    response
}

pub(super) fn text(headers: &http::HeaderMap, name: header::HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
}

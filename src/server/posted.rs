//! A write of one of the node's components to which the hub may have an answer when the API server cannot be asked.

use super::handle::{Answer, Exchange, aged, as_server, text};
use crate::access::{Caller, Way, Who, digest_of_parts};
use crate::admin::metrics::From;
use crate::cache::answer::{self, What};
use crate::cache::keep::{Head, Keeper};
use crate::hub::Shared;
use crate::hub::local::{Again, TokenWish};
use crate::limits;
use crate::local::Posted;
use crate::local::journal::{self, Waiting};
use crate::local::lease::Lease;
use crate::local::pod_status::Report;
use crate::local::reviews::ReviewKey;
use crate::local::token_request::Wish;
use crate::object::{Encoding, read_single};
use crate::reply::refusal::Refusal;
use crate::reply::script::{BrokenOff, Pen, Script};
use crate::reply::{self, Body};
use crate::request::accept::{content_type, encoding_of, essence};
use crate::request::{Asked, Form, Verb, Wanted, classify};
use crate::route::{self, Plan};
use crate::upstream::{RequestBody, ResponseBody, headers, is_gateway_answer};
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode, Uri, header};
use hyper::body::{Body as _, Incoming};
use std::rc::Rc;
use std::time::Instant;
use tokio::time::timeout;

/// What is asked, if its answer may be given again.
enum Question {
    Token(TokenWish),
    Review(ReviewKey),
    Lease(Lease),
    /// How this node is asked for.
    Registration(Box<Asked>),
    /// How the CSINode of this node is asked for, and by whom.
    CsiNode(Box<Asked>, Who),
    PodStatus(Report),
    /// Of this name.
    Event(String, Waiting, Encoding),
    EventAgain {
        path: String,
        name: String,
    },
    /// Something else, or larger than such a question is.
    Other,
}

impl Exchange<'_> {
    pub(super) async fn posted(
        &self,
        kind: Posted,
        caller: Caller,
        mut head: Parts,
        body: Incoming,
    ) -> Answer {
        // Every client that encodes an object first says how long it is.
        let is_small = (body.size_hint().exact()).is_some_and(|len| len <= kind.bytes_max());
        if !is_small {
            return self.planned(caller, head, body).await;
        }
        let whole = ResponseBody::alone(body).whole(kind.bytes_max() as usize);
        let Ok(Ok(body)) = timeout(limits::BODY_SILENCE_MAX, whole).await else {
            return (From::Hub, reply::refuse(Refusal::BodyBroken, ""));
        };
        let body = Bytes::from(body);
        let question = self.question(kind, &caller, &head, &body);
        let link = self.shared.upstream.link();
        if kind == Posted::TokenRequest
            && link.is_unknown()
            && self.has_no_word_yet().await
            && let Some(again) = self.again(caller, &question).await
        {
            return again;
        }
        if route::plan(self.asked, link.is_down()) != Plan::Up {
            let again = self.again(caller, &question).await;
            return again.unwrap_or_else(|| self.offline(true));
        }
        head.headers = headers::request_headers(head.headers);
        let body = RequestBody::Bytes(body);
        let sent = self.shared.upstream.send(self.way(caller), &head, body);
        let sent = sent.await;
        let is_answer = |r: &Response<ResponseBody>| !is_gateway_answer(r.status(), r.headers());
        match sent {
            Ok(response) if is_answer(&response) => {
                (From::Cloud, self.answered(caller, question, response))
            }
            sent => match (self.again(caller, &question).await, sent) {
                (Some(again), _) => again,
                (None, Ok(response)) => (From::Cloud, self.pass(caller, None, None, response)),
                (None, Err(error)) => self.not_answered(caller, error, None).await,
            },
        }
    }

    fn question(&self, kind: Posted, caller: &Caller, head: &Parts, body: &Bytes) -> Question {
        let content_type = text(&head.headers, header::CONTENT_TYPE);
        let who = match &caller.who {
            Who::Subject(digest) => &digest[..],
            _ => return Question::Other,
        };
        let asked = [
            who,
            self.asked.path_and_query.as_bytes(),
            self.asked.accept.as_bytes(),
        ];
        match kind {
            Posted::Review if self.shared.review_age_max().is_some() => {
                let more = [content_type.as_bytes(), &body[..]];
                Question::Review(digest_of_parts(&[&asked[..], &more].concat()))
            }
            Posted::Review => Question::Other,
            Posted::TokenRequest => {
                let wish = encoding_of(content_type).and_then(|of| Wish::read(of, body));
                let Some(wish) = wish.filter(|wish| wish.pod().is_some()) else {
                    return Question::Other;
                };
                let more = wish.text();
                let namespace = self.asked.resource().and_then(|r| r.namespace.clone());
                Question::Token(TokenWish {
                    key: digest_of_parts(&[&asked[..], &[more.as_bytes()]].concat()),
                    who: caller.who,
                    namespace: namespace.unwrap_or_default(),
                    wish,
                })
            }
            Posted::Lease => {
                let node = self.shared.node_name();
                let read = |of| Lease::read(of, body.clone(), &node).ok();
                let lease = encoding_of(content_type).and_then(read);
                lease.map_or(Question::Other, Question::Lease)
            }
            Posted::Registration => {
                let is_of_node = encoding_of(content_type).is_some_and(|of| {
                    read_single(of, body)
                        .is_ok_and(|(_, meta, _)| meta.name == self.shared.node_name())
                });
                match self.get_of_node(head).filter(|_| is_of_node) {
                    Some(get) => Question::Registration(Box::new(get)),
                    None => Question::Other,
                }
            }
            Posted::PodStatus if is_strategic_merge(content_type) => {
                Report::read(body).map_or(Question::Other, Question::PodStatus)
            }
            Posted::PodStatus => Question::Other,
            Posted::Event => self
                .event(caller, content_type, body)
                .unwrap_or(Question::Other),
            Posted::EventAgain => {
                let name = self.asked.resource().and_then(|r| r.name.clone());
                match (self.path_of_all(), name) {
                    (Some(path), Some(name)) => Question::EventAgain { path, name },
                    _ => Question::Other,
                }
            }
            Posted::CsiNode => match self.get_of_node(head) {
                Some(get) => Question::CsiNode(Box::new(get), caller.who),
                None => Question::Other,
            },
        }
    }

    fn event(&self, caller: &Caller, content_type: &str, body: &Bytes) -> Option<Question> {
        let encoding = encoding_of(content_type)?;
        let namespace = self.asked.resource()?.namespace.as_deref()?;
        let name = journal::name(encoding, body, namespace).ok()?;
        let Way::Pair(subject) = caller.way else {
            return None;
        };
        let event = Waiting {
            subject,
            path: self.path_of_all()?,
            content_type: content_type.to_owned(),
            body: body.clone(),
        };
        Some(Question::Event(name, event, encoding))
    }

    /// The path of all objects among which this request is about one.
    fn path_of_all(&self) -> Option<String> {
        let resource = self.asked.resource()?;
        let root = match resource.group.as_str() {
            "" => "/api".to_owned(),
            group => format!("/apis/{group}"),
        };
        let namespace = resource.namespace.as_ref();
        let within = namespace.map_or_else(String::new, |n| format!("/namespaces/{n}"));
        Some(format!(
            "{root}/{}{within}/{}",
            resource.version, resource.resource
        ))
    }

    /// How what has the name of this node is asked for, among what this request is about.
    fn get_of_node(&self, head: &Parts) -> Option<Asked> {
        let path = format!("{}/{}", self.path_of_all()?, self.shared.node_name());
        let mut get = head.clone();
        get.method = Method::GET;
        get.uri = Uri::try_from(path).ok()?;
        classify(&get).ok()
    }

    /// The API server's answer, on its way to the client, and kept when it has passed.
    fn answered(
        &self,
        caller: Caller,
        question: Question,
        response: Response<ResponseBody>,
    ) -> Response<Body> {
        let is_plain = matches!(
            text(response.headers(), header::CONTENT_ENCODING),
            "" | "identity"
        );
        let content_type = text(response.headers(), header::CONTENT_TYPE).to_owned();
        match (response.status(), question, encoding_of(&content_type)) {
            (
                StatusCode::CREATED | StatusCode::OK,
                question @ (Question::Token(_) | Question::Review(_) | Question::CsiNode(..)),
                Some(of),
            ) if is_plain => {
                let (mut head, body) = response.into_parts();
                self.learn(caller, head.status, &head.headers);
                head.headers = headers::response_headers(head.headers);
                let keep = Keep {
                    shared: Rc::clone(self.shared),
                    question,
                    encoding: of,
                    content_type,
                };
                let body = Body::script(Script::new(|pen| tell(pen, body, keep)));
                Response::from_parts(head, body)
            }
            // The account or the pod is gone. Of a 403 or an error that is not known (kubernetes-api.md 4.3).
            (StatusCode::NOT_FOUND | StatusCode::CONFLICT, Question::Token(wish), Some(_)) => {
                self.shared.take_back(&wish.key);
                self.pass(caller, None, None, response)
            }
            (_, Question::Lease(_), _) => {
                self.shared.renew_lease(None);
                self.pass(caller, None, None, response)
            }
            (StatusCode::OK, Question::PodStatus(report), _) => {
                self.shared.report_is_told(&report);
                self.pass(caller, None, None, response)
            }
            _ => self.pass(caller, None, None, response),
        }
    }

    /// What the hub itself can say to this.
    async fn again(&self, caller: Caller, question: &Question) -> Option<Answer> {
        let Again {
            content_type,
            body,
            age,
        } = match question {
            Question::Token(wish) => self.shared.granted_before(wish).await?,
            Question::Review(key) => self.shared.reviewed_before(key)?,
            Question::Lease(lease) => return self.renewed(lease),
            Question::Registration(get) => return self.registered(caller, get).await,
            Question::PodStatus(report) => {
                self.shared.report(report.clone());
                return None;
            }
            Question::Event(name, event, encoding) => {
                let told = self.as_sent(*encoding, &event.body, StatusCode::CREATED)?;
                self.shared.journal_event(name, event.clone());
                return Some(told);
            }
            // The API server does not have it, for it waits here. Whoever hears so posts all of it again.
            Question::EventAgain { path, name } => {
                let Way::Pair(subject) = caller.way else {
                    return None;
                };
                let is_here = self.shared.events.has(&subject, path, name);
                let encoding = self.asked.best().encoding;
                let told = || as_server(encoding, self.asked.resource(), 404, "NotFound");
                return is_here.then(|| (From::Hub, told()));
            }
            Question::CsiNode(..) | Question::Other => return None,
        };
        let response = reply::whole(StatusCode::CREATED.as_u16(), &content_type, body);
        Some((From::Cache, aged(response, age)))
    }

    /// The lease as the kubelet has sent it.
    fn renewed(&self, lease: &Lease) -> Option<Answer> {
        self.shared.renew_lease(Some(lease.clone()));
        let status = match self.asked.verb {
            Verb::Create => StatusCode::CREATED,
            _ => StatusCode::OK,
        };
        self.as_sent(lease.encoding, &lease.body, status)
    }

    /// What the kubelet has sent since the API server was lost, to whoever may ask for that.
    pub(super) fn lease_kept(&self, caller: &Caller) -> Option<Answer> {
        let resource = self.asked.resource()?;
        let node = self.shared.node_name();
        let is_it = self.asked.verb == Verb::Get
            && crate::local::lease::is_of_nodes(resource)
            && resource.name.as_deref() == Some(&*node)
            && self.shared.is_node(&caller.who);
        let lease = is_it.then(|| self.shared.lease())??;
        self.as_sent(lease.encoding, &lease.body, StatusCode::OK)
    }

    /// What was sent is the answer, if that is a form in which one is taken.
    fn as_sent(&self, encoding: Encoding, body: &Bytes, status: StatusCode) -> Option<Answer> {
        let wanted = self.asked.wanted.iter();
        let is_taken = |w: &Wanted| w.encoding == encoding && w.form == Form::Object;
        wanted.copied().find(is_taken)?;
        let told = reply::whole(status.as_u16(), content_type(encoding), body.clone());
        Some((From::Hub, told))
    }

    /// To make a node that is there is a conflict, whoever says so; the kubelet then asks for it.
    async fn registered(&self, caller: Caller, get: &Asked) -> Option<Answer> {
        let found = answer::find(&self.shared.cache, get, caller.who, Instant::now()).await?;
        let What::Object { .. } = found.what else {
            return None;
        };
        let encoding = self.asked.best().encoding;
        let told = as_server(encoding, get.resource(), 409, "AlreadyExists");
        Some((From::Cache, aged(told, found.age)))
    }
}

/// What is to be done with an answer when all of it is here.
struct Keep {
    shared: Rc<Shared>,
    question: Question,
    encoding: Encoding,
    content_type: String,
}

impl Keep {
    fn take(self, body: Vec<u8>) {
        match &self.question {
            Question::Token(wish) => {
                (self.shared).grant(wish, self.encoding, &self.content_type, body);
            }
            Question::Review(key) => self.shared.keep_review(*key, &self.content_type, body),
            // A kubelet that has made it does not ask for it before its next start, which may be without an API server.
            Question::CsiNode(get, who) => {
                let begun = self.shared.cache.borrow().begun();
                let seen = Head {
                    status: 200,
                    content_type: &self.content_type,
                    gzip: false,
                    begun,
                };
                if let Some(mut keeper) = Keeper::new(&self.shared.cache, get, *who, &seen) {
                    keeper.feed(&body);
                    keeper.finish();
                }
            }
            Question::Lease(_)
            | Question::Registration(_)
            | Question::PodStatus(_)
            | Question::Event(..)
            | Question::EventAgain { .. }
            | Question::Other => {}
        }
    }
}

/// Passes the answer on as it comes. It is kept before the client has its last byte: whoever has seen all of it can rely on
/// that.
async fn tell(pen: Pen, mut body: ResponseBody, keep: Keep) -> Result<(), BrokenOff> {
    let mut whole = Some((Vec::new(), keep));
    while let Some(piece) = body.chunk().await {
        let piece = piece.map_err(|_| BrokenOff("the API server's answer broke off"))?;
        whole = whole
            .filter(|(so_far, _)| so_far.len() + piece.len() <= limits::POSTED_ANSWER_BYTES_MAX);
        if let Some((so_far, _)) = &mut whole {
            so_far.extend_from_slice(&piece);
        }
        // Nobody asks for the end of a body whose length is known.
        let is_end = body.is_end_stream() || body.size_hint().exact() == Some(0);
        if is_end && let Some((whole, keep)) = whole.take() {
            keep.take(whole);
        }
        pen.write(piece).await;
    }
    if let Some((whole, keep)) = whole {
        keep.take(whole);
    }
    Ok(())
}

/// Whether a patch is of the form in which kubelets send how a pod is. Of another one it says something else.
fn is_strategic_merge(content_type: &str) -> bool {
    essence(content_type).eq_ignore_ascii_case("application/strategic-merge-patch+json")
}

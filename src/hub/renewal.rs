//! Asks the cluster for the hub's own certificates, and for new ones before these end. What goes wrong is said, and tried
//! again later; what is in use stays in use.

use super::Shared;
use crate::certs::csr::{Answer, Ask, PATH, Signer, Verdict, Wanted, judge};
use crate::certs::issued::{Pending, Place};
use crate::certs::load::Pair;
use crate::certs::papers;
use crate::certs::renewal::{Due, due, renew_at};
use crate::certs::sans::Sans;
use crate::config::{ClientFrom, Config, ServingFrom};
use crate::limits::{
    CERT_RENEWAL_WARN_DAYS, CSR_EXCHANGE_MAX, CSR_LOOK_MAX, CSR_LOOK_MIN, CSR_REFUSED_WAIT,
    CSR_REPLY_BYTES_MAX, CSR_RETRY_MAX, CSR_RETRY_MIN, CSR_SPREAD, CSR_TELL_AFTER,
};
use crate::object::{Encoding, service};
use crate::sys::clock::rfc3339;
use crate::upstream::{RequestBody, Way};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, header};
use std::cell::RefCell;
use std::future::{pending, ready};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// How the hub's own certificates stand.
#[derive(Default)]
pub struct Renewal {
    client: Paper,
    serving: Paper,
    /// Issued, and not on flash: in use until the hub ends.
    pub unkept: RefCell<Vec<(Signer, Pair)>>,
}

#[derive(Default)]
struct Paper {
    standing: RefCell<Standing>,
    /// Certificates or the configuration have changed.
    changed: Notify,
}

/// How one of them stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Standing {
    /// There is nothing to ask for, or it was not asked yet.
    #[default]
    Content,
    /// The cluster was asked, and has not decided, or not signed.
    Waiting {
        name: String,
        approved: bool,
        since: Instant,
    },
    /// It was tried and has not worked.
    Failing { why: String },
    /// Somebody does not want it: only a person can help.
    Refused { why: String },
}

/// Asks for the certificate of one signer whenever it is due, for ever.
pub async fn keep(shared: Rc<Shared>, signer: Signer) {
    let mut begun = None;
    let mut pace = Pace::default();
    loop {
        let wait = match look(&shared, signer) {
            Look::Content { wait } => {
                shared.renewal.stands(signer, Standing::Content);
                begun = None;
                pace = Pace::default();
                wait
            }
            Look::Due(why) => {
                let standing = attempt(&shared, signer, why, &mut begun).await;
                if standing == Standing::Content {
                    // What has changed is what was just issued. Where it is due at once, the clock is wrong.
                    forget(&shared.renewal.of(signer).changed).await;
                }
                let wait = pace.next(&standing, shared.random());
                shared.renewal.stands(signer, standing);
                wait
            }
        };
        // All arms are cancel-safe: a change that comes while nobody waits is kept.
        tokio::select! {
            () = sleep(wait) => {}
            () = shared.renewal.of(signer).changed.notified() => {}
            () = comes_up(&shared) => {}
        }
    }
}

async fn forget(changed: &Notify) {
    tokio::select! {
        biased;
        () = changed.notified() => {}
        () = ready(()) => {}
    }
}

/// Returns a while after the link has come up, each hub after another one; never if it is up already.
async fn comes_up(shared: &Shared) {
    if !shared.upstream.link().is_down() {
        return pending().await;
    }
    shared.upstream.link().became_up().await;
    sleep(CSR_SPREAD * (shared.random() % 1024) as u32 / 1024).await;
}

enum Look {
    Content { wait: Duration },
    Due(Due),
}

fn look(shared: &Shared, signer: Signer) -> Look {
    let config = shared.config.borrow();
    let asked_for = match signer {
        Signer::Client => config.client_from == ClientFrom::Joined,
        Signer::Serving => config.serving_from == ServingFrom::Csr,
    };
    let papers = shared.papers.borrow();
    let pair = papers.issued(signer);
    // A node that has not joined has nothing to ask with.
    if !asked_for || signer == Signer::Client && pair.is_none() {
        return Look::Content { wait: CSR_LOOK_MAX };
    }
    let sans = papers::sans(&config, &shared.cluster_ips.borrow());
    let wanted = wanted(&config, signer, &sans);
    let now = shared.clock.now();
    match due(pair, &wanted, now) {
        Some(why) => Look::Due(why),
        // Looked at each minute: the clock may be set, a name may come.
        None => {
            let left = pair.map_or(0, |pair| renew_at(pair).saturating_sub(now));
            Look::Content {
                wait: CSR_LOOK_MAX.min(Duration::from_secs(left.max(1))),
            }
        }
    }
}

fn wanted<'a>(config: &'a Config, signer: Signer, sans: &'a Sans) -> Wanted<'a> {
    Wanted {
        signer,
        node_name: &config.node_name,
        sans,
    }
}

/// A request that is under way.
struct Begun {
    pending: Pending,
    /// The server has it, as far as is known.
    made: bool,
}

/// One step towards a certificate: makes the request or looks at it. Cancelled nowhere.
async fn attempt(
    shared: &Rc<Shared>,
    signer: Signer,
    why: Due,
    begun: &mut Option<Begun>,
) -> Standing {
    if signer == Signer::Serving && shared.cluster_ips.borrow().is_empty() {
        ask_cluster_ips(shared).await;
    }
    let config = shared.config.borrow().clone();
    let sans = papers::sans(&config, &shared.cluster_ips.borrow());
    let wanted = wanted(&config, signer, &sans);
    let place = Place::new(&config.state_dir, signer);
    let at = match begun.take().filter(|begun| begun.pending.is_for(&wanted)) {
        Some(begun) => Ok(begun),
        None => begin(shared, &place, &wanted, why).await,
    };
    let mut at = match at {
        Ok(at) => at,
        Err(why) => return Standing::Failing { why },
    };
    match ask(shared, &mut at, &wanted).await {
        // Both are the end of this request: the next certificate is asked for by another one.
        Ok(Answer::Issued(chain)) => take(shared, &place, at.pending, &wanted, &chain).await,
        Ok(Answer::Refused(why)) => {
            place.forget_pending();
            let why = format!("{} was refused: {why}", at.pending.name());
            Standing::Refused { why }
        }
        Ok(answer) => {
            let name = at.pending.name().to_owned();
            *begun = Some(at);
            Standing::Waiting {
                name,
                approved: answer == Answer::Approved,
                since: Instant::now(),
            }
        }
        Err(why) => {
            *begun = Some(at);
            Standing::Failing { why }
        }
    }
}

/// The request that an earlier hub has begun, or a new one.
async fn begin(
    shared: &Shared,
    place: &Place,
    wanted: &Wanted<'_>,
    why: Due,
) -> Result<Begun, String> {
    let in_use = shared.papers.borrow().issued(wanted.signer).cloned();
    let pending = place
        .begin(wanted, in_use.as_ref())
        .map_err(|error| format!("no request can be made: {error}"))?;
    log::info!(
        "certificates: {} is asked for as {} ({})",
        wanted.signer.word(),
        pending.name(),
        match why {
            Due::None => "there is none",
            Due::Age => "it is time",
            Due::Other => "names have changed",
        }
    );
    if let Err(error) = keep_on_flash(place, place.request(), pending.text()).await {
        // After a restart it is another request, which is no harm but to who approves by hand.
        log::warn!("certificates: the key of a request is kept in memory: {error}");
    }
    Ok(Begun {
        pending,
        made: false,
    })
}

/// Tells the server of the request, or asks it how it stands.
async fn ask(
    shared: &Rc<Shared>,
    begun: &mut Begun,
    wanted: &Wanted<'_>,
) -> Result<Answer, String> {
    // Where the request is there already, it is looked at at once.
    for _ in 0..2 {
        let ask = if begun.made { Ask::Look } else { Ask::Make };
        let (path, body) = match ask {
            Ask::Look => (begun.pending.path(), None),
            Ask::Make => {
                let body = begun.pending.request(wanted);
                let body = body.map_err(|error| format!("no request can be made: {error}"))?;
                (PATH.to_owned(), Some(body))
            }
        };
        let (status, answer) = exchange(shared, Way::Node, &path, body).await?;
        match judge(ask, status, &answer) {
            Verdict::Exists => begun.made = true,
            Verdict::Gone => begun.made = false,
            Verdict::Failed(_, why) => return Err(why),
            Verdict::Answer(answer) => {
                begun.made = true;
                return Ok(answer);
            }
        }
    }
    Err("the request comes and goes at the server".to_owned())
}

/// Takes what was issued into use.
async fn take(
    shared: &Rc<Shared>,
    place: &Place,
    pending: Pending,
    wanted: &Wanted<'_>,
    chain: &[u8],
) -> Standing {
    let signer = wanted.signer;
    let pair = match place.accept(chain, &pending, wanted) {
        Ok(pair) => pair,
        Err(error) => {
            place.forget_pending();
            let why = format!("{}: {error}", pending.name());
            return Standing::Failing { why };
        }
    };
    log::info!(
        "certificates: {} was issued, valid until {}",
        signer.word(),
        rfc3339(pair.not_after_unix_secs())
    );
    let kept = keep_on_flash(place, place.pair(), pending.text_of_pair(&pair)).await;
    let mut unkept = shared.renewal.unkept.borrow_mut();
    unkept.retain(|(of, _)| *of != signer);
    match kept {
        Ok(()) => place.forget_pending(),
        Err(error) => {
            log::warn!(
                "certificates: {} is in use, and not kept: {error}; the next start has the one before",
                signer.word()
            );
            unkept.push((signer, pair));
        }
    }
    drop(unkept);
    shared.look_at_papers();
    Standing::Content
}

/// Writes on another thread: a card that pauses for seconds would hold up everybody else.
async fn keep_on_flash(place: &Place, file: PathBuf, text: String) -> Result<(), String> {
    let place = place.clone();
    let written = tokio::task::spawn_blocking(move || place.keep(&file, &text)).await;
    let written = written.map_err(|error| error.to_string())?;
    written.map_err(|error| error.to_string())
}

/// The hub's names have the cluster IP of `default/kubernetes` among them. Asked before a certificate is, so that whoever
/// approves by hand does it once; a node may read Services.
async fn ask_cluster_ips(shared: &Rc<Shared>) {
    let path = "/api/v1/namespaces/default/services/kubernetes";
    if let Ok((200, body)) = exchange(shared, Way::Node, path, None).await {
        shared.take_cluster_ips(service::cluster_ips(Encoding::Json, &body));
    }
}

/// One request of the hub's own, whole.
pub(super) async fn exchange(
    shared: &Rc<Shared>,
    way: Way,
    path: &str,
    body: Option<Vec<u8>>,
) -> Result<(u16, Vec<u8>), String> {
    let head = head(path, body.is_some())?;
    let body = body.map_or(RequestBody::Empty, |body| {
        RequestBody::Bytes(Bytes::from(body))
    });
    let asking = async {
        let answer = shared.upstream.send(way, &head, body).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let body = answer.into_body().whole(CSR_REPLY_BYTES_MAX).await?;
        Ok((status, body))
    };
    timeout(CSR_EXCHANGE_MAX, asking)
        .await
        .unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

fn head(path: &str, writes: bool) -> Result<Parts, String> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let mut request = Request::new(());
    *request.uri_mut() = path.parse().map_err(|_| "no path".to_owned())?;
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, JSON);
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("edge-hub/", env!("CARGO_PKG_VERSION"))),
    );
    if writes {
        headers.insert(header::CONTENT_TYPE, JSON);
        *request.method_mut() = Method::POST;
    }
    Ok(request.into_parts().0)
}

/// How long to wait before the next step.
#[derive(Default)]
struct Pace {
    /// Steps of one kind in a row.
    count: u32,
    waiting: bool,
}

impl Pace {
    /// `random` is any number: ten thousand hubs that lost the same server must not come back together.
    fn next(&mut self, after: &Standing, random: u64) -> Duration {
        let waiting = matches!(after, Standing::Waiting { .. });
        if self.waiting != waiting {
            self.waiting = waiting;
            self.count = 0;
        }
        let doubled =
            |least: Duration, most: Duration| (least * (1 << self.count.min(16))).min(most);
        let wait = match after {
            Standing::Waiting { .. } => doubled(CSR_LOOK_MIN, CSR_LOOK_MAX),
            Standing::Refused { .. } => CSR_REFUSED_WAIT,
            // Also after a success: where the clock is wrong, what was just issued is due at once.
            Standing::Failing { .. } | Standing::Content => doubled(CSR_RETRY_MIN, CSR_RETRY_MAX),
        };
        self.count = self.count.saturating_add(1);
        wait + wait / 2 * (random % 1024) as u32 / 1024
    }
}

impl Renewal {
    /// Certificates or the configuration have changed: who waits looks again.
    pub fn changed(&self) {
        self.client.changed.notify_one();
        self.serving.changed.notify_one();
    }

    fn of(&self, signer: Signer) -> &Paper {
        match signer {
            Signer::Client => &self.client,
            Signer::Serving => &self.serving,
        }
    }

    /// Takes over how one stands; what is new is logged, once.
    fn stands(&self, signer: Signer, mut new: Standing) {
        let mut now = self.of(signer).standing.borrow_mut();
        if let (
            Standing::Waiting { name, since, .. },
            Standing::Waiting {
                name: new_name,
                since: new_since,
                ..
            },
        ) = (&*now, &mut new)
            && name == new_name
        {
            *new_since = *since;
        }
        if *now == new {
            return;
        }
        match &new {
            Standing::Failing { why } | Standing::Refused { why } => {
                log::warn!("certificates: {} cannot be had: {why}", signer.word());
            }
            Standing::Waiting { name, approved, .. } => {
                log::info!("certificates: {name} {}", waits_for(name, *approved));
            }
            Standing::Content => {}
        }
        *now = new;
    }

    /// What somebody should do something about, a sentence each.
    pub fn warnings(&self, shared: &Shared) -> Vec<String> {
        let papers = shared.papers.borrow();
        let now = shared.clock.now();
        let one = |signer| {
            let pair = papers.issued(signer);
            warning(
                signer,
                &self.of(signer).standing.borrow(),
                pair.map(Pair::not_after_unix_secs),
                now,
            )
        };
        [one(Signer::Client), one(Signer::Serving)]
            .into_iter()
            .flatten()
            .collect()
    }
}

fn waits_for(name: &str, approved: bool) -> String {
    match approved {
        false => format!("waits for somebody to approve it: kubectl certificate approve {name}"),
        true => {
            "is approved, and waits for the cluster's signer (kube-controller-manager)".to_owned()
        }
    }
}

/// What there is to say of one certificate, that ends at this second if there is one.
fn warning(signer: Signer, standing: &Standing, ends: Option<u64>, now: u64) -> Option<String> {
    let trouble = match standing {
        Standing::Content => return None,
        Standing::Waiting { since, .. } if since.elapsed() < CSR_TELL_AFTER && ends.is_some() => {
            return None;
        }
        Standing::Waiting { name, approved, .. } => {
            format!("its request {name} {}", waits_for(name, *approved))
        }
        Standing::Failing { why } | Standing::Refused { why } => {
            format!("a new one cannot be had: {why}")
        }
    };
    let word = signer.word();
    Some(match (ends, signer) {
        (None, Signer::Client) => return None,
        (None, Signer::Serving) => format!(
            "{word}: until the cluster has signed, the certificate is one from the hub's own CA; {trouble}"
        ),
        (Some(ends), Signer::Client) if ends < now => format!(
            "{word}: the certificate is over since {}, and still shown, the servers decide; `edge-hub join` with a new \
             token gets another; {trouble}",
            rfc3339(ends)
        ),
        (Some(ends), Signer::Serving) if ends < now => format!(
            "{word}: the certificate that the cluster has signed is over since {}, and one from the hub's own CA is in its \
             place; {trouble}",
            rfc3339(ends)
        ),
        (Some(ends), _) => {
            let days = (ends - now) / 86_400;
            // Months are left, and the cloud may be back tomorrow; a person is needed all the same where one has to approve.
            if days >= CERT_RENEWAL_WARN_DAYS && matches!(standing, Standing::Failing { .. }) {
                return None;
            }
            format!(
                "{word}: the certificate ends at {}, in {days} days; {trouble}",
                rfc3339(ends)
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn failing(why: &str) -> Standing {
        Standing::Failing {
            why: why.to_owned(),
        }
    }

    fn waiting(approved: bool, age: Duration) -> Option<Standing> {
        Some(Standing::Waiting {
            name: "edge-hub-serving-00".to_owned(),
            approved,
            since: Instant::now().checked_sub(age)?,
        })
    }

    #[test]
    fn what_is_said_and_when() {
        let now = 1_000 * DAY;
        let long = waiting(false, CSR_TELL_AFTER).unwrap();
        let short = waiting(false, Duration::ZERO).unwrap();
        let signer = waiting(true, CSR_TELL_AFTER).unwrap();
        for (of, standing, ends, says) in [
            (Signer::Client, Standing::Content, Some(now + DAY), None),
            // What is over and content was renewed this very moment.
            (Signer::Client, Standing::Content, Some(now - 1), None),
            (Signer::Client, failing("down"), Some(now + 30 * DAY), None),
            (
                Signer::Client,
                failing("down"),
                Some(now + 30 * DAY - 1),
                Some("in 29 days; a new one cannot be had: down"),
            ),
            (
                Signer::Client,
                failing("down"),
                Some(now),
                Some("in 0 days"),
            ),
            (
                Signer::Client,
                failing("down"),
                Some(now - 1),
                Some("is over since"),
            ),
            (
                Signer::Client,
                failing("down"),
                Some(now - 1),
                Some("edge-hub join"),
            ),
            (Signer::Client, short.clone(), Some(now + DAY), None),
            (
                Signer::Client,
                long.clone(),
                Some(now + 300 * DAY),
                Some("kubectl certificate approve edge-hub-serving-00"),
            ),
            (Signer::Client, long.clone(), None, None),
            (
                Signer::Serving,
                short,
                None,
                Some("one from the hub's own CA; its request edge-hub-serving-00 waits"),
            ),
            (
                Signer::Serving,
                signer,
                None,
                Some("waits for the cluster's signer"),
            ),
            (
                Signer::Serving,
                failing("down"),
                None,
                Some("until the cluster has signed"),
            ),
            (
                Signer::Serving,
                failing("down"),
                Some(now - 1),
                Some("hub's own CA is in its place"),
            ),
        ] {
            let said = warning(of, &standing, ends, now);
            match says {
                None => assert_eq!(said, None, "{standing:?}"),
                Some(part) => assert!(
                    said.as_ref().is_some_and(|s| s.contains(part)),
                    "{standing:?}: {said:?}"
                ),
            }
        }
    }

    #[test]
    fn patience() {
        let mut pace = Pace::default();
        let secs = |pace: &mut Pace, after: &Standing| pace.next(after, 0).as_secs();
        let waiting = waiting(false, Duration::ZERO).unwrap();
        assert_eq!([0; 4].map(|_| secs(&mut pace, &waiting)), [1, 2, 4, 8]);
        assert_eq!([0; 3].map(|_| secs(&mut pace, &failing("x"))), [10, 20, 40]);
        let refused = Standing::Refused { why: String::new() };
        assert_eq!(secs(&mut pace, &refused), CSR_REFUSED_WAIT.as_secs());
        for _ in 0..100 {
            let wait = pace.next(&failing("x"), u64::MAX);
            assert!(wait <= CSR_RETRY_MAX * 3 / 2);
        }
        assert_eq!(pace.next(&failing("x"), 0), CSR_RETRY_MAX);
        assert_eq!(secs(&mut pace, &waiting), 1);
    }
}

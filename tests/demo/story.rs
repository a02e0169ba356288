//! The story: what the client asks, and what must come, from whom.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Answer, Client, From, Next, Watch};
use crate::cloud::Cloud;
use crate::hub::Hub;
use crate::link::Link;
use crate::stage::{config_map, pod};
use crate::tell::{self, Step, Teller};

/// The watch that was opened while the link was up, and the one that was opened in the outage.
const THE_WATCH: &str = "the watch";
const THE_SECOND: &str = "the second watch";
/// An event must come within this time.
const SOON: Duration = Duration::from_secs(15);
/// How long an open watch is looked at for what must not come.
const MOMENT: Duration = Duration::from_millis(500);
/// Events that are on their way within this machine have come after this time.
const ON_THE_WAY: Duration = Duration::from_millis(50);
/// The hub finds a black hole within this time, with a little for a busy machine (`ping_after_ms` and
/// `ping_wait_ms`).
const BLACK_HOLE: Duration = Duration::from_secs(6);

/// What the client asks for.
pub struct Scene {
    /// The collection that it lists and watches.
    pub list: String,
    /// Where it creates.
    pub write: String,
    /// What the name of each thing that it creates begins with.
    pub write_name: String,
    /// The demo's own server; without it, nothing is changed in the cloud.
    pub cloud: Option<Cloud>,
    /// Whether the cloud lets this client write.
    pub may_write: bool,
}

/// Who must have answered.
#[derive(Clone, Copy)]
enum Who {
    Cloud,
    Cache,
    Hub,
}

pub struct Story {
    scene: Scene,
    link: Link,
    pub hub: Hub,
    client: Client,
    stranger: Client,
    pub teller: Teller,
    noun: String,
    /// The objects of the collection as the client knows them, by namespace and name.
    objects: Vec<String>,
    /// The version that the client has seen last.
    version: String,
}

impl Story {
    pub fn new(scene: Scene, link: Link, hub: Hub, client: Client, teller: Teller) -> Story {
        let noun = scene
            .list
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_string();
        Story {
            stranger: client.with_token("the-token-of-a-stranger"),
            scene,
            link,
            hub,
            client,
            teller,
            noun,
            objects: Vec::new(),
            version: String::new(),
        }
    }

    /// Tells all of it. An error is something after which it cannot go on.
    pub async fn tell(&mut self) -> Result<(), String> {
        self.teller.head();
        let (watch, first) = self.link_is_up().await?;
        let mut watches = self.link_is_cut(watch, first).await?;
        self.link_is_back(&mut watches).await?;
        self.black_hole(&mut watches).await
    }

    async fn link_is_up(&mut self) -> Result<(Watch, Option<Value>), String> {
        self.teller
            .chapter("The link is up. The hub passes everything on.");
        self.version_of_server(Who::Cloud).await?;
        self.write("mon", None).await?;
        let first = self.list(Who::Cloud).await?;
        if let Some(object) = &first {
            self.get(object, Who::Cloud).await?;
        }
        let mut watch = self.watch(Who::Cloud).await?;
        if let Some(cloud) = &self.scene.cloud {
            cloud.put(&self.scene.list, pod("till-3", "Pending"));
            self.event(&mut watch, THE_WATCH, "ADDED", "till-3").await?;
        }
        self.refused_stranger(&[401], Who::Cloud).await?;
        Ok((watch, first))
    }

    async fn link_is_cut(
        &mut self,
        mut watch: Watch,
        first: Option<Value>,
    ) -> Result<[Watch; 2], String> {
        self.teller
            .chapter("The link is cut: connections are closed, new ones refused.");
        self.link.refuse().await?;
        self.silent(&mut watch, THE_WATCH).await?;
        let mut second = self.watch(Who::Cache).await?;
        self.list(Who::Cache).await?;
        if let Some(object) = &first {
            self.get(object, Who::Cache).await?;
        }
        self.absent().await?;
        self.version_of_server(Who::Cache).await?;
        self.watch_list().await?;
        self.write("tue", Some(Who::Hub)).await?;
        self.refused_stranger(&[503], Who::Hub).await?;
        if let Some(cloud) = &self.scene.cloud {
            self.teller.chapter(
                "Meanwhile, in the cloud, till-3 starts to run and till-1 is deleted. Nobody here can know.",
            );
            cloud.put(&self.scene.list, pod("till-3", "Running"));
            cloud.delete(&self.scene.list, "till-1");
            self.list(Who::Cache).await?;
        }
        self.silent(&mut watch, THE_WATCH).await?;
        self.silent(&mut second, THE_SECOND).await?;
        Ok([watch, second])
    }

    async fn link_is_back(&mut self, watches: &mut [Watch; 2]) -> Result<(), String> {
        self.teller.chapter("The link is back.");
        let back = Instant::now();
        self.link.pass().await?;
        self.noticed(back).await?;
        let news = [("MODIFIED", "till-3"), ("DELETED", "till-1")];
        self.go_on(watches, &news).await?;
        self.write("tue", None).await?;
        self.list(Who::Cloud).await?;
        Ok(())
    }

    async fn black_hole(&mut self, watches: &mut [Watch; 2]) -> Result<(), String> {
        self.teller
            .chapter("Cut again, worse: nothing is refused, and nothing ever comes back.");
        let cut = Instant::now();
        self.link.black_hole().await?;
        self.catch_up(watches).await?;
        self.list(Who::Cache).await?;
        let took = cut.elapsed();
        let what = format!("the answer was to come within {} s", BLACK_HOLE.as_secs());
        self.teller.must(took < BLACK_HOLE, &what);
        self.write("wed", Some(Who::Hub)).await?;
        if let Some(cloud) = &self.scene.cloud {
            cloud.put(&self.scene.list, pod("till-2", "Failed"));
        }
        let [watch, second] = watches;
        self.silent(watch, THE_WATCH).await?;
        self.silent(second, THE_SECOND).await?;
        self.teller.chapter("The link is back for good.");
        let back = Instant::now();
        self.link.pass().await?;
        self.noticed(back).await?;
        self.go_on(watches, &[("MODIFIED", "till-2")]).await?;
        self.list(Who::Cloud).await?;
        self.write("wed", None).await
    }

    async fn version_of_server(&mut self, who: Who) -> Result<(), String> {
        let answer = self.client.get("/version").await?;
        self.answered("get /version", &answer, &[200], who);
        Ok(())
    }

    /// Lists; what the cache says must be what the client knows. Returns the first object.
    async fn list(&mut self, who: Who) -> Result<Option<Value>, String> {
        let answer = self.client.get(&self.scene.list).await?;
        self.answered(&format!("list {}", self.noun), &answer, &[200], who);
        let items = answer.json["items"].as_array().cloned().unwrap_or_default();
        let mut objects: Vec<String> = items.iter().map(key).collect();
        objects.sort();
        self.objects.sort();
        // The cloud may have news; the cache must hold what the client was told.
        if !matches!(who, Who::Cloud) {
            let same = objects == self.objects;
            self.teller
                .must(same, "the list was to hold what the client knows");
        }
        self.objects = objects;
        if let Some(version) = answer.json["metadata"]["resourceVersion"].as_str() {
            self.version = version.to_string();
        }
        Ok(items.first().cloned())
    }

    async fn get(&mut self, object: &Value, who: Who) -> Result<(), String> {
        let name = tell::name(object);
        let answer = self.client.get(&path_of(&self.scene.list, object)).await?;
        self.answered(&format!("get {}/{name}", self.noun), &answer, &[200], who);
        let same = answer.json["metadata"]["uid"] == object["metadata"]["uid"];
        self.teller
            .must(same, "it was to be the object of the list");
        Ok(())
    }

    /// A name that the complete list does not hold is known not to exist. Known only where the list is of one
    /// namespace, or of what has none.
    async fn absent(&mut self) -> Result<(), String> {
        if self.scene.cloud.is_none() {
            return Ok(());
        }
        let path = format!("{}/till-9", self.scene.list);
        let answer = self.client.get(&path).await?;
        self.answered(
            &format!("get {}/till-9", self.noun),
            &answer,
            &[404],
            Who::Cache,
        );
        Ok(())
    }

    /// Creates something, or gets the 503 of whom the caller names.
    async fn write(&mut self, day: &str, refused: Option<Who>) -> Result<(), String> {
        let name = format!("{}-{day}", self.scene.write_name);
        let dry = if self.scene.cloud.is_none() {
            " (dry run)"
        } else {
            ""
        };
        let asked = format!("create configmap {name}{dry}");
        let answer = self
            .client
            .create(&self.scene.write, &config_map(&name))
            .await?;
        match refused {
            Some(who) => self.answered(&asked, &answer, &[503], who),
            None if self.scene.may_write => self.answered(&asked, &answer, &[201], Who::Cloud),
            // The cloud may say no in its own way; only the hub must not.
            None => self.answered(&asked, &answer, &[answer.status], Who::Cloud),
        }
        Ok(())
    }

    async fn refused_stranger(&mut self, statuses: &[u16], who: Who) -> Result<(), String> {
        let answer = self.stranger.get(&self.scene.list).await?;
        let asked = format!("list {}, another token", self.noun);
        self.answered(&asked, &answer, statuses, who);
        Ok(())
    }

    /// A program that starts now, and lists by way of a watch.
    async fn watch_list(&mut self) -> Result<(), String> {
        let path = format!(
            "{}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
             &allowWatchBookmarks=true",
            self.scene.list
        );
        let began = Instant::now();
        let mut watch = self.client.watch(&path).await?;
        let mut added = 0;
        let complete = loop {
            match watch.next(SOON).await? {
                Next::Event(event) if event["type"] == "ADDED" => added += 1,
                Next::Event(event) => {
                    let mark = &event["object"]["metadata"]["annotations"];
                    break mark["k8s.io/initial-events-end"] == "true";
                }
                Next::End | Next::Silent => break false,
            }
        };
        self.teller.step(&Step {
            asked: &format!("watch {} from nothing", self.noun),
            status: Some(watch.status),
            said: &format!("{added} ADDED, then the bookmark that ends them"),
            from: Some(watch.from),
            took: Some(began.elapsed()),
        });
        let all = complete && added == self.objects.len();
        self.teller
            .must(all, "all objects were to come, and the bookmark");
        self.came_from(watch.status, watch.from, &[200], Who::Cache);
        Ok(())
    }

    /// Watches from the version that the client has seen last.
    async fn watch(&mut self, who: Who) -> Result<Watch, String> {
        let path = format!(
            "{}?watch=true&allowWatchBookmarks=true&resourceVersion={}",
            self.scene.list, self.version
        );
        let watch = self.client.watch(&path).await?;
        self.teller.step(&Step {
            asked: &format!("watch {} from {}", self.noun, self.version),
            status: Some(watch.status),
            said: match (watch.status, watch.from) {
                (200, From::Cloud) => "open",
                (200, _) => "held open",
                _ => "refused",
            },
            from: Some(watch.from),
            took: Some(watch.took),
        });
        self.came_from(watch.status, watch.from, &[200], who);
        Ok(watch)
    }

    /// The next event must be this.
    async fn event(
        &mut self,
        watch: &mut Watch,
        which: &str,
        kind: &str,
        name: &str,
    ) -> Result<(), String> {
        let began = Instant::now();
        let Next::Event(event) = watch.next(SOON).await? else {
            self.teller
                .must(false, &format!("{kind} {name} was to come"));
            return Ok(());
        };
        let said = format!(
            "{} {}",
            text(&event["type"]),
            tell::object(&event["object"])
        );
        self.teller.step(&Step {
            asked: &format!("{which} tells"),
            status: None,
            said: &said,
            from: None,
            took: Some(began.elapsed()),
        });
        let right = event["type"] == kind && tell::name(&event["object"]) == name;
        self.teller
            .must(right, &format!("{kind} {name} was to come"));
        self.seen(&event);
        Ok(())
    }

    /// The watches go on in the answers that they had, and tell what has happened meanwhile. Of somebody's own API server
    /// nobody here knows what has.
    async fn go_on(
        &mut self,
        watches: &mut [Watch; 2],
        news: &[(&str, &str)],
    ) -> Result<(), String> {
        let [watch, second] = watches;
        for (watch, which) in [(watch, THE_WATCH), (second, THE_SECOND)] {
            if self.scene.cloud.is_none() {
                self.open(watch, which).await?;
                continue;
            }
            for (kind, name) in news {
                self.event(watch, which, kind, name).await?;
            }
        }
        Ok(())
    }

    /// The watch must not have ended; its events are taken.
    async fn open(&mut self, watch: &mut Watch, which: &str) -> Result<(), String> {
        let open = loop {
            match watch.next(MOMENT).await? {
                Next::Event(event) => self.seen(&event),
                Next::End => break false,
                Next::Silent => break true,
            }
        };
        self.looked_at(which, open, "still open", "ended");
        Ok(())
    }

    async fn silent(&mut self, watch: &mut Watch, which: &str) -> Result<(), String> {
        let silent = matches!(watch.next(MOMENT).await?, Next::Silent);
        self.looked_at(which, silent, "still open, and silent", "no longer silent");
        Ok(())
    }

    /// Tells how an open watch was found, and counts it if that is not `right`.
    fn looked_at(&mut self, which: &str, right: bool, so: &str, otherwise: &str) {
        self.teller.step(&Step {
            asked: which,
            status: None,
            said: if right { so } else { otherwise },
            from: None,
            took: None,
        });
        self.teller.must(right, "the watch was to be held");
    }

    /// The hub must see by itself that its server is back.
    async fn noticed(&mut self, since: Instant) -> Result<(), String> {
        self.hub.sees_the_link().await?;
        self.teller.step(&Step {
            asked: "get /status (admin address)",
            status: None,
            said: "the hub has seen that the link is up",
            from: Some(From::Hub),
            took: Some(since.elapsed()),
        });
        Ok(())
    }

    /// What the client knows after an event. One that its last list had in it is old news.
    fn seen(&mut self, event: &Value) {
        let object = &event["object"];
        let version = text(&object["metadata"]["resourceVersion"]);
        if number(version) <= number(&self.version) {
            return;
        }
        self.version = version.to_string();
        let key = key(object);
        match text(&event["type"]) {
            "ADDED" => self.objects.push(key),
            "DELETED" => self.objects.retain(|object| *object != key),
            _ => {}
        }
    }

    /// Reads what the watches have to tell by now.
    async fn catch_up(&mut self, watches: &mut [Watch; 2]) -> Result<(), String> {
        for watch in watches {
            while let Next::Event(event) = watch.next(ON_THE_WAY).await? {
                self.seen(&event);
            }
        }
        Ok(())
    }

    fn answered(&mut self, asked: &str, answer: &Answer, statuses: &[u16], who: Who) {
        self.teller.step(&Step {
            asked,
            status: Some(answer.status),
            said: &tell::content(&answer.json),
            from: Some(answer.from),
            took: Some(answer.took),
        });
        self.came_from(answer.status, answer.from, statuses, who);
    }

    fn came_from(&mut self, status: u16, from: From, statuses: &[u16], who: Who) {
        let what = format!("status {statuses:?} was to come");
        self.teller.must(statuses.contains(&status), &what);
        let (right, whom) = match who {
            Who::Cloud => (from == From::Cloud, "the cloud"),
            Who::Cache => (matches!(from, From::Cache(_)), "the hub's cache"),
            Who::Hub => (from == From::Hub, "the hub itself"),
        };
        self.teller
            .must(right, &format!("it was to come from {whom}"));
    }
}

/// What tells an object from the others of its collection.
fn key(object: &Value) -> String {
    let namespace = text(&object["metadata"]["namespace"]);
    format!("{namespace}/{}", tell::name(object))
}

/// Versions of one server grow.
fn number(version: &str) -> u64 {
    version.parse().unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Where one object of a list is.
fn path_of(list: &str, object: &Value) -> String {
    let name = tell::name(object);
    let (base, resource) = list.rsplit_once('/').unwrap_or_default();
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) if !base.contains("/namespaces/") => {
            format!("{base}/namespaces/{namespace}/{resource}/{name}")
        }
        _ => format!("{list}/{name}"),
    }
}

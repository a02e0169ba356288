//! The watch loops and informers of other client libraries through the hub: online, through an outage, begun in one. What
//! they print tells that they did not notice.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::door::Door;
use crate::informers::{Informer, KINDS};
use crate::support::cluster::{Cluster, Setup, clients, programs};
use crate::support::kubeconfig::{User, kubeconfig};
use crate::support::program::Program;
use crate::support::{throughout, until};

/// Clients may wait that long after they were refused a few times.
const BACK_OFF: Duration = Duration::from_secs(90);

const CLIENTS: [&str; 4] = ["client-go", "python-stream", "python-informer", "js"];

struct Client(Program);

impl Client {
    fn start(door: &Door, which: &str) -> Client {
        let text = kubeconfig(&door.hub.url(), &door.hub.ca(), &User::Token(&door.token));
        let config = door.dir.write(&format!("{which}.json"), text);
        let config = config.display().to_string();
        let (program, args) = match which {
            "client-go" => ("client-go", vec!["watch".to_string(), config]),
            "js" => ("js-watcher", vec![config]),
            python => {
                let ca = door.hub.ca().display().to_string();
                let args = vec![door.hub.url(), ca, door.token.clone()];
                let how = python.trim_start_matches("python-").to_string();
                let args = [args, vec![door.namespace.clone(), how]].concat();
                return Client(Program::start(&clients().join("python-watcher"), &args));
            }
        };
        let args = [args, vec![door.namespace.clone()]].concat();
        Client(Program::start(&clients().join(program), &args))
    }

    fn printed(&self) -> Vec<Value> {
        let lines = self.0.lines();
        let lines = lines.iter().map(|line| serde_json::from_str(line));
        lines.map(|line| line.expect("JSON lines")).collect()
    }

    /// How often it was told of this object so.
    fn told(&self, kinds: &[&str], name: &str) -> usize {
        let is = |line: &&Value| {
            line["name"] == name && kinds.contains(&line["e"].as_str().unwrap_or_default())
        };
        self.printed().iter().filter(is).count()
    }

    #[track_caller]
    fn sees(&self, kinds: &[&str], name: &str) {
        until(
            &format!(
                "{kinds:?} of {name}: {:#?} {:#?}",
                self.0.lines(),
                self.0.errors()
            ),
            BACK_OFF,
            || (self.told(kinds, name) > 0).then_some(()),
        );
    }

    /// Everything that it says beside events: that it lists, asks, begins, or fails.
    fn asked(&self) -> usize {
        let is = |line: &&Value| {
            matches!(
                line["e"].as_str(),
                Some("request" | "list" | "connect" | "error" | "synced" | "init-apply" | "end")
            )
        };
        self.printed().iter().filter(is).count()
    }
}

const THERE: [&str; 4] = ["add", "update", "apply", "init-apply"];

#[test]
fn an_outage_costs_them_nothing() {
    let door = Door::new("c-outage");
    door.set("goes", "1");
    door.set("one", "1");
    let clients = CLIENTS.map(|which| (which, Client::start(&door, which)));
    for (_, client) in &clients {
        client.sees(&THERE, "one");
        client.sees(&THERE, "goes");
    }
    door.set("two", "2");
    for (_, client) in &clients {
        client.sees(&THERE, "two");
    }
    let before = clients.each_ref().map(|(_, client)| client.asked());
    door.cut();
    door.set("three", "3");
    door.direct()
        .call(crate::support::http::Call {
            method: http::Method::DELETE,
            ..crate::support::http::Call::get(&door.maps("/goes"))
        })
        .expect(200);
    throughout("nobody notices", Duration::from_secs(3), || {
        clients.each_ref().map(|(_, client)| client.asked()) == before
    });
    door.mend();
    for (which, client) in &clients {
        client.sees(&THERE, "three");
        client.sees(&["delete"], "goes");
        assert_eq!(client.told(&THERE, "three"), 1, "{which}");
        assert_eq!(client.told(&["delete"], "goes"), 1, "{which}");
    }
    assert_eq!(
        clients.each_ref().map(|(_, client)| client.asked()),
        before,
        "{CLIENTS:?}"
    );
}

#[test]
fn who_begins_in_an_outage_is_told_what_is_kept_and_goes_on() {
    let door = Door::new("c-begins");
    door.set("one", "1");
    for which in CLIENTS {
        let client = Client::start(&door, which);
        client.sees(&THERE, "one");
    }
    door.cut();
    let clients = CLIENTS.map(|which| Client::start(&door, which));
    for client in &clients {
        client.sees(&THERE, "one");
    }
    let before = clients.each_ref().map(Client::asked);
    throughout("they are content", Duration::from_secs(3), || {
        let now = clients.each_ref().map(Client::asked);
        now.iter()
            .zip(&before)
            .all(|(now, before)| *now < before + 3)
    });
    door.set("two", "2");
    door.mend();
    for client in &clients {
        client.sees(&THERE, "two");
        assert_eq!(client.told(&THERE, "two"), 1);
    }
}

#[test]
fn ten_controllers_at_once_never_list_again() {
    for (watch_list, content) in [KINDS[0], KINDS[3]] {
        let door = Door::new(&format!("c-ten-{watch_list}"));
        door.set("one", "1");
        let text = kubeconfig(&door.hub.url(), &door.hub.ca(), &User::Token(&door.token));
        let config = door.dir.write("ten.json", text);
        let args = [
            "--json".to_string(),
            "--clients=10".to_string(),
            format!("--kubeconfig={}", config.display()),
            format!("--watchlist={watch_list}"),
            format!("--content={content}"),
            format!("--namespace={}", door.namespace),
        ];
        let ten = Informer::of(Program::start(&programs().join("informer"), &args));
        let told = |kind: &str, name: &str| {
            let lines = ten.printed(kind);
            lines.iter().filter(|line| line["name"] == name).count()
        };
        let all = |what: &str, holds: &dyn Fn() -> bool| {
            until(what, BACK_OFF, || holds().then_some(()));
        };
        all("all have synced", &|| ten.printed("synced").len() == 10);
        door.set("two", "1");
        all("all watch", &|| told("add", "two") == 10);
        let asked = ten.printed("request").len();
        for n in 0..3 {
            door.cut();
            let name = format!("new-{n}");
            door.set(&name, "1");
            door.mend();
            all("all see it", &|| told("add", &name) == 10);
        }
        assert_eq!(
            ten.printed("request").len(),
            asked,
            "nobody has asked again"
        );
        assert!(ten.printed("delete").is_empty());
    }
}

/// The oldest API server that is tried, the newest, and one without WatchList.
fn others() -> [(&'static str, &'static Cluster); 3] {
    static WITHOUT: OnceLock<Cluster> = OnceLock::new();
    let without = || {
        Cluster::start(&Setup {
            apiserver_flags: "--feature-gates=WatchList=false".to_string(),
            ..Setup::default()
        })
    };
    let [(_, old), (_, new)] = Cluster::old_and_new();
    [
        ("old", old),
        ("new", new),
        ("without", WITHOUT.get_or_init(without)),
    ]
}

#[test]
fn other_api_servers_do_as_well() {
    for (which, cluster) in others() {
        for (watch_list, content) in KINDS {
            let name = format!("c-{which}-{watch_list}-{content}");
            let door = Door::with(cluster, &name, |setup| setup);
            door.set("one", "1");
            let informer = Informer::start(&door, watch_list, content);
            assert_eq!(informer.synced(), 2, "{name}");
            door.set("two", "2");
            informer.sees("add", "two");
            let asked = informer.printed("request").len();
            door.cut();
            door.set("three", "3");
            door.mend();
            informer.sees("add", "three");
            assert_eq!(informer.printed("request").len(), asked, "{name}");
            if which == "without" && watch_list == "on" {
                let first = informer.printed("request").remove(0);
                assert_eq!(first["status"], 422, "{first}");
            }
        }
    }
}

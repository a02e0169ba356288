//! kubectl reaches into pods by way of the hub.

use std::time::Duration;

use crate::site::{NODE, Site};
use crate::support::cluster::{Release, programs};
use crate::support::hub::Hub;
use crate::support::kubeconfig::{User, kubeconfig};
use crate::support::program::{Output, Program, command};
use crate::support::{self, until};

/// logs, exec, attach and port-forward into a pod, by SPDY and by WebSocket.
pub fn reaches_into_pods(site: &Site, server: &str, ca: &std::path::Path) {
    let token = site.cluster.account("default", "tester", "cluster-admin");
    let config = site
        .dir
        .write("tester.json", kubeconfig(server, ca, &User::Token(&token)));
    for web_sockets in ["true", "false"] {
        let start = |args: &[&str]| -> Program {
            let mut command = command(&programs().join("kubectl"));
            command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", web_sockets);
            command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", web_sockets);
            command
                .env("HOME", site.dir.path())
                .arg("--kubeconfig")
                .arg(&config)
                .args(args);
            Program::spawn(&mut command)
        };
        let run = |args: &[&str]| -> Output { start(args).wait(NODE) };

        assert!(run(&["logs", "tick"]).ok().starts_with("tick 0 "));
        let following = start(&["logs", "-f", "tick"]);
        let lines = || following.lines().len();
        let seen = until("the log so far", NODE, || (lines() > 0).then(lines));
        until("the log goes on", NODE, || {
            (lines() > seen + 2).then_some(())
        });

        let said = run(&["exec", "tick", "--", "/app", "get", "http://127.0.0.1:1/"]).ok();
        assert!(said.contains("connection refused"), "{said}");
        let said = run(&["exec", "tick", "--", "/app", "nonsense"]);
        assert_eq!(
            said.code,
            Some(2),
            "the exit code of the program comes back: {said:?}"
        );

        let attached = start(&["attach", "tick"]);
        attached.line("what the pod prints", NODE, |line| {
            line.starts_with("tick ")
        });

        // A file of several windows each way, whole.
        let contents: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
        let there = site.dir.write("there", &contents);
        let back = site.dir.path().join("back");
        run(&["cp", &there.display().to_string(), "tick:/tmp/there"]).ok();
        run(&["cp", "tick:/tmp/there", &back.display().to_string()]).ok();
        assert!(
            std::fs::read(&back).expect("a file") == contents,
            "the file came back as it went"
        );

        let port = support::free_port();
        let forward = start(&["port-forward", "serve", &format!("{port}:8080")]);
        forward.line("it listens", NODE, |line| {
            line.contains("Forwarding from 127.0.0.1")
        });
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let (status, body) = support::http::plain_get(address, "/").expect("the pod answers");
        assert!(status == 200 && body.contains("serve "), "{body}");
    }
}

/// What streams out of a pod is never held: it ends with the link, and kubectl says so.
fn ends_with_the_link(site: &Site, hub: &Hub) {
    let token = site.cluster.account("default", "streams", "cluster-admin");
    let text = kubeconfig("https://127.0.0.1:10268", &hub.ca(), &User::Token(&token));
    let config = site.dir.write("streams.json", text);
    // Where the cut is not between kubectl and the hub.
    let start = |args: &[&str]| -> Program {
        let [enter, how] = site.node.within();
        let mut command = command(std::path::Path::new(&enter));
        command
            .arg(how)
            .arg(programs().join("kubectl"))
            .env("HOME", site.dir.path())
            .arg("--kubeconfig")
            .arg(&config)
            .args(args);
        Program::spawn(&mut command)
    };
    for cut in ["down", "drop"] {
        let streams = [
            start(&["logs", "-f", "tick"]),
            start(&["exec", "tick", "--", "/app", "tick", "200ms"]),
            start(&["attach", "tick"]),
        ];
        for stream in &streams {
            stream.line("what the pod prints", NODE, |line| {
                line.starts_with("tick ")
            });
        }
        let at = std::time::Instant::now();
        site.node.net(cut);
        for stream in streams {
            let said = stream.wait(Duration::from_secs(15));
            println!(
                "{cut}: after {:?}: {:?} {}",
                at.elapsed(),
                said.code,
                said.stderr
            );
            assert_eq!(said.code, Some(1));
            assert!(said.stderr.contains("error: "), "{}", said.stderr);
        }
        site.node.net("up");
        hub.sees_online();
        site.wait_ready(true);
    }
}

#[test]
fn kubectl_reaches_into_pods_through_the_hub() {
    let site = Site::new(Release::V1_36);
    let hub = site.hub();
    site.power_on("https://127.0.0.1:10268", &hub.ca());
    site.wait_ready(true);
    site.three_pods();
    reaches_into_pods(
        &site,
        &format!("https://{}:10268", site.node.address()),
        &hub.ca(),
    );
    ends_with_the_link(&site, &hub);
}

//! kubectl, as a person uses it, through the hub.

use crate::door::{Door, SOON};
use crate::support::until;

#[test]
fn the_usual_commands_online() {
    let door = Door::new("k-online");
    let kubectl = door.kubectl();
    let run = |args: &[&str]| {
        let mut all = vec!["-n", "k-online"];
        all.extend(args);
        kubectl.run(&all)
    };
    let apply = |value: &str| {
        let object = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"one","labels":{{"app":"a"}}}},"data":{{"k":"{value}"}}}}"#
        );
        kubectl
            .run_with(&object, &["-n", "k-online", "apply", "-f", "-"])
            .ok()
    };
    assert!(apply("1").contains("created"));
    assert!(apply("2").contains("configured"));
    assert!(apply("2").contains("unchanged"));
    let object =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"two"},"data":{"k":"1"}}"#;
    let said = kubectl
        .run_with(
            object,
            &["-n", "k-online", "apply", "--server-side", "-f", "-"],
        )
        .ok();
    assert!(said.contains("serverside-applied"), "{said}");
    let table = run(&["get", "configmaps"]).ok();
    assert!(
        table.contains("one") && table.contains("two") && table.starts_with("NAME"),
        "{table}"
    );
    assert_eq!(
        run(&["get", "cm", "one", "-o", "jsonpath={.data.k}"]).ok(),
        "2"
    );
    run(&["patch", "cm", "one", "-p", r#"{"data":{"k":"3"}}"#]).ok();
    run(&[
        "patch",
        "cm",
        "one",
        "--type=json",
        "-p",
        r#"[{"op":"add","path":"/data/l","value":"4"}]"#,
    ])
    .ok();
    run(&["label", "cm", "one", "more=yes"]).ok();
    assert_eq!(
        run(&["get", "cm", "-l", "app=a", "-o", "name"]).ok(),
        "configmap/one"
    );
    assert!(run(&["describe", "cm", "one"]).ok().contains("more=yes"));
    let raw = run(&["get", "--raw", "/api/v1/namespaces/k-online/configmaps/one"]).ok();
    assert!(raw.contains(r#""k":"3""#), "{raw}");
    assert_eq!(run(&["auth", "can-i", "create", "configmaps"]).ok(), "yes");
    assert_eq!(run(&["auth", "can-i", "create", "nodes"]).stdout, "no");
    assert!(
        run(&["auth", "whoami"])
            .ok()
            .contains("system:serviceaccount:k-online:tester")
    );
    assert!(run(&["api-resources"]).ok().contains("configmaps"));
    assert!(run(&["explain", "configmap"]).ok().contains("ConfigMap"));
    assert!(run(&["version"]).ok().contains("Server Version: v1.36.4"));
    assert!(
        run(&["get", "cm", "absent"])
            .failed()
            .contains("(NotFound)")
    );
    assert!(run(&["get", "nodes"]).failed().contains("(Forbidden)"));

    let watch = kubectl.start(&["-n", "k-online", "get", "cm", "-w", "-o", "name"]);
    watch.line("what is there", SOON, |line| line == "configmap/two");
    door.set("three", "x");
    watch.line("what comes", SOON, |line| line == "configmap/three");
    assert!(
        run(&["delete", "cm", "one", "two"])
            .ok()
            .contains("deleted")
    );
    assert!(run(&["wait", "--for=delete", "cm/one", "--timeout=10s"]).code == Some(0));
}

#[test]
fn the_same_commands_when_cut() {
    let door = Door::new("k-cut");
    door.set("one", "1");
    door.set("two", "2");
    let kubectl = door.kubectl();
    let run = |args: &[&str]| {
        let mut all = vec!["-n", "k-cut"];
        all.extend(args);
        kubectl.run(&all)
    };
    let list = run(&["get", "cm", "-o", "json"]).ok();
    let watch = kubectl.start(&["-n", "k-cut", "get", "cm", "one", "-w", "-o", "name"]);
    watch.line("what is there", SOON, |line| line == "configmap/one");
    door.cut();
    assert_eq!(run(&["get", "cm", "-o", "json"]).ok(), list);
    assert_eq!(
        run(&["get", "cm", "one", "-o", "jsonpath={.data.key}"]).ok(),
        "1"
    );
    assert!(
        run(&["get", "cm", "absent", "-o", "name"])
            .failed()
            .contains("(NotFound)")
    );
    let raw = run(&["get", "--raw", "/api/v1/namespaces/k-cut/secrets"]).failed();
    assert!(
        raw.contains("offline") || raw.contains("unable to handle the request"),
        "{raw}"
    );
    let object = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new"}}"#;
    for words in [
        &["create", "--validate=false", "-f", "-"][..],
        &["apply", "--validate=false", "-f", "-"],
    ] {
        let mut all = vec!["-n", "k-cut"];
        all.extend(words);
        let said = kubectl.run_with(object, &all).failed();
        assert!(said.contains("offline"), "{words:?}: {said}");
    }
    assert!(run(&["delete", "cm", "one"]).failed().contains("offline"));
    door.mend();
    assert!(run(&["delete", "cm", "one"]).ok().contains("deleted"));
    until("the deletion is seen", SOON, || {
        run(&["get", "cm", "one"]).code.filter(|code| *code != 0)
    });
}

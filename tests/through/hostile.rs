//! Those who want more than they were told, or something else than what is so.

use std::time::Duration;

use serde_json::Value;

use crate::door::{Door, SOON, WATCH_LIST};
use crate::offline::{kept, unknown};
use crate::support::cluster::Cluster;
use crate::support::http::{Call, JSON, Reply};
use crate::support::until;

#[test]
fn what_one_is_told_in_anothers_name_is_told_to_nobody_else() {
    let cluster = Cluster::shared();
    let door = Door::with(cluster, "h-as", |setup| {
        setup.identity(cluster, "admin", "admin")
    });
    door.set("one", "1");
    // A proxy that lets its users in by one identity of its own.
    let (certificate, key) = cluster.pair("admin");
    let proxy = door.hub.client().certificate(&certificate, &key);
    let maps = door.maps("");
    let by = |user| Call::get(&maps).header("impersonate-user", user);
    let may = "system:serviceaccount:h-as:tester";
    proxy.call(by(may)).expect(200);
    proxy.call(by("nobody")).expect(403);
    door.cut();
    for call in [by(may), by("nobody"), Call::get(&maps)] {
        unknown(&proxy.call(call));
    }
    door.mend();
    // Nor is what the proxy itself was told.
    kept_for_the_proxy_alone(&door, &proxy, &maps);
}

fn kept_for_the_proxy_alone(door: &Door, proxy: &crate::support::http::Client, maps: &str) {
    proxy.get(maps).expect(200);
    door.cut();
    kept(&proxy.get(maps));
    unknown(&proxy.call(Call::get(maps).header("impersonate-user", "nobody")));
}

#[test]
fn no_list_is_given_out_as_another_version_or_as_a_page() {
    let door = Door::new("h-version");
    for name in ["a", "b", "c"] {
        door.set(name, "1");
    }
    let client = door.client();
    let version = |list: &Value| {
        list["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|v| v.parse::<u64>().ok())
            .expect("a version")
    };
    let first = client.get(&door.maps("?limit=2")).expect(200).json();
    let token = first["metadata"]["continue"].as_str().expect("a token");
    let next = door.maps(&format!("?limit=2&continue={}", token.replace('=', "%3D")));
    let at = version(&client.get(&door.maps("")).expect(200).json());
    let maps = |query: String| client.get(&door.maps(&query));
    door.cut();
    kept(&maps(format!("?resourceVersion={at}")));
    kept(&maps(format!("?resourceVersion={}", at - 1)));
    kept(&maps(format!(
        "?resourceVersion={at}&resourceVersionMatch=Exact"
    )));
    kept(&maps(format!("?resourceVersion={at}&limit=1")));
    // To answer would be to add all of it to the page that the client has.
    unknown(&client.get(&next));
    for other in [at - 1, at + 1] {
        unknown(&maps(format!(
            "?resourceVersion={other}&resourceVersionMatch=Exact"
        )));
        unknown(&maps(format!("?resourceVersion={other}&limit=1")));
    }
    // The client has seen something newer: it must not go back in time.
    let newer = at + 1;
    unknown(&maps(format!("?resourceVersion={newer}")));
    unknown(&maps(format!(
        "?resourceVersion={newer}&resourceVersionMatch=NotOlderThan"
    )));
    unknown(&maps(format!("/a?resourceVersion={newer}")));
    unknown(&maps(format!("?{WATCH_LIST}&resourceVersion={newer}")));
}

/// Metadata alone, as a metadata informer asks for it.
const METADATA: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// The same program lists objects and metadata at once, as a controller manager does.
#[test]
fn objects_and_their_metadata_are_never_mixed() {
    let door = Door::new("h-forms");
    for name in ["a", "b", "c"] {
        door.set(name, "1");
    }
    let client = door.client();
    let list = |accept: &'static str, query: &str| {
        client
            .call(Call::get(&door.maps(query)).accept(accept))
            .expect(200)
            .json()
    };
    let next = |page: &Value| {
        let token = page["metadata"]["continue"].as_str().expect("a token");
        format!("?limit=2&continue={}", token.replace('=', "%3D"))
    };
    let is_whole = |list: &Value, kind: &str, with_data: bool| {
        assert_eq!(list["kind"], kind);
        let items = list["items"].as_array().expect("items");
        assert_eq!(items.len(), 4);
        for item in items {
            assert_eq!(item["data"].is_object(), with_data, "{item}");
        }
    };
    list(JSON, "");
    list(METADATA, "");
    door.cut();
    is_whole(&list(JSON, ""), "ConfigMapList", true);
    is_whole(&list(METADATA, ""), "PartialObjectMetadataList", false);
    door.mend();
    // A page of one is not the page before of the other, though their tokens are the same.
    door.set("c", "2");
    // At one version: others write to this cluster too, and move it on between the two.
    let (of_metadata, of_objects) = (0..100)
        .map(|_| {
            (
                next(&list(METADATA, "?limit=2")),
                next(&list(JSON, "?limit=2")),
            )
        })
        .find(|(of_metadata, of_objects)| of_metadata == of_objects)
        .expect("both at one version");
    list(METADATA, &of_metadata);
    list(JSON, &of_objects);
    door.cut();
    is_whole(&list(JSON, ""), "ConfigMapList", true);
    is_whole(&list(METADATA, ""), "PartialObjectMetadataList", false);
}

#[test]
fn rights_that_were_taken_away_are_gone_offline_too() {
    let door = Door::new("h-revoked");
    door.set("one", "1");
    let client = door.client();
    client.get(&door.maps("")).expect(200);
    client.get(&door.maps("/one")).expect(200);
    client.get("/api/v1/configmaps").expect(200);
    client.get("/api/v1/namespaces/h-revoked/pods").expect(200);
    let kubectl = door.cluster.kubectl();
    kubectl
        .run(&["delete", "clusterrolebinding", "h-revoked-tester"])
        .ok();
    until("the rights are gone", SOON, || {
        (client.get(&door.maps("/one")).status == 403).then_some(())
    });
    door.cut();
    // Refused by itself, and so not told by a list that holds it either.
    unknown(&client.get(&door.maps("/one")));
    // Nobody asked for these since.
    kept(&client.get(&door.maps("")));
    kept(&client.get("/api/v1/namespaces/h-revoked/pods"));
    door.mend();
    client.get(&door.maps("")).expect(403);
    door.cut();
    // All namespaces hold this one.
    unknown(&client.get(&door.maps("")));
    unknown(&client.get("/api/v1/configmaps"));
    door.mend();
    let again = ["create", "clusterrolebinding", "h-revoked-tester"];
    let role = ["--clusterrole=edit", "--serviceaccount=h-revoked:tester"];
    kubectl.run(&[&again[..], &role[..]].concat()).ok();
    until("the rights are back", SOON, || {
        (client.get(&door.maps("/one")).status == 200).then_some(())
    });
    door.cut();
    kept(&client.get(&door.maps("/one")));
}

#[test]
fn many_watches_of_new_tokens_keep_nobody_out() {
    let door = Door::new("h-new");
    let other = door.cluster.account("h-new", "other", "edit");
    // Nobody has been answered yet when the last one asks, as after a restart of the hub.
    door.relay.delay(Duration::from_millis(100));
    let connection = door.client().connect().expect("a connection");
    let path = door.maps("?watch=1&resourceVersion=0");
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..160)
            .map(|_| scope.spawn(|| connection.share().send(Call::get(&path))))
            .collect();
        asking
            .into_iter()
            .map(|one| one.join().expect("no panic").expect("a reply"))
            .collect()
    });
    assert!(replies.iter().all(|reply| reply.status == 200));
    door.hub
        .client()
        .bearer(&other)
        .get(&door.maps(""))
        .expect(200);
    door.hub.client().bearer("wrong").get(&path).expect(401);
}

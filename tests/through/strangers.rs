//! One program in a loop with a token that is no good does not take the uplink from anybody else.

use http::Method;
use serde_json::json;

use crate::door::{Door, SOON};
use crate::support::http::{Call, Reply, many};

const AT_ONCE: usize = 300;

#[test]
fn a_flood_of_bad_tokens_is_slowed_and_told_and_the_others_are_not() {
    let door = Door::new("s-flood");
    let wrong = door.hub.client().bearer("wrong");
    // Known before the flood: what the API server has not accepted yet waits with it, as it is of the same user.
    door.client().get(&door.maps("")).expect(200);
    let began = std::time::Instant::now();
    let statuses = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let calls = (0..AT_ONCE).map(|_| (Method::GET, door.maps(""), json!(null)));
            many(&wrong, AT_ONCE, calls)
        });
        // Known tokens go on, and new ones of others: this is another user's program.
        for _ in 0..20 {
            door.client().get(&door.maps("")).expect(200);
        }
        let (status, _) = crate::local::curl_as(1000, door.hub.address(), &["-k"]);
        assert!(matches!(status, 401 | 403), "{status}");
        flood.join().expect("no panic")
    });
    let took = began.elapsed().as_secs() as usize + 1;
    let count = |status| statuses.iter().filter(|s| **s == status).count();
    assert_eq!(count(401) + count(429), AT_ONCE, "{statuses:?}");
    assert!(count(429) > 0, "{statuses:?}");
    assert!(count(401) <= 32 + 5 * took, "{} in {took} s", count(401));
    // Then it goes on slowly, and each is told what the API server says, or why not.
    let mut connection = wrong.connect().expect("a connection");
    for _ in 0..10 {
        let sent = connection
            .send(Call::get(&door.maps("")))
            .and_then(Reply::whole);
        sent.expect("an answer").expect(401);
    }
    let told = std::thread::scope(|scope| {
        let connection = &connection;
        let asked: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    let sent = connection.share().send(Call::get(&door.maps("")));
                    sent.and_then(Reply::whole).expect("an answer")
                })
            })
            .collect();
        let replies = asked.into_iter().map(|one| one.join().expect("no panic"));
        replies.into_iter().find(|reply| reply.status == 429)
    });
    let told = told.expect("some are refused");
    assert_eq!(
        told.header("retry-after"),
        "",
        "clients would ask again within the call"
    );
    let status = told.json();
    assert_eq!(
        (&status["kind"], &status["reason"]),
        (&json!("Status"), &json!("TooManyRequests"))
    );
    // A good token that nobody has seen yet is in the same queue, of the same user, and gets through.
    let new = door.cluster.token("s-flood", "tester");
    let new = door.hub.client().bearer(&new);
    crate::support::until("the new token is let in", SOON, || {
        (new.get(&door.maps("")).status == 200).then_some(())
    });
}

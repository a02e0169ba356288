//! Those who want more than they were told, or something else than what is so.

use crate::door::Door;
use crate::offline::{kept, unknown};
use crate::support::cluster::Cluster;
use crate::support::http::Call;

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

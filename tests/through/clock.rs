//! A box whose clock is years wrong when it boots.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edge_hub::certs::pem;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::door::{Door, SOON};
use crate::local::{NODE, make_node, with_local_port};
use crate::offline::{kept, unknown};
use crate::support::cluster::Cluster;
use crate::support::http::{Call, Client};
use crate::support::signer::{Signer, Token};
use crate::support::{until, wrong_clock};

const TEN_YEARS: i64 = 3653 * 86_400;

pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

/// Starts the hub anew with its clock so many seconds wrong.
fn boot(door: &mut Door, library: &std::path::Path, wrong: i64) {
    assert_eq!(door.hub.terminate(SOON), Some(0));
    let library = library.display().to_string();
    door.hub
        .set_env(&[("LD_PRELOAD", &library), ("WRONG", &wrong.to_string())]);
    door.hub.run();
}

/// A certificate of the node, of the cluster's CA, for this time.
pub fn certificate(door: &Door, name: &str, from: u64, until: u64) -> (PathBuf, PathBuf) {
    let ca_key = PrivateKeyDer::from_pem_file(door.cluster.file("pki/ca.key")).expect("a file");
    let ca_key = rcgen::KeyPair::try_from(&ca_key).expect("a key");
    let mut ca = rcgen::CertificateParams::default();
    ca.distinguished_name = rcgen::DistinguishedName::new();
    ca.distinguished_name
        .push(rcgen::DnType::CommonName, "lab-ca");
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in [
        (rcgen::DnType::OrganizationName, "system:nodes"),
        (rcgen::DnType::CommonName, "system:node:edge-1"),
    ] {
        params.distinguished_name.push(kind, value);
    }
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let at = |secs: u64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(secs);
    (params.not_before, params.not_after) = (at(from), at(until));
    let signed = params.signed_by(&key, &issuer).expect("a certificate");
    (
        door.dir.write(
            &format!("{name}.crt"),
            pem::encode("CERTIFICATE", signed.der()),
        ),
        door.dir.write(
            &format!("{name}.key"),
            pem::encode("PRIVATE KEY", key.serialized_der()),
        ),
    )
}

#[test]
fn set_back_ten_years_nothing_that_has_ended_counts_again() {
    let cluster = Cluster::shared();
    make_node(cluster);
    let mut door = Door::with(cluster, "c-back", |setup| {
        setup.identity(cluster, "system:node:*", "node")
    });
    let library = wrong_clock(&door.dir);
    // It has been here half an hour before: at its end it writes down what time it is.
    let last = door.hub.folder("state_dir").join("last-time");
    assert_eq!(door.hub.terminate(SOON), Some(0));
    std::fs::write(&last, (now() - 1800).to_string()).expect("a file");
    door.hub.run();
    door.hub.sees_online();
    let ended = certificate(&door, "ended", now() - 20 * 365 * 86_400, now() + 10);
    let good = cluster.pair("node");
    let of = |door: &Door, pair: &(PathBuf, PathBuf)| -> Client {
        door.hub
            .client()
            .certificate(&pair.0, &pair.1)
            .agent("kubelet/v1")
    };
    let gets_in = |door: &Door, pair| of(door, pair).send(Call::get("/version")).is_ok();
    assert!(gets_in(&door, &ended), "it is good for some seconds");
    // A token that ends with it, and is not used afterwards.
    let token = Token::read(&door.token).with("exp", now() + 10);
    let token = Signer::of(cluster).sign(&token);
    let with_token = |door: &Door| door.hub.client().bearer(&token).get(&door.maps(""));
    with_token(&door).expect(200);
    of(&door, &good).get(NODE).expect(200);
    door.client().get(&door.maps("")).expect(200);
    until("it has ended", SOON, || {
        (!gets_in(&door, &ended)).then_some(())
    });
    // An answer of the API server after that says what time it is.
    of(&door, &good).get(NODE).expect(200);
    door.relay.refuse();
    boot(&mut door, &library, -TEN_YEARS);
    door.hub.sees_offline();
    let told = door.hub.status()["warnings"].to_string();
    assert!(told.contains("the clock of this machine says 2"), "{told}");
    assert!(!gets_in(&door, &ended), "the hub knows that it has ended");
    unknown(&with_token(&door));
    // And who is good is served as before, though by that clock no certificate has begun.
    kept(&of(&door, &good).get(NODE));
    kept(&door.client().get(&door.maps("")));

    // So that this tests something: it is the time kept that tells.
    door.hub.kill();
    std::fs::remove_file(&last).expect("it was there");
    door.hub.run();
    door.hub.sees_offline();
    assert!(gets_in(&door, &ended));
    kept(&with_token(&door));
    // With a server in sight it knows again.
    door.mend();
    of(&door, &good).get(NODE).expect(200);
    assert!(!gets_in(&door, &ended));
}

#[test]
fn set_forward_ten_years_it_says_so_and_is_well_when_that_is_over() {
    let cluster = Cluster::shared();
    make_node(cluster);
    let mut door = Door::with(cluster, "c-ahead", |setup| with_local_port(setup, cluster));
    let library = wrong_clock(&door.dir);
    door.client().get(&door.maps("")).expect(200);
    let node = |door: &Door| door.hub.local().agent("kubelet/v1").get(NODE);
    node(&door).expect(200);
    boot(&mut door, &library, TEN_YEARS);
    door.hub.sees_offline();
    let reason = until("it has tried", SOON, || {
        let reason = door.hub.status()["link"]["reason"].clone();
        (!reason.is_null()).then(|| reason.to_string())
    });
    assert!(
        reason.contains("expired, or this clock is wrong"),
        "{reason}"
    );
    // What is kept is told meanwhile to those whose proof has no end. A token has one, and it may have come.
    kept(&node(&door));
    unknown(&door.client().get(&door.maps("")));
    boot(&mut door, &library, 0);
    door.hub.sees_online();
    door.client().get(&door.maps("")).expect(200);
    door.cut();
    kept(&node(&door));
    kept(&door.client().get(&door.maps("")));
    door.mend();
    assert_eq!(door.hub.status()["warnings"], serde_json::json!([]));
    let last = door.hub.folder("state_dir").join("last-time");
    let last = std::fs::read_to_string(last).expect("it is kept");
    let last: u64 = last.trim().parse().expect("a number");
    assert!(last <= now(), "a wrong clock has not moved it");
}

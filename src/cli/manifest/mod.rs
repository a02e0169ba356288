//! `edge-hub manifest`: prints what a cluster or a node needs, as YAML for `kubectl apply` or the kubelet.

use super::{complain, say};
use crate::error::Exit;
use argh::FromArgs;

const RBAC: &str = include_str!("rbac.yaml");
const AUTONOMY: &str = include_str!("autonomy.yaml");
const STATIC_POD: &str = include_str!("static-pod.yaml");

/// Print what a cluster needs, as YAML: rbac, the rights of the hub's own watches; autonomy, a policy that keeps pods on nodes
/// that are cut off; static-pod, the hub as a pod of the kubelet.
#[derive(FromArgs)]
#[argh(subcommand, name = "manifest")]
pub(super) struct Manifest {
    /// rbac, autonomy or static-pod
    #[argh(positional)]
    what: String,
    /// static-pod: the image with the program at /usr/bin/edge-hub
    #[argh(option)]
    image: Option<String>,
    /// autonomy: the version of admissionregistration.k8s.io that the API server has (default v1)
    #[argh(option)]
    api_version: Option<String>,
}

pub(super) fn manifest(asked: &Manifest) -> Exit {
    match text(asked) {
        Ok(text) => {
            say(text.trim_end());
            Exit::Ok
        }
        Err(why) => {
            complain(&why);
            Exit::Usage
        }
    }
}

fn text(asked: &Manifest) -> Result<String, String> {
    let (image, version) = (asked.image.as_deref(), asked.api_version.as_deref());
    match (asked.what.as_str(), image, version) {
        ("rbac", None, None) => Ok(RBAC.to_owned()),
        ("autonomy", None, version) => {
            let version = word("--api-version", version.unwrap_or("v1"))?;
            Ok(AUTONOMY.replace("k8s.io/VERSION", &format!("k8s.io/{version}")))
        }
        ("static-pod", Some(image), None) => {
            Ok(STATIC_POD.replace("IMAGE", word("--image", image)?))
        }
        ("static-pod", None, None) => Err(
            "static-pod: which image? --image NAME, with the program at /usr/bin/edge-hub".into(),
        ),
        ("rbac" | "autonomy" | "static-pod", ..) => {
            Err("--image is for static-pod, --api-version for autonomy".into())
        }
        (other, ..) => Err(format!(
            "{other:?} is not known; there are rbac, autonomy and static-pod"
        )),
    }
}

/// What stands in YAML as it is.
fn word<'a>(option: &str, text: &'a str) -> Result<&'a str, String> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:@".contains(&b);
    let starts = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    match starts && text.bytes().all(is_plain) {
        true => Ok(text),
        false => Err(format!("{option}: {text:?} is no such name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed() {
        let print = |what: &str, image: Option<&str>, version: Option<&str>| {
            text(&Manifest {
                what: what.to_owned(),
                image: image.map(str::to_owned),
                api_version: version.map(str::to_owned),
            })
        };
        assert_eq!(print("rbac", None, None).as_deref(), Ok(RBAC));
        let policy = print("autonomy", None, None).expect("a policy");
        assert!(
            policy.contains("admissionregistration.k8s.io/v1\n") && !policy.contains("/VERSION")
        );
        let policy = print("autonomy", None, Some("v1beta1")).expect("a policy");
        assert!(policy.contains("admissionregistration.k8s.io/v1beta1\n"));
        let pod = print("static-pod", Some("site:5000/hub:1"), None).expect("a pod");
        assert!(pod.contains("image: site:5000/hub:1\n"));
        for (what, image, version) in [
            ("static-pod", None, None),
            ("static-pod", Some(""), None),
            ("static-pod", Some("a\nb: c"), None),
            ("static-pod", Some("a"), Some("v1")),
            ("autonomy", None, Some("v1 {")),
            ("rbac", Some("a"), None),
            ("pod", None, None),
        ] {
            assert!(
                print(what, image, version).is_err(),
                "{what} {image:?} {version:?}"
            );
        }
    }
}

//! Programs of other languages in pods: they have of the API server what the kubelet gives them, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::site::{NODE, Site};
use crate::support::cluster::clients;
use crate::support::program::Program;
use crate::support::until;

/// A pod for each.
pub const LANGUAGES: [&str; 2] = ["python", "rust"];

impl Site {
    /// The official Python client and kube-rs, each by its way to configure itself in a pod, each following the ConfigMaps
    /// of the namespace. Their programs, and what those need, come from the machine.
    pub fn make_languages(&self) {
        let clients = clients();
        let found = Program::start(
            Path::new("python3"),
            &[
                "-c",
                "import os, sys; print(os.path.realpath(sys.executable)); print(sys.base_prefix)",
            ],
        );
        let found = found.wait(NODE).ok();
        let [python, prefix] = found.lines().collect::<Vec<_>>()[..] else {
            panic!("python3 says where it is: {found}");
        };
        let watcher = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/python");
        let libraries = clients.join("../python");
        let program = clients
            .join("kube-rs-watcher")
            .canonicalize()
            .expect("it is built");
        let libraries = libraries.canonicalize().expect("they are installed");
        let text = |path: &Path| path.display().to_string();
        let folders = [
            prefix,
            watcher,
            &text(&libraries),
            &text(program.parent().expect("a folder")),
        ]
        .map(str::to_string);
        self.apply(&[
            self.hosted(
                "python",
                &folders,
                json!({
                    "command": [python, format!("{watcher}/watcher.py"), "in-cluster", "default", "informer"],
                    "env": [{ "name": "PYTHONPATH", "value": libraries }, { "name": "PYTHONDONTWRITEBYTECODE", "value": "1" }],
                }),
            ),
            self.hosted(
                "rust",
                &folders,
                json!({ "command": [program, "in-cluster", "default", "streaming"] }),
            ),
        ]);
    }

    /// Waits until each knows of this ConfigMap, as it was started last.
    pub fn languages_know(&self, config_map: &str) {
        let name = format!(r#""name":"{config_map}""#);
        for pod in LANGUAGES {
            // On a machine that has other work Python takes more than a minute to load the client.
            until(&format!("{pod} knows of {config_map}"), NODE * 3, || {
                let starts = self.node.printed_by_start(pod);
                let knows = |line: &String| line.replace(": ", ":").contains(&name);
                starts.last()?.iter().any(knows).then_some(())
            });
        }
    }

    /// A pod that sees these folders of the machine, and its libraries.
    fn hosted(&self, name: &str, folders: &[String], more: Value) -> Value {
        let system = ["/usr", "/lib", "/lib64"].map(str::to_string);
        // Python may be the system's.
        let others = folders
            .iter()
            .filter(|folder| !Path::new(folder).starts_with("/usr"));
        let folders: BTreeSet<&String> = system.iter().chain(others).collect();
        let folders = folders
            .into_iter()
            .filter(|folder| Path::new(folder).is_dir());
        let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
        for (n, folder) in folders.enumerate() {
            let name = format!("v{n}");
            volumes.push(json!({ "name": name, "hostPath": { "path": folder } }));
            mounts.push(json!({ "name": name, "mountPath": folder, "readOnly": true }));
        }
        let mut container = json!({
            "name": "app", "image": "lab.local/app:1", "imagePullPolicy": "Never", "volumeMounts": mounts,
        });
        crate::site::merge(&mut container, more);
        self.pod(
            name,
            &[],
            json!({ "containers": [container], "volumes": volumes }),
        )
    }
}

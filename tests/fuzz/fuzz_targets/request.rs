//! Paths, queries and heads: whatever comes is classified or refused, and a path that is kept is read as it is written.
//! Names of collections: whatever lies on flash is no name, or the only one of its key.
#![no_main]

use edge_hub::access::Who;
use edge_hub::cache::key::{self, Key};
use edge_hub::object::Encoding;
use edge_hub::request::{Form, Target, Verb, classify, path, query};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(key) = Key::from_bytes(data) {
        assert_eq!(key.to_bytes(), data);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (target, agent) = text.split_once('\n').unwrap_or((text, "kubelet/v1"));
    if let Some(Target::Resource(resource)) = path::parse(target) {
        assert!(!resource.resource.is_empty() && !resource.version.is_empty());
        for part in [&resource.namespace, &resource.name].into_iter().flatten() {
            assert!(!part.is_empty() && !part.contains('/') && part != "..");
        }
    }
    let _ = query::parse(target.split_once('?').map(|(_, query)| query));
    let mut request = http::Request::builder().uri(target);
    if let Ok(value) = http::HeaderValue::from_str(agent) {
        request = request.header("user-agent", &value).header("accept", value);
    }
    let Ok(request) = request.body(()) else {
        return;
    };
    let Ok(asked) = classify(&request.into_parts().0) else {
        return;
    };
    assert!(!asked.loggable().contains('\n'));
    if let Some(scope) = key::scope(&asked) {
        assert!(
            asked.keepable && matches!(asked.verb, Verb::Get | Verb::List | Verb::Watch),
            "{scope:?}"
        );
        let key = Key {
            agent: asked.agent,
            who: Who::Anonymous,
            scope,
            encoding: Encoding::Json,
            form: Form::Object,
        };
        assert_eq!(Key::from_bytes(&key.to_bytes()), Some(key));
    }
});

//! Bytes in collections with versions. Knows neither Kubernetes nor HTTP.

//! What is kept: requests mapped to collections, admission, answers without the cloud.

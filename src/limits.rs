//! Every bound of the hub, with its reason. Nothing grows past what stands here.

//! A Kubernetes operator for Cloudflare Access mTLS hostname settings.

pub mod api;

//! An emulated Cloudflare API for Access mTLS hostname settings, as a library and as a program.

pub mod program;

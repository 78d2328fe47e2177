//! Arguments, then hand over.
fn main() {
    println!("{}", cloudflare_mtls_operator::api::crd_yaml().unwrap());
}

// A command: each request runs it anew, as a CGI program.
use std::io::{Read, Write};

fn main() {
    let mut body = String::new();
    std::io::stdin().read_to_string(&mut body).expect("stdin");
    let method = std::env::var("REQUEST_METHOD").unwrap_or_default();
    let path = std::env::var("PATH_INFO").unwrap_or_default();
    // A file of the app's own, sealed, that stays from one request to the next.
    let count: u64 = std::fs::read_to_string("/count").ok().and_then(|s| s.parse().ok()).unwrap_or(0) + 1;
    std::fs::write("/count", count.to_string()).expect("write /count");
    let mut out = std::io::stdout();
    write!(out, "Status: 200\r\nContent-Type: text/plain\r\n\r\n{} {} {} {}\n", count, method, path, body).expect("stdout");
}

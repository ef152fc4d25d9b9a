mod config;
fn main() { let _ = config::load(std::path::Path::new("x"), config::Names::Skip, 1); }

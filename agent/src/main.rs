//! agent
fn main(){}

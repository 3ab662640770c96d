//! `vw-guest`: looks after the Vulkan of a guest.

mod attach;
mod doctor;
mod triangle;

use std::env;
use std::process::ExitCode;

const USAGE: &str = "usage: vw-guest doctor
       vw-guest attach DEVICE

Looks after this guest's Vulkan.

  doctor    walks the chain from a program to the host's GPU, draws a triangle, and says where it breaks
  attach    opens a device that holds shared memory of vw to the group render; run by udev
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["doctor"] => doctor::run(),
        ["attach", device] => attach::run(device),
        ["--help" | "-h"] => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        ["--version" | "-V"] => {
            println!("vw-guest {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

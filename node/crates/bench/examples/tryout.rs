use clap::Parser;
#[derive(Parser)]
struct Program {
    #[command(flatten)]
    args: weir_bench::Args,
}
fn main() {
    let args = Program::parse().args;
    let json = args.json();
    match weir_bench::run(args) {
        Ok(report) if json => println!("{}", serde_json::to_string(&report).unwrap()),
        Ok(report) => print!("{report}"),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1)
        }
    }
}

//! The command line. See `cli/`, one file a subcommand.

mod cli;

/// Cases are made of millions of small allocations; glibc's allocator takes up to a tenth more of the
/// time. Fuzz targets have their sanitizer's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}

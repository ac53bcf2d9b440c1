//! `wg-gateway [-f|--foreground] [--config FILE] IFNAME`: a WireGuard interface in user space, called as wireguard-go is;
//! `wg-gateway topology`: which processor would do what; `wg-gateway ctl`: what to tell one that runs.

#![forbid(unsafe_code)]

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;

use wg_gateway::cli::{Cli, Command, Ctl, Environment, Spread, exit_code};
use wg_gateway::conf;
use wg_gateway::ctl;
use wg_gateway::log::{self, LogLevel};
use wg_gateway::run;
use wg_gateway::setup::Setup;
use wg_gateway::topology;
use wg_sys_linux::Error;
use wg_sys_linux::daemon::{self, Output, Readiness};

fn main() -> ExitCode {
    let cli = match Command::read(env::args_os()) {
        Ok(Command::Run(cli)) => cli,
        Ok(Command::Topology(spread)) => return print_topology(spread),
        Ok(Command::Ctl(what)) => return control(&what),
        Err(error) => {
            // Nobody is left to tell if this cannot be printed.
            let _ = error.print();
            return exit_code(&error).into();
        }
    };
    let environment = Environment::read(|name| env::var_os(name));
    let readiness = Readiness::take();
    if matches!(readiness, Ok(None)) && environment.log_level != LogLevel::Silent {
        warn_of_access(&cli);
    }
    let result = match readiness {
        Ok(None) if !cli.foreground && !environment.foreground => {
            start_daemon(&cli, if environment.wants_log { Output::Keep } else { Output::Discard })
        }
        Ok(readiness) => serve(&cli, environment, readiness),
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if environment.log_level != LogLevel::Silent {
                eprintln!("wg-gateway: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Prints which processor would do what.
fn print_topology(spread: Spread) -> ExitCode {
    match wg_sys_linux::topology::probe() {
        Ok(found) => {
            // One home, for which all threads work, is one lane here.
            let lanes = if spread.strategy.shares_home() { 1 } else { spread.lanes() };
            let plan = topology::plan(spread.strategy, &found, lanes, spread.threads());
            let table = topology::table(spread.strategy, &found, &plan, lanes);
            // Nobody is left to tell if this cannot be printed.
            let _ = io::stdout().write_all(table.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("wg-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Tells a gateway that runs.
fn control(what: &Ctl) -> ExitCode {
    let (interface, done) = match what {
        Ctl::Strategy { name, interface } => (interface, ctl::set_strategy(interface.as_str(), *name)),
        Ctl::Show { interface } => {
            let shown = ctl::shown(interface.as_str());
            (interface, shown.and_then(|text| io::stdout().write_all(text.as_bytes())))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wg-gateway: {interface}: {error}", interface = interface.as_str());
            ExitCode::FAILURE
        }
    }
}

/// Says what `wg-quick` says of a file with keys that everybody can read.
fn warn_of_access(cli: &Cli) {
    if let Some(path) = &cli.config
        && conf::is_world_accessible(path)
    {
        eprintln!("wg-gateway: warning: {} is world accessible", path.display());
    }
}

/// Starts the gateway in the background, which has another standard input.
fn start_daemon(cli: &Cli, output: Output) -> Result<(), Error> {
    if cli.config.as_deref().is_some_and(conf::is_standard_input) {
        let message = "standard input is not there in the background: name a file, or add -f";
        return Err(Error::new("use the configuration", io::Error::other(message)));
    }
    daemon::start(output)
}

/// Is the gateway until told to end; a waiting parent learns how the set-up went.
fn serve(cli: &Cli, environment: Environment, mut readiness: Option<Readiness>) -> Result<(), Error> {
    // Interrupted in the middle of this, the parent leaves nobody behind who goes on trying.
    let pause = |pause| {
        thread::sleep(pause);
        readiness.as_ref().is_none_or(Readiness::is_awaited)
    };
    let result = Setup::make(cli, pause).and_then(|setup| {
        log::start(environment.log_level, &setup.interface);
        run::run(setup, || {
            if let Some(Err(error)) = readiness.take().map(Readiness::ready) {
                tracing::warn!("{error}");
            }
        })
    });
    let Err(error) = result else { return Ok(()) };
    if let Some(readiness) = readiness {
        readiness.failed(&error.to_string());
    }
    Err(error)
}
